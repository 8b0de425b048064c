"""Words of a batch: their ids and frames, their vectors, their frames pooled.

Shapes: B utterances, T frames, L words, D values a frame, V ids (0 padding, 1 unknown, the others
words), E values a vector, W words of the whole batch, F frames of all words.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn

from serplatform.config import setting
from serplatform.errors import BadInputError
from serplatform.models.base import Batch, InputSpec
from serplatform.models.layers.masks import valid_steps

#: ids that are not words of the vocabulary
PADDING_ID, UNKNOWN_ID = 0, 1
NUM_SPECIAL = 2

#: deviation of the vectors that training starts from, near that of GloVe's 300 values
START_STD = 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordVectorsConfig:
    """Settings of an architecture that reads words."""

    embedding_dim: int = setting(
        300, "values of a word vector trained from scratch; a vector file has its own", low=1
    )
    train_word_vectors: bool = setting(True, "train the vectors of a file further")


class WordEmbedding(nn.Module):
    """Look word ids up: given vectors or new ones, trained further or kept.

    Padding is zero for ever and gets no gradient. The unknown word is always trained: a vector
    file has none for it. Vectors of words that were not given are always trained too, since
    random vectors that stay as they are would only be noise.

    Attributes:
        embedding_dim: E.
        unknown: (E,) vector of id 1.
        vectors: (V - 2, E) vectors of ids 2, 3, …; a parameter, or a buffer where they are kept.

    Args:
        vocabulary_size: V, padding and unknown included.
        embedding_dim: E where no vectors are given.
        word_vectors: (V, E) initial vectors, or None.
        trainable: whether given vectors are trained further.

    Raises:
        ValueError: a size is too small, or the vectors are not one row an id.

    Example:
        >>> layer = WordEmbedding(4, 2, torch.tensor([[9.0, 9], [5, 5], [1, 2], [3, 4]]))
        >>> layer(torch.tensor([[3, 1, 0]])).detach()
        tensor([[[3., 4.],
                 [5., 5.],
                 [0., 0.]]])
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_dim: int,
        word_vectors: Tensor | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        if vocabulary_size < NUM_SPECIAL:
            raise ValueError(f"a vocabulary of {vocabulary_size} ids has no padding and unknown")
        if word_vectors is None:
            if embedding_dim < 1:
                raise ValueError(f"embedding_dim = {embedding_dim}: must be at least 1")
            start = START_STD * torch.randn(vocabulary_size, embedding_dim)
        else:
            if word_vectors.dim() != 2 or len(word_vectors) != vocabulary_size:
                raise ValueError(
                    f"word vectors of shape {tuple(word_vectors.shape)} for {vocabulary_size} ids"
                )
            start = word_vectors.detach().clone()
        self.embedding_dim = int(start.shape[1])
        self.unknown = nn.Parameter(start[UNKNOWN_ID].clone())
        vectors = start[NUM_SPECIAL:].clone()
        if trainable or word_vectors is None:
            self.vectors = nn.Parameter(vectors)
        else:
            self.register_buffer("vectors", vectors)

    @staticmethod
    def from_spec(
        spec: InputSpec, embedding_dim: int, trainable: bool = True
    ) -> WordEmbedding | ContextualWords:
        """Make the layer that the data ask for; a BadInputError where they give no words."""
        if spec.vocabulary_size < NUM_SPECIAL:
            raise BadInputError(
                "this architecture reads words, but the data give none; leave data.words out, or "
                "choose an architecture that reads audio only"
            )
        if spec.word_vector_dim:
            return ContextualWords(spec.word_vector_dim, embedding_dim)
        return WordEmbedding(spec.vocabulary_size, embedding_dim, spec.word_vectors, trainable)

    def forward(self, word_ids: Tensor, contextual: Tensor | None = None) -> Tensor:
        """(B, L) int64 ids to (B, L, E), zero on padding."""
        padding = torch.zeros_like(self.unknown)
        table = torch.cat([torch.stack([padding, self.unknown]), self.vectors])  # (V, E)
        return nn.functional.embedding(word_ids, table)


