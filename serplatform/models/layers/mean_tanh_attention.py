"""Attention of every frame to the utterance's mean.

Shapes: B utterances, T frames, D values a frame, A attention units, N blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from serplatform.models.kernels.matmul import linear


class MeanTanhAttention(nn.Module):
    r"""Weigh frames by how they agree with the mean of their utterance.

    Jalal et al., Interspeech 2020 (MOMA), Eqs. (4)-(5) for one block, Eqs. (7)-(8) for N
    blocks that share their input, not their weights:

    .. math::

        M = \frac{1}{T} \sum_t y_t, \qquad
        e_{n,t} = \tanh(W_{h_n} y_t) \odot \tanh(W_{m_n} M), \qquad
        a_n = \mathrm{softmax}_t(W_{e_n} e_{n,t})

    The paper repeats M over time before projecting it; here it is projected once and
    broadcast, which is the same. The N blocks are computed together. As in the equations,
    the projections have no bias. Padding gets no weight and no part in the mean.

    Example:
        >>> attention = MeanTanhAttention(input_dim=8, attention_dim=4, num_blocks=3)
        >>> valid = torch.tensor([[True, True], [True, False]])
        >>> attention(torch.ones(2, 2, 8), valid)[:, 0]
        tensor([[0.5000, 0.5000],
                [1.0000, 0.0000]], grad_fn=<SelectBackward0>)
    """

    def __init__(self, input_dim: int, attention_dim: int, num_blocks: int = 1) -> None:
        super().__init__()
        self.num_blocks = num_blocks
        self.attention_dim = attention_dim
        self.frame = nn.Linear(input_dim, num_blocks * attention_dim, bias=False)  # every W_h
        self.mean = nn.Linear(input_dim, num_blocks * attention_dim, bias=False)  # every W_m
        bound = attention_dim**-0.5  # as nn.Linear(attention_dim, 1) draws it
        self.energy = nn.Parameter(torch.empty(num_blocks, attention_dim))  # every W_e
        nn.init.uniform_(self.energy, -bound, bound)

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        """(B, T, D) frames, zero on padding, to (B, N, T) weights of sum 1, zero on padding."""
        count = valid.sum(dim=1, keepdim=True)  # (B, 1)
        mean = frames.sum(dim=1) / count  # M, (B, D)
        num_utterances, num_steps = valid.shape
        shape = (self.num_blocks, self.attention_dim)
        context = torch.tanh(self.mean(mean)).view(num_utterances, *shape)  # tanh(W_m M), (B, N, A)
        # W_e (tanh(W_h Y) ⊙ tanh(W_m M)) = tanh(W_h Y) · (W_e ⊙ tanh(W_m M)), with no (B, T, N·A)
        # product kept                                                           Eqs. (4), (7)
        gate = (context * self.energy).unsqueeze(1)  # (B, 1, N, A)
        hidden = torch.tanh(linear(frames, self.frame.weight))  # tanh(W_h Y), (B, T, N·A)
        hidden = hidden.view(num_utterances, num_steps, *shape)
        energies = (hidden * gate).sum(dim=-1).transpose(1, 2)  # (B, N, T)
        energies = energies.masked_fill(~valid.unsqueeze(1), -torch.inf)
        return energies.softmax(dim=-1)  # Eqs. (5), (8)
