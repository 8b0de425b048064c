"""Self-attention between the positions of a feature map, added in a learned proportion.

Shapes: N chunks, H channels, H' reduced channels, C positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvolutionalSelfAttention(nn.Module):
    r"""Convolutional self-attention over time.

    Jalal, Milner and Hain, Interspeech 2020 (CSA), Eqs. (1)-(5):

    .. math::

        j = W_j y, \quad k = W_k y, \quad l = W_l y, \qquad
        E = \mathrm{softmax}(j^\top k), \qquad A = l E, \qquad \hat y = y + \gamma A

    W_j, W_k and W_l are convolutions of kernel size 1 without a bias. The softmax runs over
    the positions of j, the index that l E sums over.

    Departs from the paper: γ stands in Eq. (1) and again in Eq. (5); it is used once.
    Positions that are not valid get no attention, and stay as they are.

    Args:
        num_channels: H.
        downsample: H / H', the reduction of j and k; H' is at least 1.
        gamma: first value of γ.
    """

    def __init__(self, num_channels: int, downsample: int, gamma: float = 0.0) -> None:
        super().__init__()
        reduced = max(1, num_channels // downsample)
        self.j = nn.Conv1d(num_channels, reduced, 1, bias=False)
        self.k = nn.Conv1d(num_channels, reduced, 1, bias=False)
        self.l = nn.Conv1d(num_channels, num_channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.tensor(float(gamma)))

    def forward(self, maps: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Add attention to feature maps.

        Args:
            maps: (N, H, C), zero where not valid.
            valid: (N, C), bool, at least one true a row; ``None`` means all.

        Returns:
            (N, H, C) enhanced maps, zero where not valid, and the (N, C, C) energy E, whose
            columns sum to 1 over positions of j.
        """
        scores = self.j(maps).transpose(1, 2) @ self.k(maps)  # j^T k, (N, C of j, C of k)
        if valid is not None:
            scores = scores.masked_fill(~valid.unsqueeze(2), -torch.inf)
        energy = scores.softmax(dim=1)  # Eq. (3)
        attention = self.l(maps) @ energy  # Eqs. (4)-(5), (N, H, C)
        if valid is not None:
            attention = attention * valid.unsqueeze(1)
        return maps + self.gamma * attention, energy  # Eq. (1)
