"""Weighted mean and standard deviation over time, with learned weights.

Shapes: B utterances, T steps, D values a step, A hidden units of the attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from serplatform.models.layers.pooling import weighted_sum

#: smallest variance, so that the root of a constant sequence has a gradient
VARIANCE_FLOOR = 1e-5


class AttentiveStatisticsPooling(nn.Module):
    r"""Pool steps into their weighted mean and weighted standard deviation.

    Okabe, Koshinaka and Shinoda, "Attentive Statistics Pooling for Deep Speaker Embedding",
    Interspeech 2018, Eqs. (1)-(6):

    .. math::

        e_t = v^\top \tanh(W h_t + b), \quad \alpha_t = \mathrm{softmax}_t(e_t), \quad
        \tilde\mu = \sum_t \alpha_t h_t, \quad
        \tilde\sigma = \sqrt{\sum_t \alpha_t h_t \odot h_t - \tilde\mu \odot \tilde\mu}

    The additive constant of their Eq. (1) is left out: the softmax cancels it.

    Args:
        input_dim: D.
        attention_dim: A.

    Example:
        >>> pool = AttentiveStatisticsPooling(2, 3)
        >>> steps = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]])
        >>> pool(steps, torch.tensor([[True, False]]))[0].detach().round(decimals=2)
        tensor([[1., 2., 0., 0.]])
    """

    def __init__(self, input_dim: int, attention_dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(input_dim, attention_dim)  # W, b
        self.query = nn.Linear(attention_dim, 1, bias=False)  # v

    def forward(self, steps: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Pool one padded batch.

        Args:
            steps: (B, T, D), finite.
            valid: (B, T), bool, at least one true a row.

        Returns:
            (B, 2D), means then deviations, and (B, T) weights, zero on padding.
        """
        energies = self.query(self.projection(steps).tanh()).squeeze(2)  # (B, T), Eq. (1)
        weights = energies.masked_fill(~valid, -torch.inf).softmax(dim=1)  # Eq. (2)
        mean = weighted_sum(weights, steps)  # (B, D), Eq. (5)
        centred = (steps - mean.unsqueeze(1)).square()  # Eq. (6), without cancellation
        variance = weighted_sum(weights, centred)
        deviation = variance.clamp(min=VARIANCE_FLOOR).sqrt()
        return torch.cat([mean, deviation], dim=1), weights
