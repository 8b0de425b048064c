"""One vector of an utterance out of a bidirectional LSTM's outputs.

Shapes: B utterances, T steps, H hidden units a direction.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from serplatform.models.layers.attention_pooling import AttentionPooling

PoolingKind = Literal["last", "mean", "max", "attention"]


def last_outputs(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Where each direction of a bidirectional LSTM ends.

    Args:
        hidden: (B, T, 2H), forward then backward outputs.
        lengths: (B,), int64, 1 to T.

    Returns:
        (B, 2H): the forward output at the last step, the backward output at the first.

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

    Args:
        input_dim: 2H.
        kind: how.

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
        """Pool one padded batch.

        Args:
            hidden: (B, T, 2H), finite.
            lengths: (B,), int64, 1 to T.
            valid: (B, T), bool, true before each length.

        Returns:
            (B, 2H) pooled vectors; (B, T) weights of ``attention``, else None.
        """
        if self.attention is not None:
            pooled: tuple[Tensor, Tensor] = self.attention(hidden, valid)
            return pooled
        if self.kind == "last":
            return last_outputs(hidden, lengths), None
        padding = ~valid.unsqueeze(2)  # (B, T, 1)
        if self.kind == "mean":
            return hidden.masked_fill(padding, 0.0).sum(dim=1) / lengths.unsqueeze(1), None
        return hidden.masked_fill(padding, -torch.inf).amax(dim=1), None
