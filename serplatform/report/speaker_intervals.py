"""Means and ratios of sums over utterances, with intervals over speakers.

Shapes: N utterances, V values, K classes, S speakers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray
from serplatform.report.load import Posteriors
from serplatform.statistics.intervals import (
    Interval,
    Scale,
    jackknife_interval,
    leave_one_out,
    speaker_index,
)


def clustered_interval(
    values: npt.ArrayLike,
    speaker_ids: Sequence[str],
    statistic: Callable[[DoubleArray], DoubleArray],
    scale: Scale = "difference",
) -> Interval:
    """A statistic of sums over utterances with its 95 % interval.

    Args:
        values: (N, V), what is summed.
        speaker_ids: N.
        statistic: (..., V) sums to (...) values, e.g. the ratio of two; NaN where they
            say nothing.
        scale: of the statistic, see :func:`jackknife_interval`.

    Returns:
        bounds None for fewer than two speakers, and where one speaker alone says something.

    Example:
        >>> clustered_interval([[1, 2], [3, 2]], ["a", "b"], mean_statistic).value
        1.0
    """
    table = np.asarray(values, dtype=np.float64)
    names, index = speaker_index(speaker_ids)
    sums = np.zeros((len(names), table.shape[1]))
    np.add.at(sums, index, table)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = statistic(leave_one_out(len(names)) @ sums)
    utterances = np.bincount(index) if scale == "share" else None
    return jackknife_interval(values, scale, utterances=utterances)


def mean_statistic(sums: DoubleArray) -> DoubleArray:
    """The first sum over the last: with ones in the last column, the mean."""
    return np.asarray(sums[..., 0] / sums[..., -1], dtype=np.float64)


def mean_interval(
    values: npt.ArrayLike, speaker_ids: Sequence[str], scale: Scale = "difference"
) -> Interval:
    """The mean of (N,) values with its interval."""
    column = np.asarray(values, dtype=np.float64)
    rows = np.stack([column, np.ones(len(column))], axis=1)
    return clustered_interval(rows, speaker_ids, mean_statistic, scale)


def recall_intervals(test: Posteriors) -> tuple[Interval, ...]:
    """K recalls with their intervals over the speakers who have the class; NaN where none has."""
    found = []
    for k in range(test.values.shape[1]):
        spoken = test.truth == k
        if not spoken.any():
            found.append(Interval(value=float("nan"), low=None, high=None))
            continue
        correct, speakers = test.prediction[spoken] == k, test.speaker_ids[spoken].tolist()
        found.append(mean_interval(correct, speakers, "share"))
    return tuple(found)
