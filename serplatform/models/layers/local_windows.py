"""What lies around each step of a padded sequence, as sequences of their own.

A classifier that pools a sequence says a class inside an utterance where it is given the outputs
around a step as if they were all there are; where they are all, it says the utterance's class.

Shapes: B utterances, T frames or words, S steps, W outputs at most around a step, D values.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from serplatform.models.layers.masks import valid_steps


@dataclasses.dataclass(frozen=True)
class LocalWindows:
    """Where the steps of a batch lie, and what is around them.

    Attributes:
        steps: (B,) int64, steps of each utterance, at least 1.
        spans: (B, S, 2) int64, first frame and one past the last of each step; undefined on
            padding.
        index: (B·S, W) int64, frames around each step, in their order; the last one beyond their
            number.
        lengths: (B·S,) int64, how many they are, at least 1.
    """

    steps: Tensor
    spans: Tensor
    index: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, lengths: Tensor, *, hop: int, size: int) -> LocalWindows:
        """Steps of ``hop`` frames of utterances of (B,) lengths, ``size`` frames around each.

        What ``size`` has more than ``hop`` lies on both sides. With a ``size`` of ``hop`` and twice
        the longest length, what is around each step is the whole utterance.

        Example:
            >>> found = LocalWindows.of(torch.tensor([5]), hop=2, size=4)
            >>> found.spans[0].tolist(), found.lengths.tolist()
            ([[0, 2], [2, 4], [4, 5]], [3, 4, 2])
        """
        longest = int(lengths.max())
        limit = lengths.unsqueeze(1)  # (B, 1)
        first = torch.arange(0, longest, hop, device=lengths.device).expand(len(lengths), -1)
        first = torch.minimum(first, limit - 1)  # (B, S)
        ends = torch.minimum(first + hop, limit)
        margin = (size - hop) // 2
        start = (first - margin).clamp(min=0)
        number = (torch.minimum(first + hop + margin, limit) - start).flatten()  # (B·S,)
        places = torch.arange(min(size, longest), device=lengths.device)
        places = torch.minimum(places, number.unsqueeze(1) - 1)  # (B·S, W)
        steps = torch.div(lengths + hop - 1, hop, rounding_mode="floor")
        spans = torch.stack([first, ends], dim=2)
        return cls(steps, spans, start.flatten().unsqueeze(1) + places, number)

    @property
    def valid(self) -> Tensor:
        """(B·S, W) bool, true on frames around a step."""
        return valid_steps(self.lengths, self.index.shape[1])

    def gather(self, values: Tensor) -> Tensor:
        """The frames around each step: (B, T, D) to (B·S, W, D)."""
        rows = torch.arange(len(values), device=values.device)
        return values[self.of_utterance(rows).unsqueeze(1), self.index]

    def of_utterance(self, values: Tensor) -> Tensor:
        """What each step's utterance has: (B, …) to (B·S, …)."""
        return values.repeat_interleave(self.spans.shape[1], dim=0)

    def by_step(self, values: Tensor) -> Tensor:
        """(B·S, …) to (B, S, …)."""
        return values.view(*self.spans.shape[:2], *values.shape[1:])
