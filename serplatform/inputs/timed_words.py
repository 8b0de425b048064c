"""The words of many utterances in flat arrays: of stored alignments, or of new audio.

Shapes: N utterances, W words of all of them, B utterances of a batch, L words of one.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from serplatform.alignment.tokens import tokens
from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.errors import ArtifactError
from serplatform.inputs.vocabulary import UNKNOWN


@dataclasses.dataclass(frozen=True)
class TimedWords:
    """Words with their times, utterance by utterance.

    Attributes:
        words: distinct words.
        codes: (W,) position in ``words`` of each word.
        times: (W, 2) seconds; NaN where the word has no time of its own.
        offsets: (N + 1,) first word of each utterance.
        counts: utterances ``unaligned``: with words of their transcripts; ``wordless``;
            ``outdated``: today's rules find other words in their transcripts.
        rules: version of the rules by which transcripts were split.
    """

    words: tuple[str, ...]
    codes: IntArray
    times: DoubleArray
    offsets: IntArray
    counts: Counter[str]
    rules: int

    @classmethod
    def collect(
        cls, utterances: Iterable[tuple[list[str], DoubleArray, str | None]], rules: int
    ) -> TimedWords:
        """Gather each utterance: words of its alignment, (L, 2) their times, transcript.

        An utterance without an alignment has the words of its transcript, split by the ``rules`` of
        a version; one without either has one unknown word.
        """
        numbers: dict[str, int] = {}
        codes: list[int] = []
        all_times: list[DoubleArray] = []
        offsets, counts = [0], Counter[str]()
        for words, times, text in utterances:
            if not words:
                words = tokens(text or "", rules)
                counts["outdated"] += rules == 1 and words != tokens(text or "")
                counts["unaligned" if words else "wordless"] += 1
                words = words or [UNKNOWN]
                times = np.full((len(words), 2), np.nan)
            codes += [numbers.setdefault(word, len(numbers)) for word in words]
            all_times.append(times)
            offsets.append(len(codes))
        return cls(
            words=tuple(numbers),
            codes=np.array(codes, dtype=np.int64),
            times=np.concatenate([np.zeros((0, 2)), *all_times]),
            offsets=np.array(offsets, dtype=np.int64),
            counts=counts,
            rules=rules,
        )

    def __len__(self) -> int:
        """N."""
        return len(self.offsets) - 1

    def of(self, row: int) -> slice:
        """Where an utterance's words are."""
        return slice(int(self.offsets[row]), int(self.offsets[row + 1]))

    def text(self, row: int) -> list[str]:
        """An utterance's words."""
        return [self.words[code] for code in self.codes[self.of(row)]]


class WordVectorSource(Protocol):
    """Contextual vectors of the words of every utterance, as a dataset or new audio has them."""

    @property
    def dim(self) -> int:
        """E."""

    def frames(self, row: int) -> FloatArray:
        """(L, E) of one utterance."""


@dataclasses.dataclass(frozen=True)
class EncodedWords:
    """Words of a source as numbers.

    Attributes:
        words: of all utterances.
        ids: (W,).
        spans: (W, 2) first frame of each word and one past its last, among those kept.
        num_frames: (N,) frames kept.
        vectors: (L, E) contextual vectors of each utterance's words; None where there are none.
    """

    words: TimedWords
    ids: IntArray
    spans: IntArray
    num_frames: IntArray
    vectors: WordVectorSource | None = None

    def of(self, row: int) -> IntArray:
        """(L, 2) frames of one utterance's words."""
        return self.spans[self.words.of(row)]

    def batch_vectors(self, rows: IntArray) -> FloatArray | None:
        """(B, L, E) contextual vectors of the words of B utterances, zero beyond the last word.

        None where there are none.

        Raises:
            ArtifactError: an utterance has another number of vectors than of words.
        """
        if self.vectors is None:
            return None
        own = [self.vectors.frames(row) for row in rows.tolist()]
        counts = [self.words.of(row).stop - self.words.of(row).start for row in rows.tolist()]
        if [len(vectors) for vectors in own] != counts:
            raise ArtifactError(
                "an utterance has another number of word vectors than of words, so they are of "
                "other rules of words; prepare the dataset again"
            )
        padded = np.zeros((len(rows), max(counts), self.vectors.dim), dtype=np.float32)
        for target, vectors in zip(padded, own, strict=True):
            target[: len(vectors)] = vectors
        return padded

    def batch(self, rows: IntArray, lengths: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Ids and frames of the words of B utterances of ``lengths`` frames in the batch.

        A change of speed makes the frames more or fewer. Returns (B, L) ids and (B, L, 2) first
        frame and one past the last, both 0 beyond the last word, and (B,) number of words, at least
        1.
        """
        slices = [self.words.of(int(row)) for row in rows]
        counts = np.array([s.stop - s.start for s in slices], dtype=np.int64)
        ids = np.zeros((len(rows), int(counts.max(initial=1))), dtype=np.int64)
        spans = np.zeros((*ids.shape, 2), dtype=np.int64)
        for position, (row, words) in enumerate(zip(rows.tolist(), slices, strict=True)):
            count = counts[position]
            ids[position, :count] = self.ids[words]
            own = self.spans[words]
            kept, wanted = int(self.num_frames[row]), int(lengths[position])
            spans[position, :count] = own if wanted == kept else rescale(own, kept, wanted)
        return ids, spans, counts


def rescale(spans: IntArray, old: int, new: int) -> IntArray:
    """Move (L, 2) frame spans of ``old`` frames to ``new`` frames; each keeps at least one.

    Example:
        >>> rescale(np.array([[0, 5], [5, 10]]), 10, 5).tolist()
        [[0, 2], [2, 5]]
    """
    moved = np.round(spans * (new / old)).astype(np.int64)
    first = np.clip(moved[:, 0], 0, new - 1)
    return np.stack([first, np.clip(moved[:, 1], first + 1, new)], axis=1)