class ContextualWords(nn.Module):
    """Vectors that a text encoder gave to each word, projected where their sizes differ.

    Attributes:
        embedding_dim: values of a projected vector.

    Example:
        >>> layer = ContextualWords(2, 2)
        >>> layer(torch.tensor([[3, 1, 0]]), torch.ones(1, 3, 2)).tolist()
        [[[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]]
    """

    def __init__(self, vector_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        same = vector_dim == embedding_dim
        self.projection = nn.Identity() if same else nn.Linear(vector_dim, embedding_dim)

    def forward(self, word_ids: Tensor, contextual: Tensor | None = None) -> Tensor:
        """(B, L) int64 ids and (B, L, E) vectors to (B, L, embedding_dim), zero on padding."""
        if contextual is None:
            raise ValueError("the model reads contextual vectors of words, but the batch has none")
        projected: Tensor = self.projection(contextual)
        return projected.masked_fill((word_ids == PADDING_ID).unsqueeze(2), 0.0)


@dataclasses.dataclass(frozen=True)
class BatchWords:
    """Words of every utterance, at least one each.

    Attributes:
        ids: (B, L) int64, 0 beyond the last word.
        spans: (B, L, 2) int64, first frame and one past the last; zero beyond the last word.
        counts: (B,) int64, at least 1.
        valid: (B, L) bool, true on words.
        vectors: (B, L, E) contextual vectors, or None.
    """

    ids: Tensor
    spans: Tensor
    counts: Tensor
    valid: Tensor
    vectors: Tensor | None = None

    def frames(self, lengths: Tensor) -> Tensor:
        """(B, L, 2) int64 spans inside utterances of (B,) lengths.

        What a span has outside its utterance is left out; a span without a frame inside gets
        the frame of its utterance that is nearest to its start.
        """
        limit = lengths.unsqueeze(1)
        first = torch.minimum(self.spans[..., 0].clamp(min=0), limit - 1)
        last = torch.maximum(torch.minimum(self.spans[..., 1], limit), first + 1)
        return torch.stack([first, last], dim=2)


def batch_words(batch: Batch) -> BatchWords:
    """Take the words out of a batch.

    An utterance without words (``num_words`` 0) is one unknown word that spans all its frames,
    which is also how datasets give a clip that has neither an alignment nor a transcript.

    Raises:
        ValueError: the batch has none.

    Example:
        >>> batch = Batch(torch.zeros(1, 3, 2), torch.tensor([3]), torch.tensor([0]))
        >>> batch.word_ids = torch.zeros(1, 0, dtype=torch.int64)
        >>> batch.word_spans = torch.zeros(1, 0, 2, dtype=torch.int64)
        >>> batch.num_words = torch.tensor([0])
        >>> words = batch_words(batch)
        >>> words.ids.tolist(), words.spans.tolist(), words.counts.tolist()
        ([[1]], [[[0, 3]]], [1])
    """
    if batch.word_ids is None or batch.word_spans is None or batch.num_words is None:
        raise ValueError("the model reads words, but the batch has none")
    ids, spans, vectors = batch.word_ids, batch.word_spans, batch.word_vectors
    if ids.shape[1] == 0:
        ids = ids.new_zeros(len(batch), 1)
        spans = spans.new_zeros(len(batch), 1, 2)
        vectors = None if vectors is None else vectors.new_zeros(len(batch), 1, vectors.shape[2])
    steps = torch.arange(ids.shape[1], device=ids.device)
    added = (batch.num_words == 0).unsqueeze(1) & (steps == 0)  # (B, L)
    whole = torch.stack([torch.zeros_like(batch.lengths), batch.lengths], dim=1)  # (B, 2)
    counts = batch.num_words.clamp(min=1)
    return BatchWords(
        ids=torch.where(added, UNKNOWN_ID, ids),
        spans=torch.where(added.unsqueeze(2), whole.unsqueeze(1), spans),
        counts=counts,
        valid=valid_steps(counts, ids.shape[1]),
        vectors=vectors,
    )


@dataclasses.dataclass(frozen=True)
class WordSegments:
    """Stretches of frames of a batch whose rows are laid one behind the other.

    Attributes:
        place: (W,) int64, where each word stands among the B·L places of the batch; ascending.
        start: (W,) int64, its first frame among the B·T frames.
        length: (W,) int64, its frames, at least 1.
        valid: (B, L) bool, true on words.
    """

    place: Tensor
    start: Tensor
    length: Tensor
    valid: Tensor

    @classmethod
    def of(cls, words: BatchWords, lengths: Tensor, num_frames: int) -> WordSegments:
        """Find the segments of a batch whose utterances have (B,) lengths of T frames at most.

        Of the frames that :meth:`.BatchWords.frames` gives each word.

        Example:
            >>> from serplatform.models.base import Batch
            >>> from serplatform.models.layers.words import batch_words
            >>> batch = Batch(torch.zeros(1, 9, 2), torch.tensor([9]), torch.tensor([0]))
            >>> batch.word_ids = torch.tensor([[2, 3, 4]])
            >>> batch.word_spans = torch.tensor([[[0, 4], [4, 4], [8, 12]]])
            >>> batch.num_words = torch.tensor([3])
            >>> segments = WordSegments.of(batch_words(batch), batch.lengths, 9)
            >>> segments.start.tolist(), segments.length.tolist()
            ([0, 4, 8], [4, 1, 1])
        """
        if torch.compiler.is_exporting():  # a graph's sizes depend on no values: all places
            place = torch.arange(words.valid.numel(), device=lengths.device)
        else:
            place = words.valid.flatten().nonzero().squeeze(1)
        row = torch.div(place, words.valid.shape[1], rounding_mode="floor")  # (W,)
        first, last = words.frames(lengths).flatten(0, 1)[place].unbind(dim=1)  # (W,) each
        return cls(place, row * num_frames + first, last - first, words.valid)

    def frames(self, values: Tensor) -> Tensor:
        """Lay the frames of all words one behind the other: (B, T, D) to (F, D).

        A frame that lies in several words occurs as often.
        """
        end = self.length.cumsum(0)
        shift = (self.start - (end - self.length)).repeat_interleave(self.length)  # (F,)
        index = shift + torch.arange(len(shift), device=shift.device)
        return values.flatten(0, 1).index_select(0, index)

    def padded(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The frames of each word in a row of its own: (B, T, D) to (W, T, D) and (W, T) valid."""
        step = torch.arange(values.shape[1], device=values.device)
        index = self.start.unsqueeze(1) + torch.minimum(step, self.length.unsqueeze(1) - 1)
        rows = values.flatten(0, 1)[index]
        return rows, valid_steps(self.length, values.shape[1])

    def spread(self, vectors: Tensor) -> Tensor:
        """Put a vector a word where it stands: (W, D) to (B, L, D), zero where no word is."""
        if torch.compiler.is_exporting():
            return vectors.view(*self.valid.shape, -1) * self.valid.unsqueeze(2)
        empty = vectors.new_zeros(self.valid.numel(), vectors.shape[1])
        return empty.index_copy(0, self.place, vectors).view(*self.valid.shape, -1)


WordPooling = Literal["mean_max", "mean", "max"]


def pool_words(values: Tensor, segments: WordSegments, pooling: WordPooling) -> Tensor:
    """Pool the frames that the alignment gives to each word: (B, T, D) to (B, L, D).

    Li, Ding, Wu and Liu, 2020 (FG-CME), section 3.2. Only the frames of a word take part: the
    matrix A of zeros and ones is never made, and the zeros of other frames are not maxima.
    ``"mean_max"`` puts both side by side, (B, L, 2D); it is zero where there is no word.
    """
    kinds = ("mean", "max") if pooling == "mean_max" else (pooling,)
    if torch.compiler.is_exporting():
        rows, valid = segments.padded(values)
        padding = ~valid.unsqueeze(2)
        means = rows.masked_fill(padding, 0.0).sum(dim=1) / segments.length.unsqueeze(1)
        found = {"mean": means, "max": rows.masked_fill(padding, -torch.inf).amax(dim=1)}
        pooled = [found[kind] for kind in kinds]
    else:
        frames = segments.frames(values)  # (F, D)
        pooled = [torch.segment_reduce(frames, kind, lengths=segments.length) for kind in kinds]
    return segments.spread(torch.cat(pooled, dim=1))
