"""One vector of a padded sequence: weighted sums, attention, an LSTM's last outputs.

Shapes: B utterances, T frames, D values a frame, H hidden units a direction.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


def weighted_sum(weights: Tensor, frames: Tensor) -> Tensor:
    """Sum (B, T, D) frames, finite on padding, by (B, T) weights, zero there: (B, D).

    Example:
        >>> weighted_sum(torch.tensor([[0.25, 0.75]]), torch.tensor([[[4.0, 0.0], [8.0, 4.0]]]))
        tensor([[7., 3.]])
    """
    return torch.bmm(weights.unsqueeze(1), frames).squeeze(1)


class AttentionPooling(nn.Module):
    r"""Pool frames into one vector by a softmax over their agreement with a learned query.

    Mirsamadi, Barsoum and Zhang, "Automatic Speech Emotion Recognition using Recurrent Neural
    Networks with Local Attention", ICASSP 2017:

    .. math:: \alpha_t = \mathrm{softmax}_t(u^\top y_t), \qquad z = \sum_t \alpha_t y_t

    Padding gets no weight.

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
        """(B, T, D) finite frames, of which some are valid, to (B, D) and (B, T) weights."""
        energies = self.query(frames).squeeze(-1).masked_fill(~valid, -torch.inf)  # (B, T)
        weights = energies.softmax(dim=1)
        return weighted_sum(weights, frames), weights


def dot_attention(query: Tensor, sequence: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    r"""Sum a sequence weighed by a softmax over its agreement with a vector.

    Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine
    Translation", EMNLP 2015, Eqs. (7)-(8) with the score "dot":

    .. math:: a_t = \mathrm{softmax}_t(q^\top h_t), \qquad v = \sum_t a_t h_t

    (B, D) queries of (B, T, D) sequences, finite on padding and of at least one valid step, to
    (B, D) sums and (B, T) weights, zero on padding.

    Example:
        >>> sequence = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]])
        >>> dot_attention(torch.ones(1, 2), sequence, torch.tensor([[True, False]]))[0]
        tensor([[1., 2.]])
    """
    energies = torch.bmm(sequence, query.unsqueeze(2)).squeeze(2)  # (B, T)
    weights = energies.masked_fill(~valid, -torch.inf).softmax(dim=1)
    return weighted_sum(weights, sequence), weights


PoolingKind = Literal["last", "mean", "max", "attention"]


def last_outputs(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Where each direction of a bidirectional LSTM ends: (B, T, 2H) outputs to (B, 2H).

    The forward output at the last of (B,) lengths, 1 to T, and the backward output at the first.

    Example:
        >>> hidden = torch.tensor([[[1.0, 5.0], [2.0, 6.0], [0.0, 0.0]]])
        >>> last_outputs(hidden, torch.tensor([2]))
        tensor([[2., 5.]])
    """
    forward, backward = hidden.chunk(2, dim=2)  # (B, T, H) each
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    return torch.cat([forward[rows, lengths - 1], backward[:, 0]], dim=1)


class UtterancePooling(nn.Module):
    """Sum up a sequence: its last outputs, its mean, its maximum, or attention.

    Padding takes no part. ``attention`` is :class:`.AttentionPooling`, a learned query; the
    others have no parameters.

    Example:
        >>> hidden = torch.tensor([[[1.0, 5.0], [3.0, 6.0], [9.0, 9.0]]])
        >>> valid = torch.tensor([[True, True, False]])
        >>> for kind in ("last", "mean", "max"):
        ...     print(UtterancePooling(2, kind)(hidden, torch.tensor([2]), valid)[0].tolist())
        [[3.0, 5.0]]
        [[2.0, 5.5]]
        [[3.0, 6.0]]
    """

    def __init__(self, input_dim: int, kind: PoolingKind) -> None:
        super().__init__()
        self.kind = kind
        self.attention = AttentionPooling(input_dim) if kind == "attention" else None

    def forward(
        self, hidden: Tensor, lengths: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """(B, T, 2H) finite outputs to (B, 2H), and (B, T) weights of ``attention``, else None."""
        if self.attention is not None:
            pooled: tuple[Tensor, Tensor] = self.attention(hidden, valid)
            return pooled
        if self.kind == "last":
            return last_outputs(hidden, lengths), None
        padding = ~valid.unsqueeze(2)  # (B, T, 1)
        if self.kind == "mean":
            return hidden.masked_fill(padding, 0.0).sum(dim=1) / lengths.unsqueeze(1), None
        return hidden.masked_fill(padding, -torch.inf).amax(dim=1), None
