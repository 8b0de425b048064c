"""Which frames of a padded batch are real."""

from __future__ import annotations

import torch
from torch import Tensor


def valid_steps(lengths: Tensor, num_steps: int) -> Tensor:
    """Mark the steps before (B,) lengths of at least 1: (B, T) bool.

    Example:
        >>> valid_steps(torch.tensor([3, 1]), 3).int()
        tensor([[1, 1, 1],
                [1, 0, 0]], dtype=torch.int32)
    """
    return torch.arange(num_steps, device=lengths.device) < lengths.unsqueeze(1)
