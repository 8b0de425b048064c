"""Reverse each utterance of a time-major padded batch within its own length.

Shapes: T frames, B utterances, D values a frame.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _PermuteRows(torch.autograd.Function):
    """Gather rows by a permutation that is its own inverse, so the gradient is a gather too.

    Autograd's own gradient of a gather adds row by row, which is many times slower.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return rows.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return gradient.index_select(0, index), None


class Reversal:
    """The reversal of one batch; made once and applied by every layer.

    Frame t < length goes to length − 1 − t; padding stays where it is. Applying it twice
    gives the input back.

    Args:
        lengths: (B,), int64, 1 to T.
        num_steps: T.

    Example:
        >>> reverse = Reversal(torch.tensor([3, 2]), num_steps=3)
        >>> reverse(torch.tensor([[[1.0], [4.0]], [[2.0], [5.0]], [[3.0], [0.0]]])).squeeze(2).T
        tensor([[3., 2., 1.],
                [5., 4., 0.]])
    """

    def __init__(self, lengths: Tensor, num_steps: int) -> None:
        steps = torch.arange(num_steps, device=lengths.device).unsqueeze(1)  # (T, 1)
        source = torch.where(steps < lengths, lengths - 1 - steps, steps)  # (T, B)
        columns = torch.arange(lengths.shape[0], device=lengths.device)
        self.index = (source * lengths.shape[0] + columns).flatten()  # (T·B,)

    def __call__(self, sequence: Tensor) -> Tensor:
        """Reverse a time-major batch.

        Args:
            sequence: (T, B, D), contiguous.

        Returns:
            (T, B, D), contiguous.
        """
        rows: Tensor = _PermuteRows.apply(sequence.flatten(0, 1), self.index)  # type: ignore[no-untyped-call]
        return rows.view_as(sequence)
