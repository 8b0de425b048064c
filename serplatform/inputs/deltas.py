r"""First and second time derivatives of frames, appended to them.

The regression over two frames either way that HTK uses (Furui, "Speaker-Independent Isolated
Word Recognition Using Dynamic Features of Speech Spectrum", 1986; Young et al., "The HTK Book",
Eq. (5.16)), the edge frames repeated; second derivatives are those of the first:

.. math:: d_t = \frac{\sum_{n=1}^{2} n (c_{t+n} - c_{t-n})}{2 \sum_{n=1}^{2} n^2}

They are taken of the frames that are kept, before normalisation, so that each has its own mean
and standard deviation. A constant added to frames, as by a gain, leaves them as they are.

Shapes: T frames, D values a frame, O order: 0, 1 or 2.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.arrays import FloatArray, IntArray
from serplatform.artifacts.model import Preprocessing
from serplatform.inputs.clips import Clips, Step
from serplatform.inputs.config import DataConfig

#: frames either way
WINDOW = 2


def append_deltas(frames: FloatArray, order: int) -> FloatArray:
    """(T, D) frames to (T, D · (1 + order)): values, first and second derivatives, per frame.

    Order 0 gives the frames themselves, no copy.

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
class Deltas(Step):
    """Append derivatives, of order 1 or 2, of the frames that are kept."""

    order: int

    @classmethod
    def fit(cls, config: DataConfig, clips: Clips, train_rows: IntArray) -> Deltas | None:
        return cls(config.deltas) if config.deltas else None

    @classmethod
    def load(cls, stored: Preprocessing) -> Deltas | None:
        order = stored.get("deltas", 0)
        return cls(order) if order else None

    def describe(self) -> dict[str, object]:
        return {"deltas": self.order}

    def apply(self, clips: Clips) -> Clips:
        order = self.order
        return clips.changed(
            lambda frames, row, key: append_deltas(frames, order), self, clips.dim * (1 + order)
        )
