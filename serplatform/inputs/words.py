"""Words that a model reads, or that its pooling follows: ids, and the frames of each word.

Words without times share the kept frames equally. The vocabulary is fitted on the fold's training
rows only. Spans depend on no fold and are computed once for a feature and a way of cutting.

Shapes: N utterances, W words of all of them, B of a batch, L words, E values of a word vector,
V ids.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from serplatform.alignment.words import (
    divide_silence,
    equal_segments,
    frame_spans,
    overlap_neighbours,
)
from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.artifacts.model import Preprocessing, WordPreprocessing
from serplatform.config import setting
from serplatform.inputs.clips import Clips, SelectedClips
from serplatform.inputs.step import Step, narrowed
from serplatform.inputs.timed_words import TimedWords
from serplatform.inputs.vocabulary import Vocabulary
from serplatform.inputs.word_vectors import WordVectors, read_word_vectors

#: settings that are stored with a model, without their prefix ``word_``
_STORED: tuple[Literal["segmentation", "silence", "overlap", "min_count"], ...] = (
    "segmentation",
    "silence",
    "overlap",
    "min_count",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordSettings:
    """How words are cut and numbered; the defaults are FG-CME's, without word vectors.

    ``words`` is set for architectures that read words.

    Example:
        >>> WordSettings().word_segmentation
        'aligned'
    """

    words: bool = setting(False, "give the model word ids and the frames of each word")
    word_segmentation: Literal["aligned", "equal"] = setting(
        "aligned", "words' own times, or equal shares of the utterance"
    )
    word_silence: Literal["drop", "divide"] = setting(
        "drop", "time between words belongs to no word, or is divided between its neighbours"
    )
    word_overlap: float = setting(
        0.0, "share of its length that a word overlaps with its neighbours", low=0.0, high=0.5
    )
    word_min_count: int = setting(
        1, "training occurrences below which a word is unknown", low=1, high=1000
    )
    word_vectors: str | None = setting(
        None, "GloVe text file; without one word vectors are trained from scratch"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words(Step):
    """Numbers and cuts the words of a source; leaves frames as they are.

    Attributes:
        settings: how.
        rules: version of the rules by which transcripts are split.
        vocabulary: of the training rows.
        vectors: (V, E) float32 initial word vectors, or None.
        source_notes: where the training dataset's words came from.
        other_notes: size of the vocabulary, and what is odd about the word vectors.
    """

    settings: WordSettings
    rules: int
    vocabulary: Vocabulary = dataclasses.field(compare=False)
    vectors: FloatArray | None = dataclasses.field(default=None, compare=False)
    source_notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    other_notes: tuple[tuple[str, ...], tuple[str, ...]] = dataclasses.field(
        default=((), ()), compare=False
    )

    @classmethod
    def fit(
        cls, config: WordSettings, clips: Clips, selected: SelectedClips, train_rows: IntArray
    ) -> Words | None:
        """Collect the vocabulary of the training rows; None for models of audio alone."""
        return cls.of_training(config, selected, train_rows) if config.words else None

    @classmethod
    def of_training(
        cls, config: WordSettings, selected: SelectedClips, train_rows: IntArray
    ) -> Words:
        """Collect the vocabulary of the training rows, and read its word vectors.

        Raises:
            BadInputError: the source has neither alignments nor transcripts, or the file of
                word vectors cannot be used.
        """
        source, settings = selected.source, narrowed(config, WordSettings)
        words = source.words()
        vocabulary = Vocabulary.fit(
            (words.text(int(row)) for row in train_rows), settings.word_min_count
        )
        matrix, path, vector_notes = None, settings.word_vectors, ()
        if path is not None:
            key = ("word vectors", path)
            if key not in source.cache:
                source.cache[key] = read_word_vectors(path, words.words)
            found: WordVectors = source.cache[key]
            matrix = found.matrix(vocabulary)
            vector_notes = tuple(f"{path}: {note}" for note in found.notes)
        size = f"{len(vocabulary.words)} words from {len(train_rows)} training utterances"
        return cls(
            settings=settings,
            rules=words.rules,
            vocabulary=vocabulary,
            vectors=matrix,
            source_notes=_source_notes(words, settings),
            other_notes=((f"vocabulary of {size}",), vector_notes),
        )

    @classmethod
    def load(cls, stored: Preprocessing) -> Words | None:
        """As it was fitted, without vectors: they are in the model's weights."""
        return cls.of_stored(stored["words"]) if "words" in stored else None

    @classmethod
    def of_stored(cls, stored: WordPreprocessing) -> Words:
        """Make it from what :meth:`stored` gave."""
        given: dict[str, Any] = {f"word_{name}": stored[name] for name in _STORED if name in stored}
        return cls(
            settings=WordSettings(**given),
            rules=stored.get("word_rules", 1),
            vocabulary=Vocabulary(tuple(stored["vocabulary"])),
        )

    def stored(self) -> dict[str, Any]:
        """What new audio needs, JSON-serialisable."""
        rules = {} if self.rules == 1 else {"word_rules": self.rules}
        values = {name: getattr(self.settings, f"word_{name}") for name in _STORED}
        return {**values, **rules, "vocabulary": list(self.vocabulary.words)}

    def describe(self) -> dict[str, Any]:
        """How words are cut, and the vocabulary."""
        return {"words": self.stored()}

    def apply(self, clips: Clips, selected: SelectedClips) -> Clips:
        """The clips themselves."""
        return clips

    def encoded(self, selected: SelectedClips) -> EncodedWords:
        """Ids and spans of all words of a source."""
        words = selected.source.words(self.rules)
        cut = self.settings
        how = (cut.word_segmentation, cut.word_silence, cut.word_overlap)
        cache, key = selected.source.cache, ("word spans", selected.identity, self.rules, *how)
        if key not in cache:
            spans = np.zeros((len(words.codes), 2), dtype=np.int64)
            for row in range(len(words)):
                first, last = int(selected.first[row]), int(selected.last[row])
                own = words.of(row)
                spans[own] = _cut(words.times[own], cut, selected.frame_shift, first, last)
            cache[key] = spans
        ids = self.vocabulary.encode(words.words)[words.codes]
        return EncodedWords(words, ids, cache[key], selected.num_frames)

    @property
    def notes(self) -> tuple[str, ...]:
        """The vocabulary, where the words came from, and the vectors."""
        return (*self.other_notes[0], *self.source_notes, *self.other_notes[1])


