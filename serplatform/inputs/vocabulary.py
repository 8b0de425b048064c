"""Words as numbers: 0 is padding, 1 an unknown word, the others are words of the training rows."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from serplatform.arrays import IntArray
from serplatform.errors import BadInputError

PADDING_ID = 0
UNKNOWN_ID = 1
#: names that stand for the two ids where a word is shown; no transcript holds them
PADDING, UNKNOWN = "<pad>", "<unk>"
_FIRST_WORD_ID = 2


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Words with an id of their own.

    Attributes:
        words: of ids 2, 3, …; the most frequent first, equal counts by name.

    Example:
        >>> vocabulary = Vocabulary.fit([["the", "door"], ["the", "dogs"]])
        >>> vocabulary.words, vocabulary.encode(["the", "cat"]).tolist(), len(vocabulary)
        (('the', 'dogs', 'door'), [2, 1], 5)
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        twice = [word for word, count in Counter(self.words).items() if count > 1]
        if twice:
            raise BadInputError(f"vocabulary: the word '{twice[0]}' occurs twice")
        marked = [word for word in self.words if not word or word in (PADDING, UNKNOWN)]
        if marked:
            raise BadInputError(f"vocabulary: '{marked[0]}' cannot be a word")
        ids = {word: number for number, word in enumerate(self.words, start=_FIRST_WORD_ID)}
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def fit(cls, texts: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """Words of the training utterances; those rarer than ``min_count`` stay unknown."""
        counts = Counter(word for text in texts for word in text)
        for mark in ("", PADDING, UNKNOWN):
            counts.pop(mark, None)
        kept = [word for word, count in counts.items() if count >= min_count]
        return cls(tuple(sorted(kept, key=lambda word: (-counts[word], word))))

    def __len__(self) -> int:
        """Number of ids, padding and unknown included."""
        return _FIRST_WORD_ID + len(self.words)

    def id_of(self, word: str) -> int:
        """The id of a word; 1 for one that training has not seen."""
        ids: dict[str, int] = self.__dict__["_ids"]
        return ids.get(word, UNKNOWN_ID)

    def encode(self, words: Sequence[str]) -> IntArray:
        """(L,) ids; padding never occurs."""
        return np.array([self.id_of(word) for word in words], dtype=np.int64)
