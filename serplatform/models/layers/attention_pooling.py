"""Softmax attention with one learned query.

Shapes: B utterances, T frames, D values a frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from serplatform.models.layers.pooling import weighted_sum


class AttentionPooling(nn.Module):
    r"""Pool frames into one vector by a softmax over their agreement with a learned query.

    Mirsamadi, Barsoum and Zhang, "Automatic Speech Emotion Recognition using Recurrent Neural
    Networks with Local Attention", ICASSP 2017:

    .. math:: \alpha_t = \mathrm{softmax}_t(u^\top y_t), \qquad z = \sum_t \alpha_t y_t

    Padding gets no weight.

    Args:
        input_dim: D.

    Example:
        >>> pool = AttentionPooling(2)
        >>> frames = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]])
        >>> pool(frames, torch.tensor([[True, False]]))[0].detach()
        tensor([[1., 2.]])
    """

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(input_dim, 1, bias=False)  # u; a bias would cancel

    def forward(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Pool one padded batch.

        Args:
            frames: (B, T, D), finite.
            valid: (B, T), bool, at least one true a row.

        Returns:
            (B, D) pooled vectors and (B, T) weights, zero on padding.
        """
        energies = self.query(frames).squeeze(-1).masked_fill(~valid, -torch.inf)  # (B, T)
        weights = energies.softmax(dim=1)
        return weighted_sum(weights, frames), weights
