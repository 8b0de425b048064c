"""Means and ratios of sums over utterances, with intervals that resample whole speakers.

Shapes: N utterances, V values, S speakers, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray
from serplatform.report.resampling import RESAMPLES, SEED
from serplatform.statistics.bootstrap import Interval, draw_speakers, speaker_index


def clustered_interval(
    values: npt.ArrayLike,
    speaker_ids: Sequence[str],
    statistic: Callable[[DoubleArray], DoubleArray],
    *,
    num_resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """A statistic of sums over utterances with its 95 % percentile interval.

    Args:
        values: (N, V), what is summed.
        speaker_ids: N.
        statistic: (..., V) sums to (...) values, e.g. the ratio of two; NaN where a resample
            says nothing, which is then left out.
        num_resamples: R.
        seed: of the draws.

    Returns:
        bounds None for fewer than two speakers.

    Example:
        >>> found = clustered_interval([[1, 2], [3, 2]], ["a", "b"], mean_statistic)
        >>> found.value, found.low, found.high
        (1.0, 0.5, 1.5)
    """
    table = np.asarray(values, dtype=np.float64)
    names, index = speaker_index(speaker_ids)
    sums = np.zeros((len(names), table.shape[1]))
    np.add.at(sums, index, table)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(sums.sum(axis=0)))
        if len(names) < 2:
            return Interval(value=value, low=None, high=None)
        drawn = statistic(draw_speakers(len(names), num_resamples, seed) @ sums)
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return Interval(value=value, low=None, high=None)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))


def mean_statistic(sums: DoubleArray) -> DoubleArray:
    """The first sum over the last: with ones in the last column, the mean."""
    return np.asarray(sums[..., 0] / sums[..., -1], dtype=np.float64)
