"""Where the frames of every word of a batch lie.

Shapes: B utterances, T frames, L words, W words of the whole batch, F frames of all words.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from serplatform.models.layers.batch_words import BatchWords


@dataclasses.dataclass(frozen=True)
class WordSegments:
    """Stretches of frames of a batch whose rows are laid one behind the other.

    Attributes:
        place: (W,) int64, where each word stands among the B·L places of the batch; ascending.
        start: (W,) int64, its first frame among the B·T frames.
        length: (W,) int64, its frames, at least 1.
        shape: B and L.
    """

    place: Tensor
    start: Tensor
    length: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, words: BatchWords, lengths: Tensor, num_frames: int) -> WordSegments:
        """Find the segments of a batch.

        What a span has outside its utterance is left out; a span without a frame inside gets
        the frame of its utterance that is nearest to its start.

        Args:
            words: of the batch.
            lengths: (B,), frames of each utterance, at least 1.
            num_frames: T.

        Example:
            >>> from serplatform.models.base import Batch
            >>> from serplatform.models.layers.batch_words import batch_words
            >>> batch = Batch(torch.zeros(1, 9, 2), torch.tensor([9]), torch.tensor([0]))
            >>> batch.word_ids = torch.tensor([[2, 3, 4]])
            >>> batch.word_spans = torch.tensor([[[0, 4], [4, 4], [8, 12]]])
            >>> batch.num_words = torch.tensor([3])
            >>> segments = WordSegments.of(batch_words(batch), batch.lengths, 9)
            >>> segments.start.tolist(), segments.length.tolist()
            ([0, 4, 8], [4, 1, 1])
        """
        place = words.valid.flatten().nonzero().squeeze(1)
        row = torch.div(place, words.valid.shape[1], rounding_mode="floor")  # (W,)
        span = words.spans.flatten(0, 1)[place]  # (W, 2)
        length = lengths[row]
        first = torch.minimum(span[:, 0].clamp(min=0), length - 1)
        last = torch.maximum(torch.minimum(span[:, 1], length), first + 1)
        shape = (words.valid.shape[0], words.valid.shape[1])
        return cls(place, row * num_frames + first, last - first, shape)

    def frames(self, values: Tensor) -> Tensor:
        """Lay the frames of all words one behind the other: (B, T, D) to (F, D).

        A frame that lies in several words occurs as often.
        """
        end = self.length.cumsum(0)
        shift = (self.start - (end - self.length)).repeat_interleave(self.length)  # (F,)
        index = shift + torch.arange(len(shift), device=shift.device)
        return values.flatten(0, 1).index_select(0, index)

    def spread(self, vectors: Tensor) -> Tensor:
        """Put a vector a word where it stands: (W, D) to (B, L, D), zero where no word is."""
        empty = vectors.new_zeros(self.shape[0] * self.shape[1], vectors.shape[1])
        return empty.index_copy(0, self.place, vectors).view(*self.shape, -1)
