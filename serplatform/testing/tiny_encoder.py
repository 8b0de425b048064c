"""A pretrained encoder of random weights, for tests of architectures that adapt one."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest
import torch

#: two blocks of 16 values; a frame every 4 samples, of 8
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8),
    "conv_kernel": (4, 3),
    "conv_stride": (2, 2),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


def shared_encoder() -> Path:
    """A wav2vec 2.0 encoder for all tests of this process, in a temporary folder.

    The test is skipped where transformers or peft is not installed.
    """
    for package in ("transformers", "peft"):
        pytest.importorskip(package)
    return Path(_shared_folder().name, "tiny")


@functools.cache
def _shared_folder() -> tempfile.TemporaryDirectory[str]:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    folder = tempfile.TemporaryDirectory(prefix="encoder-")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Wav2Vec2Model(Wav2Vec2Config(**_SIZES)).save_pretrained(Path(folder.name, "tiny"))
    Wav2Vec2FeatureExtractor().save_pretrained(Path(folder.name, "tiny"))
    return folder
