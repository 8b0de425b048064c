r"""First and second time derivatives of frames, appended to them.

The regression over two frames either way that HTK uses (Furui, "Speaker-Independent Isolated
Word Recognition Using Dynamic Features of Speech Spectrum", 1986; Young et al., "The HTK Book",
Eq. (5.16)), the edge frames repeated; second derivatives are those of the first:

.. math:: d_t = \frac{\sum_{n=1}^{2} n (c_{t+n} - c_{t-n})}{2 \sum_{n=1}^{2} n^2}

They are taken of the frames that are kept, before normalisation, so that each has its own mean
and deviation. A constant added to frames, as by a gain, leaves them as they are.

Shapes: T frames, D values a frame, O order: 0, 1 or 2.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.arrays import FloatArray, IntArray
from serplatform.datasets.joined import FrameViews

#: frames either way
WINDOW = 2


def append_deltas(frames: FloatArray, order: int) -> FloatArray:
    """Frames with their derivatives up to an order.

    Args:
        frames: (T, D), T at least 1.
        order: 0 (the frames themselves, no copy), 1 or 2.

    Returns:
        (T, D · (1 + order)): values, first derivatives, second derivatives; a frame's.

    Example:
        >>> append_deltas(np.array([[0], [10], [20]], dtype=np.float32), 1)[:, 1].tolist()
        [5.0, 6.0, 5.0]
    """
    if order == 0:
        return frames
    dim = frames.shape[1]
    joined = np.empty((len(frames), dim * (1 + order)), dtype=np.float32)
    joined[:, :dim] = frames
    for step in range(order):
        before = joined[:, step * dim : (step + 1) * dim]
        joined[:, (step + 1) * dim : (step + 2) * dim] = _derivative(before)
    return joined


def _derivative(frames: FloatArray) -> FloatArray:
    """(T, D) values to (T, D) changes a frame."""
    count = len(frames)
    padded = np.pad(frames, ((WINDOW, WINDOW), (0, 0)), mode="edge")
    total = np.zeros_like(frames)
    for n in range(1, WINDOW + 1):
        later, earlier = padded[WINDOW + n :][:count], padded[WINDOW - n :][:count]
        total += n * (later - earlier)
    total /= 2 * sum(n * n for n in range(1, WINDOW + 1))  # HTK Book, Eq. (5.16)
    return total


@dataclasses.dataclass(frozen=True)
class DeltaViews:
    """Views whose frames carry their derivatives; computed anew at every call.

    Attributes:
        base: without them.
        order: O, 1 or 2.
    """

    base: FrameViews
    order: int

    @property
    def num_frames(self) -> IntArray:
        """(N,) frames of each utterance."""
        return self.base.num_frames

    @property
    def dim(self) -> int:
        """Values of a frame, derivatives included."""
        return self.base.dim * (1 + self.order)

    def frames(self, row: int, first: int = 0, last: int | None = None) -> FloatArray:
        """Frames ``first`` to ``last`` (excluded) of an utterance; these alone are looked at."""
        return append_deltas(self.base.frames(row, first, last), self.order)

    def release(self) -> None:
        """Give the resident pages of the base back."""
        self.base.release()
