"""Logistic regression against scikit-learn's, with fewer and with more values than rows."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.models.base import ARCHITECTURES, Batch, InputSpec


@pytest.mark.parametrize("dim", [6, 200])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_scores_are_scikit_learns_decision_function(dim, num_classes):
    rng = np.random.default_rng(0)
    labels = np.arange(80) % num_classes
    vectors = (rng.normal(size=(80, dim)) + rng.normal(size=(4, dim))[labels]).astype(np.float32)
    registered = ARCHITECTURES.get("logistic")
    spec = InputSpec(feature_dim=dim, num_classes=num_classes, frame_shift=WHOLE_UTTERANCE)
    model = registered.build(registered.config(C=0.05), spec)
    model.fit(
        [
            Batch(
                frames=torch.from_numpy(vectors[part])[:, None],
                lengths=torch.ones(40, dtype=torch.int64),
                labels=torch.from_numpy(labels[part]),
            )
            for part in (slice(0, 40), slice(40, 80))
        ],
        np.arange(80) % 8,
        None,
    )
    new = rng.normal(size=(30, dim)).astype(np.float32).astype(np.float64)
    # with more values than rows scikit-learn fits to coordinates in the rows' span
    exact = {} if dim < 80 else {"tol": 1e-9, "max_iter": 10_000}
    tolerance = 1e-9 if dim < 80 else 0.02  # L-BFGS stops early on the one and the other way
    oracle = LogisticRegression(C=0.05, **exact).fit(vectors.astype(np.float64), labels)
    expected = oracle.decision_function(new)
    got = model.scores(torch.from_numpy(new)).numpy()
    if num_classes == 2:
        np.testing.assert_allclose(got.sum(axis=1), 0.0, atol=1e-12)
        got = got[:, 1] - got[:, 0]
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)
