"""Frames for every word, chosen by one saturating unit.

Shapes: B utterances, L words, T frames, D values of each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TanhAlignment(nn.Module):
    r"""Give every word a weighted sum of frames; the weights are learned.

    Xu et al., "Learning Alignment for Multimodal Emotion Recognition from Speech", Interspeech
    2019, the attention based alignment, for word j and frame i:

    .. math::

        a_{j,i} = \tanh(v^\top s_j + u^\top h_i + b), \qquad
        \alpha_{j,i} = \mathrm{softmax}_i(a_{j,i}), \qquad
        \tilde h_j = \sum_i \alpha_{j,i} h_i

    Not yet compared with the printed equations, whose numbers are therefore not given.

    Word and frame meet only through the hyperbolic tangent: where it does not saturate, the
    word's term is the same for all frames and the softmax takes it out. Padding gets no weight,
    neither as a frame nor as a word.

    Args:
        word_dim: values of s.
        frame_dim: values of h.

    Example:
        >>> layer = TanhAlignment(3, 2)
        >>> words, frames = torch.zeros(1, 2, 3), torch.zeros(1, 4, 2)
        >>> read = torch.tensor([[True, False]]), torch.tensor([[True, True, False, False]])
        >>> layer(words, frames, *read)[1].tolist()
        [[[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]
    """

    def __init__(self, word_dim: int, frame_dim: int) -> None:
        super().__init__()
        self.word = nn.Linear(word_dim, 1, bias=False)  # v
        self.frame = nn.Linear(frame_dim, 1)  # u, b

    def forward(
        self, words: Tensor, frames: Tensor, valid_words: Tensor, valid_frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Align one padded batch.

        Args:
            words: s, (B, L, word_dim).
            frames: h, (B, T, frame_dim), finite.
            valid_words: (B, L), bool.
            valid_frames: (B, T), bool, at least one true a row.

        Returns:
            (B, L, frame_dim) frames of each word, zero on padding; (B, L, T) weights.
        """
        scores = torch.tanh(self.word(words) + self.frame(frames).transpose(1, 2))  # (B, L, T)
        weights = scores.masked_fill(~valid_frames.unsqueeze(1), -torch.inf).softmax(dim=2)
        weights = weights * valid_words.unsqueeze(2)
        return torch.bmm(weights, frames), weights
