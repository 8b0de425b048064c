"""Graphs of trained models for programs without Python or PyTorch, in the format ONNX.

A graph begins with extracted features and ends with posteriors; it normalizes features itself. What
stands before it, features and functionals, is described in a JSON file beside it.
"""
