"""Attention of one vector to a sequence by plain dot products.

Shapes: B utterances, T steps, D values a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from serplatform.models.layers.pooling import weighted_sum


def dot_attention(query: Tensor, sequence: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    r"""Sum a sequence weighed by a softmax over its agreement with a vector.

    Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine
    Translation", EMNLP 2015, Eqs. (7)-(8) with the score "dot":

    .. math:: a_t = \mathrm{softmax}_t(q^\top h_t), \qquad v = \sum_t a_t h_t

    Args:
        query: (B, D).
        sequence: (B, T, D), finite on padding.
        valid: (B, T), bool, at least one true a row.

    Returns:
        (B, D) sums and (B, T) weights, zero on padding.

    Example:
        >>> sequence = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]])
        >>> dot_attention(torch.ones(1, 2), sequence, torch.tensor([[True, False]]))[0]
        tensor([[1., 2.]])
    """
    energies = torch.bmm(sequence, query.unsqueeze(2)).squeeze(2)  # (B, T)
    weights = energies.masked_fill(~valid, -torch.inf).softmax(dim=1)
    return weighted_sum(weights, sequence), weights
