"""Layers that several architectures share: padded tensors and lengths in, tensors out."""
