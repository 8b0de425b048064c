"""Attention pooling against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from serplatform.errors import BadInputError
from serplatform.models.attn_pool import AttnPool
from serplatform.models.base import ARCHITECTURES, InputSpec
from serplatform.models.layers.attentive_statistics import attentive_statistics
from serplatform.testing.batches import random_batch
from serplatform.training.trial_config import resolve


def test_statistics_are_those_of_each_heads_share() -> None:
    rng = np.random.default_rng(0)
    frames, energies = rng.standard_normal((2, 7, 6)), rng.standard_normal((2, 3, 7))
    weights = np.exp(energies) / np.exp(energies).sum(axis=2, keepdims=True)
    found = attentive_statistics(torch.from_numpy(weights), torch.from_numpy(frames)).numpy()
    for row in range(2):
        for value in range(6):
            own, share = frames[row, :, value], weights[row, value // 2]
            mean = np.average(own, weights=share)
            deviation = np.sqrt(np.average((own - mean) ** 2, weights=share))
            np.testing.assert_allclose(found[row, value], mean, atol=1e-12)
            np.testing.assert_allclose(found[row, 6 + value], deviation, atol=1e-9)


def test_attention_is_the_mean_of_the_heads_and_sums_to_one() -> None:
    spec = InputSpec(feature_dim=5, num_classes=3)
    architecture = ARCHITECTURES.get("attn_pool")
    torch.manual_seed(0)
    model = architecture.build(architecture.config(**architecture.small), spec).eval()
    assert isinstance(model, AttnPool)
    output = model(random_batch((9, 4), spec))
    attention = output.attention["frames"]
    np.testing.assert_allclose(attention.sum(dim=1), 1.0, atol=1e-6)
    assert not attention[1, 4:].any()


def test_heads_must_divide_the_values() -> None:
    values = {"model.hidden_dim": 64, "model.num_heads": 5}
    with pytest.raises(BadInputError, match="num_heads = 5: must divide hidden_dim = 64"):
        resolve("attn_pool", values, "test")
