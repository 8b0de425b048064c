"""Each modality's values turned up and down by the other, word by word.

Shapes: B utterances, L words, A values of an acoustic word, S values of a semantic word.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Excite = Literal["both", "audio", "text", "none"]


class CrossExcitement(nn.Module):
    r"""Gates between 0 and 1 that one modality sets for the other.

    Li, Ding, Wu and Liu, 2020 (FG-CME), section 3.3:

    .. math::

        E^a = \sigma(W^a Z^s), \qquad E^s = \sigma(W^s Z^a), \qquad
        \bar Z^a = E^a \odot Z^a, \qquad \bar Z^s = E^s \odot Z^s

    Both gates see the other modality's values before its own gate. As in the equations, the
    projections have no bias. The paper's W^s is also the projection of word vectors in section
    3.1.2; its shape tells that these are two matrices.

    Args:
        audio_dim: A.
        text_dim: S.
        excite: the representations that are gated. ``"text"`` is the paper's "w/o Excite^a",
            ``"audio"`` its "w/o Excite^s", ``"none"`` its "w/o Excite^m".
        residual: add what is gated, Z + E ⊙ Z, as the authors' program does and the paper does
            not say.
    """

    def __init__(
        self, audio_dim: int, text_dim: int, excite: Excite = "both", residual: bool = False
    ) -> None:
        super().__init__()
        self.residual = residual
        gates_audio, gates_text = excite in ("both", "audio"), excite in ("both", "text")
        self.audio_gate = nn.Linear(text_dim, audio_dim, bias=False) if gates_audio else None
        self.text_gate = nn.Linear(audio_dim, text_dim, bias=False) if gates_text else None

    def forward(self, audio: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Gate both: (B, L, A) and (B, L, S) to the same shapes."""
        return self._gated(audio, text, self.audio_gate), self._gated(text, audio, self.text_gate)

    def _gated(self, values: Tensor, other: Tensor, gate: nn.Linear | None) -> Tensor:
        if gate is None:
            return values
        factor: Tensor = gate(other).sigmoid()
        return (factor + 1 if self.residual else factor) * values
