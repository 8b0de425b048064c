"""Attentive statistics: attention-weighted means and standard deviations over steps.

Okabe, Koshinaka and Shinoda, "Attentive Statistics Pooling for Deep Speaker Embedding",
Interspeech 2018; several heads, each over its own share of the values, as in India, Safari and
Hernando, "Self Multi-Head Attention for Speaker Recognition", Interspeech 2019.

Shapes: B utterances, T steps, D or H values, N heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        """(B, T, D) steps to (B, 2D), means then standard deviations, and (B, T) weights."""
        energies = self.query(self.projection(steps).tanh()).squeeze(2)  # (B, T), Eq. (1)
        weights = energies.masked_fill(~valid, -torch.inf).softmax(dim=1)  # Eq. (2)
        mean = weighted_sum(weights, steps)  # (B, D), Eq. (5)
        centred = (steps - mean.unsqueeze(1)).square()  # Eq. (6), without cancellation
        variance = weighted_sum(weights, centred)
        deviation = variance.clamp(min=VARIANCE_FLOOR).sqrt()
        return torch.cat([mean, deviation], dim=1), weights


def attentive_statistics(weights: Tensor, frames: Tensor) -> Tensor:
    """Weighted means and standard deviations, each head over its share of the values.

    Args:
        weights: (B, N, T), rows sum to 1, zero on padding.
        frames: (B, T, H), finite on padding; N divides H.

    Returns:
        (B, 2H): the heads' means, then their deviations.

    Example:
        >>> weights = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
        >>> frames = torch.tensor([[[1.0, 1.0], [3.0, 5.0]]])
        >>> attentive_statistics(weights, frames).round(decimals=2)
        tensor([[2., 5., 1., 0.]])
    """
    heads = frames.reshape(*frames.shape[:2], weights.shape[1], -1).transpose(1, 2)  # (B, N, T, ·)
    share = weights.unsqueeze(2)  # (B, N, 1, T)
    mean = share @ heads  # (B, N, 1, ·)
    variance = share @ (heads - mean).square()
    deviation = variance.clamp(min=VARIANCE_FLOOR).sqrt()
    return torch.cat([mean.flatten(1), deviation.flatten(1)], dim=1)


def local_statistics(weights: Tensor, frames: Tensor, size: int) -> Tensor:
    """:func:`attentive_statistics` of the ``size`` frames around each, weights scaled to sum to 1.

    (B, N, T) weights and (B, T, H) frames to (B, T, 2H); a ``size`` of 2T gives each frame what
    the whole utterance gives.

    Example:
        >>> frames = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> local_statistics(torch.full((1, 1, 3), 1 / 3), frames, 3)[0, 0].round(decimals=2)
        tensor([2., 1.])
    """
    share = weights.unsqueeze(2)  # (B, N, 1, T)
    batch, number, _, count = share.shape
    heads = frames.transpose(1, 2).reshape(batch, number, -1, count)  # (B, N, ·, T)
    middle = (share * heads).sum(dim=3, keepdim=True)  # so that nothing large is subtracted
    centred = heads - middle

    def around(values: Tensor) -> Tensor:
        """Means over the frames around each, those beyond the ends counted as 0."""
        means = functional.avg_pool1d(values.flatten(0, 1), size, stride=1, padding=size // 2)
        return means[..., :count].reshape(values.shape)

    mass = around(share).clamp(min=torch.finfo(share.dtype).tiny)
    mean = around(share * centred) / mass
    variance = around(share * centred.square()) / mass - mean.square()
    deviation = variance.clamp(min=VARIANCE_FLOOR).sqrt()
    return torch.cat([(mean + middle).flatten(1, 2), deviation.flatten(1, 2)], dim=1).transpose(
        1, 2
    )
