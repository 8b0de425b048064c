"""Overlapping chunks of fixed length, cut from a padded batch without a loop.

Shapes: B utterances, T frames, D values a frame, N chunks of the whole batch, C frames a chunk.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Chunks:
    """Where the chunks of a batch lie.

    An utterance of C frames or more is cut every ``hop`` frames; a rest at its end makes one
    more chunk that ends at its last frame, so that every frame is in one. A shorter utterance
    makes one chunk, the end of which is not valid.

    Attributes:
        utterance: (N,) int64, the row of the batch each chunk was cut from, ascending.
        frame: (N, C) int64, the frame at each place of a chunk; the last one where not valid.
        valid: (N, C) bool.
        count: (B,) int64, chunks of each utterance, at least 1.
    """

    utterance: Tensor
    frame: Tensor
    valid: Tensor
    count: Tensor

    @classmethod
    def of(cls, lengths: Tensor, *, context_frames: int, overlap_frames: int) -> Chunks:
        """Cut utterances of the given lengths.

        Args:
            lengths: (B,), int64, at least 1.
            context_frames: C.
            overlap_frames: frames shared by a chunk and the next, less than C.

        Example:
            >>> Chunks.of(torch.tensor([7, 2]), context_frames=4, overlap_frames=2).frame
            tensor([[0, 1, 2, 3],
                    [2, 3, 4, 5],
                    [3, 4, 5, 6],
                    [0, 1, 1, 1]])
        """
        hop = context_frames - overlap_frames
        last_start = (lengths - context_frames).clamp(min=0)  # (B,)
        count = (last_start + hop - 1) // hop + 1  # (B,)
        rows = torch.arange(lengths.shape[0], device=lengths.device)
        utterance = rows.repeat_interleave(count)  # (N,)
        first = (count.cumsum(0) - count)[utterance]  # number of its utterance's first chunk
        order = torch.arange(utterance.shape[0], device=lengths.device) - first  # (N,)
        start = torch.minimum(order * hop, last_start[utterance])  # (N,)
        frame = start.unsqueeze(1) + torch.arange(context_frames, device=lengths.device)
        length = lengths[utterance].unsqueeze(1)  # (N, 1)
        return cls(utterance, torch.minimum(frame, length - 1), frame < length, count)

    def gather(self, frames: Tensor) -> Tensor:
        """Copy the chunks out of a batch: (B, T, D) to (N, C, D), zero where not valid."""
        index = self.utterance.unsqueeze(1) * frames.shape[1] + self.frame  # (N, C)
        rows = frames.flatten(0, 1).index_select(0, index.flatten())
        return rows.view(*self.frame.shape, -1) * self.valid.unsqueeze(-1)

    def sum_by_utterance(self, values: Tensor) -> Tensor:
        """Sum over the chunks of each utterance: (N, …) to (B, …)."""
        total = values.new_zeros(self.count.shape[0], *values.shape[1:])
        return total.index_add(0, self.utterance, values)
