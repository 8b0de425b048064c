"""One vector for the frames of each word: a bidirectional LSTM and the mean of its outputs.

Shapes: B utterances, T frames, L words, W words of the whole batch, D values a frame, H hidden
units a direction.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.word_segments import WordSegments

#: in a group of words the longest is less than this much longer than the shortest
GROUP_RATIO = 2


class WordSegmentEncoder(nn.Module):
    """Encode every word's frames as if they were alone, all words of a batch at once.

    Lee, Yoon and Jung, Interspeech 2020 (CAN), section 3.2.2 and Figure 1: the bottom LSTM of
    the audio encoder, whose weights all words share, and its average pooling. The paper pads
    all words to the longest. Here words are sorted into a few groups of like length, each
    padded to its own longest, so that one long word does not make all others dear: less than
    half of the padded frames is padding, whatever the lengths. The result is the same, as
    padding is in neither the LSTM's states nor the mean.

    Args:
        input_dim: D.
        hidden_dim: H.
    """

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.encoder = BiLstm(input_dim, hidden_dim)

    def forward(self, frames: Tensor, segments: WordSegments) -> Tensor:
        """Encode the words of a batch.

        Args:
            frames: (B, T, D).
            segments: of the same batch.

        Returns:
            (B, L, 2H), zero where there is no word.
        """
        length, order = segments.length.sort(descending=True, stable=True)  # (W,) each
        start = segments.start[order]
        flat = frames.flatten(0, 1)  # (B·T, D)
        groups = itertools.pairwise(group_bounds(length.tolist()))
        encoded = [self._encode(flat, start[a:b], length[a:b]) for a, b in groups]
        vectors = torch.cat(encoded)  # the longest word first, (W, 2H)
        return segments.spread(vectors.index_select(0, order.argsort()))

    def _encode(self, flat: Tensor, start: Tensor, length: Tensor) -> Tensor:
        """Encode words of one group, the longest first: (B·T, D), (N,), (N,) to (N, 2H)."""
        step = torch.arange(int(length[0]), device=flat.device)
        # padding repeats a word's last frame: any finite value will do
        frame = start.unsqueeze(1) + torch.minimum(step, length.unsqueeze(1) - 1)  # (N, S)
        segment = flat.index_select(0, frame.flatten()).view(*frame.shape, -1)  # (N, S, D)
        hidden = self.encoder(segment, length)  # zero on padding, (N, S, 2H)
        mean: Tensor = hidden.sum(dim=1) / length.unsqueeze(1)
        return mean


def group_bounds(lengths: list[int]) -> list[int]:
    """Cut descending lengths wherever one is too short for the group of the one before.

    Args:
        lengths: (W,) descending, at least one.

    Returns:
        First positions of the groups, and W at the end.

    Example:
        >>> group_bounds([90, 70, 46, 45, 12, 8, 7, 1])
        [0, 3, 4, 7, 8]
    """
    bounds = [0]
    for position, length in enumerate(lengths):
        if length * GROUP_RATIO <= lengths[bounds[-1]]:
            bounds.append(position)
    return [*bounds, len(lengths)]
