"""Frozen pretrained encoders: a clip of audio in, hidden states of a published network out.

A place (a directory in the layout of Hugging Face, an ONNX file, an id in the local cache) becomes
an :class:`~serplatform.encoders.base.Encoder`, known by the hash of its weights. Nothing here
downloads, runs code of a model's directory, or reads a pickle.
"""
