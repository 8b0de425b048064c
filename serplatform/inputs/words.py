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

from serplatform.alignment.segments import (
    divide_silence,
    equal_segments,
    frame_spans,
    overlap_neighbours,
)
from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.artifacts.model import Preprocessing, WordPreprocessing
from serplatform.config import setting
from serplatform.inputs.clips import Clips, ClipSource
from serplatform.inputs.step import Step, narrowed
from serplatform.inputs.timed_words import EncodedWords, TimedWords
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
class Words(Step[WordSettings]):
    """Numbers and cuts the words of a source; leaves frames as they are.

    Attributes:
        settings: how.
        rules: version of the rules by which transcripts are split.
        vocabulary: of the training rows.
        vectors: (V, E) float32 initial word vectors, or None.
        source_notes: where the training dataset's words came from.
        fit_notes: these, the size of the vocabulary, and what is odd about the word vectors.
    """

    settings: WordSettings
    rules: int
    vocabulary: Vocabulary = dataclasses.field(compare=False)
    vectors: FloatArray | None = dataclasses.field(default=None, compare=False)
    source_notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    fit_notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @classmethod
    def fit(cls, config: WordSettings, clips: Clips, train_rows: IntArray) -> Words | None:
        settings = narrowed(config, WordSettings)
        return cls.of_training(settings, clips.source, train_rows) if config.words else None

    @classmethod
    def of_training(cls, settings: WordSettings, source: ClipSource, train_rows: IntArray) -> Words:
        """Collect the vocabulary of the training rows, and read its word vectors.

        Raises:
            BadInputError: the source has neither alignments nor transcripts, or the file of
                word vectors cannot be used.
        """
        words = source.words()
        vocabulary = Vocabulary.fit(
            (words.text(int(row)) for row in train_rows), settings.word_min_count
        )
        matrix, path, source_notes = None, settings.word_vectors, _source_notes(words, settings)
        size = f"{len(vocabulary.words)} words from {len(train_rows)} training utterances"
        notes = [f"vocabulary of {size}", *source_notes]
        if path is not None:
            key = ("word vectors", path)
            if key not in source.cache:
                source.cache[key] = read_word_vectors(path, words.words)
            found: WordVectors = source.cache[key]
            matrix = found.matrix(vocabulary)
            notes += [f"{path}: {note}" for note in found.notes]
        return cls(
            settings=settings,
            rules=words.rules,
            vocabulary=vocabulary,
            vectors=matrix,
            source_notes=source_notes,
            fit_notes=tuple(notes),
        )

    @classmethod
    def load(cls, stored: Preprocessing) -> Words | None:
        return cls.of_stored(stored["words"]) if "words" in stored else None

    @classmethod
    def of_stored(cls, stored: WordPreprocessing) -> Words:
        """Make it from what :meth:`stored` gave; vectors are in the model's weights."""
        given: dict[str, Any] = {f"word_{name}": stored[name] for name in _STORED if name in stored}
        return cls(
            settings=WordSettings(**given),
            rules=stored.get("word_rules", 1),
            vocabulary=Vocabulary(tuple(stored["vocabulary"])),
        )

    def stored(self) -> dict[str, Any]:
        """What new audio needs, JSON-serialisable."""
        rules = {} if self.rules == 1 else {"word_rules": self.rules}
        values: dict[str, Any] = {name: getattr(self.settings, f"word_{name}") for name in _STORED}
        return {**values, **rules, "vocabulary": list(self.vocabulary.words)}

    def describe(self) -> dict[str, Any]:
        return {"words": self.stored()}

    def apply(self, clips: Clips) -> Clips:
        return dataclasses.replace(clips, words=self.encoded(clips))

    def encoded(self, clips: Clips) -> EncodedWords:
        """Ids and spans of all words; spans count the frames that are kept."""
        words, cut = clips.source.words(self.rules), self.settings
        how = (self.rules, cut.word_segmentation, cut.word_silence, cut.word_overlap)
        cache, key = clips.source.cache, ("word spans", clips.identity, how)
        if key not in cache:
            spans = np.zeros((len(words.codes), 2), dtype=np.int64)
            for row in range(len(words)):
                first, last, own = int(clips.first[row]), int(clips.last[row]), words.of(row)
                spans[own] = _cut(words.times[own], cut, clips.frame_shift, first, last)
            cache[key] = spans
        ids = self.vocabulary.encode(words.words)[words.codes]
        return EncodedWords(words, ids, cache[key], clips.num_frames)

    @property
    def notes(self) -> tuple[str, ...]:
        return self.fit_notes


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
