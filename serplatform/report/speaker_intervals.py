"""Means and ratios of sums over utterances, with intervals that resample whole speakers.

Shapes: N utterances, V values, K classes, S speakers, R resamples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray
from serplatform.report.load import Posteriors
from serplatform.statistics.bootstrap import Interval, draw_speakers, speaker_index


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals are drawn, where an ensemble does not say otherwise."""

    resamples: int = 2000
    seed: int = 0


_USUAL = Resampling()


def clustered_interval(
    values: npt.ArrayLike,
    speaker_ids: Sequence[str],
    statistic: Callable[[DoubleArray], DoubleArray],
    drawing: Resampling = _USUAL,
) -> Interval:
    """A statistic of sums over utterances with its 95 % percentile interval.

    Args:
        values: (N, V), what is summed.
        speaker_ids: N.
        statistic: (..., V) sums to (...) values, e.g. the ratio of two; NaN where a resample
            says nothing, which is then left out.
        drawing: R, and the seed of the draws.

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
        drawn = statistic(draw_speakers(len(names), drawing.resamples, drawing.seed) @ sums)
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return Interval(value=value, low=None, high=None)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))


def mean_statistic(sums: DoubleArray) -> DoubleArray:
    """The first sum over the last: with ones in the last column, the mean."""
    return np.asarray(sums[..., 0] / sums[..., -1], dtype=np.float64)


def mean_interval(values: npt.ArrayLike, speaker_ids: Sequence[str]) -> Interval:
    """The mean of (N,) values with its interval."""
    column = np.asarray(values, dtype=np.float64)
    return clustered_interval(
        np.stack([column, np.ones(len(column))], axis=1), speaker_ids, mean_statistic
    )


def recall_intervals(test: Posteriors, drawing: Resampling) -> tuple[Interval, ...]:
    """K recalls with their percentile intervals; NaN for a class that does not occur.

    A resample that lacks a class is left out for that class; the bounds are None where fewer than
    two speakers have it.
    """
    found = []
    for k in range(test.values.shape[1]):
        spoken = test.truth == k
        recall = clustered_interval(
            np.stack([spoken & (test.prediction == k), spoken], axis=1),
            test.speaker_ids.tolist(),
            mean_statistic,
            drawing,
        )
        if len(set(test.speaker_ids[spoken])) < 2:
            recall = Interval(value=recall.value, low=None, high=None)
        found.append(recall)
    return tuple(found)
