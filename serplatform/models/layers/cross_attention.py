"""Attention weights of one modality applied to the other, step by step.

Shapes: B utterances, L steps that both modalities share, D values a step, M heads.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class Contexts:
    """What :class:`CrossAttention` gives; the first letter is the query, the second the value.

    Attributes:
        tt: (B, M·D) text weighed by text.
        ta: (B, M·D) audio weighed by text; None without cross attention.
        aa: (B, M·D) audio weighed by audio.
        at: (B, M·D) text weighed by audio; None without cross attention.
        text_weights: (B, M, L), each row sums to 1 over valid steps and is zero on padding.
        audio_weights: (B, M, L), likewise.
    """

    tt: Tensor
    ta: Tensor | None
    aa: Tensor
    at: Tensor | None
    text_weights: Tensor
    audio_weights: Tensor


class CrossAttention(nn.Module):
    r"""Global attention over each modality, and over the other with the same weights.

    Lee, Yoon and Jung, Interspeech 2020 (CAN), Eqs. (4)-(9), for each head with queries of its
    own:

    .. math::

        \alpha^{(T)}_i = \mathrm{softmax}_i(q^{(T)\top} H^{(T)}_i), \qquad
        c^{(TT)} = \sum_i \alpha^{(T)}_i H^{(T)}_i, \qquad
        c^{(TA)} = \sum_i \mathrm{sg}(\alpha^{(T)}_i) H^{(A)}_i

    and with text and audio exchanged. A context vector is the heads' vectors side by side.
    Padding gets no weight.

    Args:
        input_dim: D.
        num_heads: M.
        cross: compute c(TA) and c(AT) at all.
        stop_gradient: stop gradients at the weights of c(TA) and c(AT); sg in Eqs. (7), (9).

    Example:
        >>> attention = CrossAttention(input_dim=3, num_heads=2)
        >>> valid = torch.tensor([[True, False]])
        >>> contexts = attention(torch.ones(1, 2, 3), torch.zeros(1, 2, 3), valid)
        >>> contexts.tt.shape, contexts.text_weights[0, 0].tolist()
        (torch.Size([1, 6]), [1.0, 0.0])
    """

    def __init__(
        self, input_dim: int, num_heads: int, cross: bool = True, stop_gradient: bool = True
    ) -> None:
        super().__init__()
        self.cross = cross
        self.stop_gradient = stop_gradient
        self.text_query = nn.Linear(input_dim, num_heads, bias=False)  # q(T), a row a head
        self.audio_query = nn.Linear(input_dim, num_heads, bias=False)  # q(A)

    def forward(self, text: Tensor, audio: Tensor, valid: Tensor) -> Contexts:
        """Aggregate both modalities from the view of each.

        Args:
            text: H(T), (B, L, D), finite.
            audio: H(A), (B, L, D), finite.
            valid: (B, L), bool, at least one true a row.

        Returns:
            The context vectors and weights.
        """
        by_text = _weights(self.text_query(text), valid)  # Eq. (4), (B, M, L)
        by_audio = _weights(self.audio_query(audio), valid)  # Eq. (5), (B, M, L)
        ta = at = None
        if self.cross:
            stop = self.stop_gradient
            ta = _context(by_text.detach() if stop else by_text, audio)  # Eq. (7)
            at = _context(by_audio.detach() if stop else by_audio, text)  # Eq. (9)
        return Contexts(
            tt=_context(by_text, text),  # Eq. (6)
            ta=ta,
            aa=_context(by_audio, audio),  # Eq. (8)
            at=at,
            text_weights=by_text,
            audio_weights=by_audio,
        )


def _weights(energies: Tensor, valid: Tensor) -> Tensor:
    """(B, L, M) energies to (B, M, L) weights."""
    masked = energies.transpose(1, 2).masked_fill(~valid.unsqueeze(1), -torch.inf)
    return masked.softmax(dim=2)


def _context(weights: Tensor, values: Tensor) -> Tensor:
    """(B, M, L) and (B, L, D) to (B, M·D)."""
    return torch.bmm(weights, values).flatten(1)
