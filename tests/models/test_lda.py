"""Discriminant analysis: scikit-learn's scores, whichever side is solved."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from serplatform.models.lda import discriminant, discriminant_shares


def solved(rows, labels, importance, shrinkage):
    """By the values, or by products of rows where these are fewer."""
    if rows.shape[1] <= len(rows):
        return discriminant(rows, labels, importance, shrinkage)
    shares, intercepts = discriminant_shares(
        rows @ rows.T, labels, importance, shrinkage, num_values=rows.shape[1]
    )
    return shares @ rows, intercepts


@pytest.mark.parametrize("num_values", [12, 300])
@pytest.mark.parametrize("shrinkage", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_scores_are_those_of_scikit_learn(
    num_values: int, shrinkage: float, num_classes: int
) -> None:
    rng = np.random.default_rng(num_values)
    labels = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, 90)])
    rows = rng.normal(size=(len(labels), num_values)) * rng.uniform(0.2, 3, num_values)
    rows[:, :3] += labels[:, None]
    weights, intercepts = solved(rows, labels, np.ones(len(labels)), shrinkage)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(rows, labels)
    new = rng.normal(size=(20, num_values))
    scores = new @ weights.T + intercepts
    if num_classes == 2:
        np.testing.assert_allclose(
            scores[:, 1] - scores[:, 0], model.decision_function(new), rtol=1e-9, atol=1e-9
        )
    else:
        gaps = scores - scores[:, :1]
        theirs = model.decision_function(new)
        np.testing.assert_allclose(gaps, theirs - theirs[:, :1], rtol=1e-9, atol=1e-9)


def test_weights_count_as_repeated_rows() -> None:
    rng = np.random.default_rng(4)
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    rows = rng.normal(size=(9, 30)) + labels[:, None]
    twice = np.where(labels == 1, 2, 1)
    repeated = np.repeat(np.arange(9), twice)
    ours = solved(rows, labels, twice.astype(float), 0.3)
    theirs = solved(rows[repeated], labels[repeated], np.ones(len(repeated)), 0.3)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_both_ways_give_the_same() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, 40)
    rows = rng.normal(size=(40, 70)) + labels[:, None]
    importance = rng.uniform(0.5, 2, 40)
    ours = solved(rows, labels, importance, 0.4)
    for one, other in zip(ours, discriminant(rows, labels, importance, 0.4), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_rows_without_spread_within_classes_are_separated() -> None:
    labels = np.array([0, 0, 1, 1])
    rows = np.array([[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2)
    weights, intercepts = solved(rows, labels, np.ones(4), 0.5)
    assert (rows @ weights.T + intercepts).argmax(axis=1).tolist() == labels.tolist()