@dataclasses.dataclass(frozen=True)
class EncodedWords:
    """Words of a source as numbers.

    Attributes:
        words: of all utterances.
        ids: (W,).
        spans: (W, 2) first frame of each word and one past its last, among those kept.
        num_frames: (N,) frames kept.
    """

    words: TimedWords
    ids: IntArray
    spans: IntArray
    num_frames: IntArray

    def of(self, row: int) -> IntArray:
        """(L, 2) frames of one utterance's words."""
        return self.spans[self.words.of(row)]

    def batch(self, rows: IntArray, lengths: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Ids and frames of the words of some utterances.

        Args:
            rows: (B,).
            lengths: (B,) frames of each in the batch: a change of speed makes them more or fewer.

        Returns:
            (B, L) ids, 0 beyond the last word; (B, L, 2) first frame and one past the last,
            zero beyond the last word; (B,) words, at least 1.
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


def _cut(times: DoubleArray, how: WordSettings, shift: float, first: int, last: int) -> IntArray:
    """(L, 2) frames of one utterance's words, counted from the first frame kept."""
    start, end = first * shift, last * shift
    if how.word_segmentation == "equal" or np.isnan(times).any():
        segments = equal_segments(len(times), start, end)
    elif how.word_silence == "divide":
        segments = divide_silence(times, start, end)
    else:
        segments = times
    if how.word_overlap:
        segments = overlap_neighbours(segments, how.word_overlap)
    return frame_spans(segments, shift, last - first, first)


def _source_notes(words: TimedWords, how: WordSettings) -> tuple[str, ...]:
    total, notes = len(words), []
    unaligned, nothing = words.counts["unaligned"], words.counts["wordless"]
    if unaligned and how.word_segmentation == "aligned":
        notes.append(
            f"{unaligned} of {total} utterances have no word alignment: the words of their "
            "transcripts share the time equally"
        )
    if nothing:
        notes.append(
            f"{nothing} of {total} utterances have no words at all: one unknown word spans each"
        )
    if words.counts["outdated"]:
        notes.append(
            f"{words.counts['outdated']} transcripts are split by the rules of an earlier "
            "version, of which the dataset is; prepare it again to have their words by today's"
        )
    return tuple(notes)
