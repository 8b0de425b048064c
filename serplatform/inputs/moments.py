"""Means and standard deviations that are joined without looking at the frames again.

Shapes: N utterances, T frames, D values a frame. Values are in the feature's own units.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.arrays import DoubleArray, FloatArray, IntArray


@dataclasses.dataclass(frozen=True)
class Moments:
    """First two moments of the frames of each of N utterances, or of N groups of them.

    Attributes:
        count: (N,) frames.
        mean: (N, D).
        scatter: (N, D), sum of squared distances from the mean.
    """

    count: IntArray
    mean: DoubleArray
    scatter: DoubleArray

    @staticmethod
    def of(frames: FloatArray) -> tuple[DoubleArray, DoubleArray]:
        """Mean and scatter of (T, D) frames, (D,) each, in double precision."""
        values = frames.astype(np.float64)
        mean: DoubleArray = values.mean(axis=0)
        values -= mean
        return mean, np.einsum("td,td->d", values, values)

    @property
    def std(self) -> DoubleArray:
        """(N, D) standard deviations."""
        return np.asarray(np.sqrt(self.scatter / self.count[:, None]))

    def pool(self, rows: IntArray) -> Moments:
        """Moments of all frames of some utterances together, N = 1.

        The scatter of a union is the sum of the scatters and of the means' own scatter (Chan,
        Golub and LeVeque 1983, Eq. 2.1b), so nothing large is subtracted from anything large.
        """
        count, means, scatter = self.count[rows], self.mean[rows], self.scatter[rows]
        weight = count[:, None].astype(np.float64)
        mean = (weight * means).sum(axis=0) / weight.sum()
        between = (weight * np.square(means - mean)).sum(axis=0)
        return Moments(np.array([count.sum()]), mean[None], (scatter.sum(axis=0) + between)[None])

    def joined(self, other: Moments) -> Moments:
        """Moments of both together, row by row (Chan, Golub and LeVeque 1983, Eq. 2.1)."""
        count = self.count + other.count
        gap = other.mean - self.mean
        mean = self.mean + gap * other.count[:, None] / count[:, None]
        between = np.square(gap) * self.count[:, None] * other.count[:, None] / count[:, None]
        return Moments(count, mean, other.scatter + self.scatter + between)

    @classmethod
    def stack(cls, parts: list[Moments]) -> Moments:
        """Several, one below the other."""
        return cls(
            np.concatenate([part.count for part in parts]),
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.scatter for part in parts]),
        )
