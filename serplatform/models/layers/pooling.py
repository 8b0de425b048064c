"""Weighted sums of frames.

Shapes: B utterances, T frames, D values a frame.
"""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_sum(weights: Tensor, frames: Tensor) -> Tensor:
    """Sum frames by their weights.

    Args:
        weights: (B, T), zero on padding.
        frames: (B, T, D), finite on padding.

    Returns:
        (B, D).

    Example:
        >>> weighted_sum(torch.tensor([[0.25, 0.75]]), torch.tensor([[[4.0, 0.0], [8.0, 4.0]]]))
        tensor([[7., 3.]])
    """
    return torch.bmm(weights.unsqueeze(1), frames).squeeze(1)
