"""Where chance puts a metric: what guessing gives, and what permuted labels give."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serplatform.metrics import confusion_counts, count_metrics
from serplatform.statistics.intervals import Interval

_ROUNDING = 1e-9


def chance_uar(truth: npt.ArrayLike) -> float:
    """UAR of a guesser: one over the number of classes that occur in the truth, (N,) indices."""
    return 1.0 / max(1, np.unique(np.asarray(truth)).size)


def exceeds_chance(uar: Interval, chance: float) -> bool:
    """Whether the interval lies above chance; the value alone where there is no interval."""
    return (uar.value if uar.low is None else uar.low) > chance + _ROUNDING


def place_of_chance(uar: Interval, chance: float) -> str:
    """The verb between an interval that does not lie above chance, and chance."""
    return "lies below" if (uar.high or 0.0) < chance - _ROUNDING else "includes"


def chance_interval(
    truth: npt.ArrayLike,
    posteriors: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    metric: str = "uar",
    num_permutations: int = 2000,
    level: float = 0.99,
    seed: int = 0,
) -> Interval:
    """Where a metric of the confusion counts falls when the truth is permuted at random.

    Args:
        truth: (N,) class indices.
        posteriors: (N, K).
        groups: (N,) numbers; rows of one share a label, and get one in every permutation. None:
            each row is one of its own.
        metric: a name of ``metrics.COUNT_METRICS``.
        num_permutations: how many permutations.
        level: share of permutations inside.
        seed: of the permutations.

    Returns:
        the value on the given truth with the ends of the permuted values.
    """
    true = np.asarray(truth, dtype=np.int64)
    table = np.asarray(posteriors, dtype=np.float64)
    prediction, num_classes = table.argmax(axis=1), table.shape[1]
    names = np.arange(len(true)) if groups is None else np.asarray(groups)
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = np.empty(num_permutations)
    for i in range(num_permutations):
        counts = confusion_counts(rng.permutation(true[first])[group], prediction, num_classes)
        drawn[i] = count_metrics(counts)[metric]
    value = float(count_metrics(confusion_counts(true, prediction, num_classes))[metric])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=value, low=float(low), high=float(high))
