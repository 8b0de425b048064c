"""Vectors of word ids: padding is zero, the unknown word has a vector of its own.

Shapes: B utterances, L words, V ids (0 padding, 1 unknown, the others words), E values a vector.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from serplatform.config import setting
from serplatform.errors import BadInputError
from serplatform.models.base import InputSpec

#: ids that are not words of the vocabulary
PADDING_ID, UNKNOWN_ID = 0, 1
NUM_SPECIAL = 2

#: deviation of the vectors that training starts from, near that of GloVe's 300 values
START_DEVIATION = 0.3


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
            start = START_DEVIATION * torch.randn(vocabulary_size, embedding_dim)
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

    @classmethod
    def from_spec(
        cls, spec: InputSpec, embedding_dim: int, trainable: bool = True
    ) -> WordEmbedding:
        """Make the layer that the data ask for.

        Args:
            spec: its vocabulary, and its vectors where it has any.
            embedding_dim: E where it has none.
            trainable: whether given vectors are trained further.

        Raises:
            BadInputError: the data give no words.
        """
        if spec.vocabulary_size < NUM_SPECIAL:
            raise BadInputError(
                "this architecture reads words, but the data give none; leave data.words out, or "
                "choose an architecture that reads audio only"
            )
        return cls(spec.vocabulary_size, embedding_dim, spec.word_vectors, trainable)

    def forward(self, word_ids: Tensor) -> Tensor:
        """(B, L) int64 ids to (B, L, E), zero on padding."""
        padding = torch.zeros_like(self.unknown)
        table = torch.cat([torch.stack([padding, self.unknown]), self.vectors])  # (V, E)
        return nn.functional.embedding(word_ids, table)
