"""Means and deviations of frames, pooled from one pass over every utterance.

Shapes: N utterances, T frames, D feature dimension. Values are in the feature's own units.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray, IntArray
from serplatform.datasets.joined import FrameViews
from serplatform.models.kernels.memory import RELEASE_AFTER

#: A speaker's or utterance's deviation is never taken below this share of the training frames'
#: deviation in the same dimension: a constant stretch must not blow up.
DEVIATION_FLOOR = 0.05

#: At least this much of an utterance is kept by trimming, in seconds.
MIN_TRIMMED = 0.2


@dataclasses.dataclass(frozen=True)
class Moments:
    """First two moments of the frames of each utterance.

    Attributes:
        count: (N,) frames.
        mean: (N, D).
        scatter: (N, D), sum of squared distances from the mean.
    """

    count: IntArray
    mean: DoubleArray
    scatter: DoubleArray

    def pool(self, rows: IntArray) -> tuple[DoubleArray, DoubleArray]:
        """Mean and standard deviation over all frames of some utterances, each (D,).

        The scatter of a union is the sum of the scatters and of the means' own scatter (Chan,
        Golub and LeVeque 1983, Eq. 2.1b), so nothing large is subtracted from anything large.
        """
        weight = self.count[rows, None].astype(np.float64)
        total = weight.sum()
        mean = (weight * self.mean[rows]).sum(axis=0) / total
        between = (weight * np.square(self.mean[rows] - mean)).sum(axis=0)
        return mean, np.sqrt((self.scatter[rows].sum(axis=0) + between) / total)


def utterance_moments(views: FrameViews, first: IntArray, last: IntArray) -> Moments:
    """Moments of frames ``first`` to ``last`` (excluded) of every utterance, in one pass."""
    count = len(first)
    mean, scatter = np.zeros((count, views.dim)), np.zeros((count, views.dim))
    unreleased = 0
    for row in range(count):
        frames = views.frames(row, int(first[row]), int(last[row])).astype(np.float64)
        mean[row] = frames.mean(axis=0)
        frames -= mean[row]
        scatter[row] = np.einsum("td,td->d", frames, frames)
        unreleased += frames.size * 4
        if unreleased > RELEASE_AFTER:
            views.release()
            unreleased = 0
    return Moments((last - first).astype(np.int64), mean, scatter)


def usable_deviation(deviation: DoubleArray, mean: DoubleArray) -> DoubleArray:
    """Deviations of training frames, 1 where a dimension is constant up to rounding."""
    return np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6), deviation, 1.0)


def trim_bounds(
    speech_start: npt.ArrayLike,
    speech_end: npt.ArrayLike,
    num_frames: npt.ArrayLike,
    frame_shift: float,
) -> tuple[IntArray, IntArray]:
    """First frame and one past the last frame of the speech.

    At least :data:`MIN_TRIMMED` seconds are kept (or all frames of a shorter utterance),
    widened evenly around the speech.

    Args:
        speech_start: (N,) seconds.
        speech_end: (N,) seconds.
        num_frames: (N,) frames before trimming, at least 1.
        frame_shift: seconds.

    Returns:
        (N,) and (N,), with 0 <= first < last <= num_frames.

    Example:
        >>> trim_bounds([0.5, 0.9], [1.0, 0.9], [200, 92], 0.01)
        (array([50, 72]), array([100,  92]))
    """
    total = np.asarray(num_frames, dtype=np.int64)
    # rounded first, so that 0.29 / 0.01 = 28.999999999999996 is frame 29
    start = np.round(np.asarray(speech_start, np.float64) / frame_shift, 6)
    end = np.round(np.asarray(speech_end, np.float64) / frame_shift, 6)
    first = np.clip(np.floor(start).astype(np.int64), 0, total)
    last = np.clip(np.ceil(end).astype(np.int64), first, total)
    wanted = np.minimum(max(1, round(MIN_TRIMMED / frame_shift)), total)
    lacking = np.maximum(wanted - (last - first), 0)
    first = np.maximum(first - (lacking + 1) // 2, 0)
    last = np.minimum(np.maximum(last, first + wanted), total)
    first = np.minimum(first, np.maximum(last - wanted, 0))
    return first, last
