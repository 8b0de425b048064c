"""How choices on dev rows are made: what they maximise, and folds with whole speakers held out.

The objective is UAR or accuracy, with likelihood to break ties, or NLL.

Shapes: M members, N utterances, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serplatform.arrays import DoubleArray, IntArray
from serplatform.metrics import POSTERIOR_FLOOR, confusion_counts, count_metrics

OBJECTIVES = ("uar", "accuracy", "nll")

_FOLDS = 5
#: differences of an objective below this are rounding
TOLERANCE = 1e-12


def objective_values(
    objective: str, truth: IntArray, posteriors: DoubleArray
) -> list[tuple[float, float]]:
    """Value of the objective and negative NLL of each (N, K) table; larger tuples are better.

    Values are rounded to 12 decimals, so that equal counts compare equal; ``nll`` is negated.
    """
    likelihood = posteriors[:, np.arange(truth.size), truth]  # (M, N)
    gain = np.log(np.maximum(likelihood, POSTERIOR_FLOOR)).mean(axis=1)
    if objective == "nll":
        first = gain
    else:
        counts = confusion_counts(truth, posteriors.argmax(axis=2), posteriors.shape[2])
        first = count_metrics(counts)[objective]
    pairs = zip(np.round(first, 12).tolist(), np.round(gain, 12).tolist(), strict=True)
    return [(float(a), float(b)) for a, b in pairs]


def objective_value(
    objective: str, truth: IntArray, posteriors: DoubleArray
) -> tuple[float, float]:
    """:func:`objective_values` of one (N, K) table."""
    return objective_values(objective, truth, posteriors[None])[0]


def row_weights(objective: str, truth: IntArray, num_classes: int) -> DoubleArray:
    """(N,) weight of each utterance, summing to 1: by class for UAR, equal otherwise."""
    if objective != "uar":
        return np.full(truth.size, 1.0 / truth.size)
    sizes = np.bincount(truth, minlength=num_classes)
    return np.asarray(1.0 / (sizes[truth] * (sizes > 0).sum()), dtype=np.float64)


def grouped_folds(
    speaker_ids: Sequence[str], utterance_ids: Sequence[str]
) -> tuple[list[tuple[IntArray, IntArray]], str]:
    """Split N rows so that each speaker is on one side; by utterance when there is one speaker.

    Speakers are dealt out from the one with most rows on, each to the smallest fold so far;
    names break ties, so the same rows in another order are split alike.

    Returns:
        the folds as (fit rows, held-out rows), and ``"speaker"`` or ``"utterance"``: what was
        kept together. No fold at all when there is one utterance only.
    """
    kept_together = "speaker"
    groups = np.asarray(speaker_ids, dtype=str)
    if len(set(speaker_ids)) < 2:
        kept_together, groups = "utterance", np.asarray(utterance_ids, dtype=str)
    names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    num_folds = min(_FOLDS, len(names))
    if num_folds < 2:
        return [], kept_together
    fold_of = np.zeros(len(names), dtype=np.int64)
    filled = np.zeros(num_folds, dtype=np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        fold_of[group] = int(filled.argmin())
        filled[fold_of[group]] += sizes[group]
    held = fold_of[index]
    return [(np.flatnonzero(held != f), np.flatnonzero(held == f)) for f in range(num_folds)], (
        kept_together
    )
