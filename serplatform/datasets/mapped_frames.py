"""Frames of one feature, seen through the memory maps of its shards.

Pages that were read stay in a process's resident memory until the system needs them, although
they are only a copy of the page cache. A worker that walks through a large corpus every epoch
would seem to hold all of it, so pages are given back now and then.

Shapes: N utterances, T frames, D values a frame.
"""

from __future__ import annotations

import dataclasses

from serplatform.arrays import FloatArray, IntArray
from serplatform.models.kernels.memory import RELEASE_AFTER, release


@dataclasses.dataclass
class MappedFrames:
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
    _unreleased: int = 0

    def frames(self, row: int, first: int = 0, last: int | None = None) -> FloatArray:
        """Frames ``first`` to ``last`` (excluded) of an utterance, (T, D), without a copy."""
        begin = int(self.start[row]) + first * self.dim
        count = int(self.num_frames[row]) if last is None else last
        end = int(self.start[row]) + count * self.dim
        self._unreleased += 4 * (end - begin)
        if self._unreleased > RELEASE_AFTER:  # views stay valid and are read from the file again
            release(self.regions)
            self._unreleased = 0
        return self.values[self.shard[row]][begin:end].reshape(-1, self.dim)
