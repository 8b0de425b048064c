from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from serplatform.models.base import Criterion
from serplatform.training.losses import class_weights, denominator

LABELS = np.array([0, 0, 0, 1, 2, 2])


def test_balanced_weights_agree_with_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    weights = class_weights("balanced", LABELS, 3)
    assert weights.numpy() == pytest.approx(expected)
    assert weights[LABELS].mean() == pytest.approx(1.0)


def test_class_that_does_not_occur_weighs_nothing():
    assert class_weights("balanced", np.array([0, 0, 2, 2]), 3).tolist() == [1.0, 0.0, 1.0]


def test_no_weights_are_none():
    assert class_weights("none", LABELS, 3) is None
    assert denominator(None, LABELS) == 6


@pytest.mark.parametrize("kind", ["none", "balanced"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_reduction_is_that_of_torch(kind, label_smoothing):
    weights = class_weights(kind, LABELS, 3)
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.from_numpy(LABELS)
    losses = Criterion(weights, label_smoothing)(logits, labels)
    expected = torch.nn.functional.cross_entropy(
        logits, labels, weight=weights, label_smoothing=label_smoothing
    )
    assert losses.sum() / denominator(weights, LABELS) == pytest.approx(float(expected))
