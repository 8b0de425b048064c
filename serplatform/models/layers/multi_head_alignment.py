"""Frames for every word, chosen by several heads of scaled dot products.

Shapes: B utterances, L words, T frames, M heads, E values a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class MultiHeadAlignment(nn.Module):
    r"""Give every word weighted sums of frames, one a head.

    Vaswani et al., "Attention Is All You Need", NIPS 2017, section 3.2.2, words asking frames:

    .. math::

        \mathrm{head}_m = \mathrm{softmax}(S W^Q_m (H W^K_m)^\top / \sqrt{E}) \, H W^V_m, \qquad
        \tilde H = [\mathrm{head}_1; …; \mathrm{head}_M] W^O

    Without biases, as written there. Padding gets no weight, neither as a frame nor as a word.

    Args:
        word_dim: values of a word, and of its aligned frames.
        frame_dim: values of a frame.
        num_heads: M, which divides ``word_dim``.

    Raises:
        ValueError: it does not.

    Example:
        >>> layer = MultiHeadAlignment(4, 2, num_heads=2)
        >>> words, frames = torch.zeros(1, 2, 4), torch.zeros(1, 4, 2)
        >>> read = torch.tensor([[True, False]]), torch.tensor([[True, True, False, False]])
        >>> layer(words, frames, *read)[1].tolist()
        [[[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]
    """

    def __init__(self, word_dim: int, frame_dim: int, num_heads: int) -> None:
        super().__init__()
        if word_dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {word_dim} values")
        self.num_heads = num_heads
        self.query = nn.Linear(word_dim, word_dim, bias=False)
        self.key = nn.Linear(frame_dim, word_dim, bias=False)
        self.value = nn.Linear(frame_dim, word_dim, bias=False)
        self.output = nn.Linear(word_dim, word_dim, bias=False)

    def forward(
        self, words: Tensor, frames: Tensor, valid_words: Tensor, valid_frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Align one padded batch.

        Args:
            words: S, (B, L, word_dim).
            frames: H, (B, T, frame_dim), finite.
            valid_words: (B, L), bool.
            valid_frames: (B, T), bool, at least one true a row.

        Returns:
            (B, L, word_dim) frames of each word, zero on padding; (B, L, T) mean weights of the
            heads.
        """
        query, key, value = self.query(words), self.key(frames), self.value(frames)
        query, key, value = (self._heads(x) for x in (query, key, value))  # (B, M, ·, E)
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])  # (B, M, L, T)
        scores = scores.masked_fill(~valid_frames[:, None, None], -torch.inf)
        weights = scores.softmax(dim=3) * valid_words[:, None, :, None]
        heads = (weights @ value).transpose(1, 2).flatten(2)  # (B, L, M·E)
        return self.output(heads), weights.mean(dim=1)

    def _heads(self, values: Tensor) -> Tensor:
        """(B, ·, M·E) to (B, M, ·, E)."""
        return values.view(*values.shape[:2], self.num_heads, -1).transpose(1, 2)
