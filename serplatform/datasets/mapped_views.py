"""Frames of one feature, seen through the memory maps of its shards.

Shapes: N utterances, T frames, D values a frame.
"""

from __future__ import annotations

import dataclasses

from serplatform.arrays import FloatArray, IntArray
from serplatform.models.kernels.memory import release


@dataclasses.dataclass(frozen=True)
class FeatureViews:
    """All frames of one feature, as read-only views over the memory maps.

    Attributes:
        values: for each shard, all of its values in one row-major array.
        shard: (N,) shard of each utterance.
        start: (N,) position of its first value within the shard.
        num_frames: (N,) its frames.
        dim: D.
        regions: address and bytes of each shard's file mapping.
    """

    values: tuple[FloatArray, ...]
    shard: IntArray
    start: IntArray
    num_frames: IntArray
    dim: int
    regions: tuple[tuple[int, int], ...]

    def frames(self, row: int, first: int = 0, last: int | None = None) -> FloatArray:
        """Frames ``first`` to ``last`` (excluded) of an utterance, (T, D), without a copy."""
        begin = int(self.start[row]) + first * self.dim
        count = int(self.num_frames[row]) if last is None else last
        end = int(self.start[row]) + count * self.dim
        return self.values[self.shard[row]][begin:end].reshape(-1, self.dim)

    def release(self) -> None:
        """Give the resident pages back; every view stays valid and is read from the file again."""
        release(self.regions)
