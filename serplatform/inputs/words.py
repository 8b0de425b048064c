"""Words that a model reads, or that its pooling follows: ids, and the frames of each word.

Words without times share the kept frames equally. Spans depend on no fold and are computed once
for a feature and a way of cutting.

Shapes: W words of all utterances, L of one, E values of a word vector, V ids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
from serplatform.features.names import canonical, family_of
from serplatform.inputs.clips import Clips, ClipSource, Step
from serplatform.inputs.config import WORD_VECTORS, DataConfig
from serplatform.inputs.timed_words import EncodedWords, TimedWords
from serplatform.inputs.vocabulary import Vocabulary
from serplatform.inputs.word_vectors import WordVectors, read_word_vectors

#: fields that are stored with a model
_STORED: tuple[Literal["segmentation", "silence", "overlap", "min_count"], ...] = (
    "segmentation",
    "silence",
    "overlap",
    "min_count",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words(Step):
    """Numbers and cuts the words of a source; leaves frames as they are.

    Attributes:
        segmentation: as ``data.word_segmentation``; those after it likewise.
        rules: version of the rules by which transcripts are split.
        vocabulary: of the training rows.
        aligner: the model that located their words; None where no model did.
        contextual: name of the feature whose frames are the vectors of words, or None.
        contextual_spec: what determines them.
        vector_dim: E of contextual vectors, 0 without; not stored.
        vectors: (V, E) float32 initial word vectors, or None.
        source_notes: where the training dataset's words came from.
        fit_notes: these, the size of the vocabulary, and what is odd about the word vectors.
    """

    segmentation: str = "aligned"
    silence: str = "drop"
    overlap: float = 0.0
    min_count: int = 1
    rules: int
    vocabulary: Vocabulary = dataclasses.field(compare=False)
    aligner: Mapping[str, object] | None = dataclasses.field(default=None, compare=False)
    contextual: str | None = None
    contextual_spec: Mapping[str, object] = dataclasses.field(default_factory=dict, compare=False)
    vector_dim: int = dataclasses.field(default=0, compare=False)
    vectors: FloatArray | None = dataclasses.field(default=None, compare=False)
    source_notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    fit_notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @classmethod
    def fit(cls, config: DataConfig, clips: Clips, train_rows: IntArray) -> Words | None:
        return cls.of_training(config, clips.source, train_rows) if config.words else None

    @classmethod
    def of_training(cls, config: DataConfig, source: ClipSource, train_rows: IntArray) -> Words:
        """Collect the vocabulary of the training rows, and read its word vectors."""
        words = source.words(None)
        texts = (words.text(int(row)) for row in train_rows)
        vocabulary = Vocabulary.fit(texts, config.word_min_count)
        matrix, path = None, config.word_vectors
        source_notes = _source_notes(words, config.word_segmentation)
        size = f"{len(vocabulary.words)} words from {len(train_rows)} training utterances"
        notes = [f"vocabulary of {size}", *source_notes]
        how: dict[str, Any] = {name: getattr(config, f"word_{name}") for name in _STORED}
        if path is not None and family_of(path) == WORD_VECTORS:
            name = canonical(path)
            how |= {
                "contextual": name,
                "vector_dim": source.feature(name).dim,
                "contextual_spec": source.spec(name),
            }
            notes.append(f"contextual vectors of words: {name}")
        elif path is not None:
            key = ("word vectors", path)
            if key not in source.cache:
                source.cache[key] = read_word_vectors(path, words.words)
            found: WordVectors = source.cache[key]
            matrix = found.matrix(vocabulary)
            notes += [f"{path}: {note}" for note in found.notes]
        return cls(
            **how,
            rules=words.rules,
            vocabulary=vocabulary,
            aligner=source.aligner,
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
        given: dict[str, Any] = {name: stored[name] for name in _STORED if name in stored}
        vocabulary = Vocabulary(tuple(stored["vocabulary"]))
        if "contextual" in stored:
            given |= {
                "contextual": stored["contextual"],
                "contextual_spec": stored["contextual_spec"],
            }
        return cls(
            **given,
            rules=stored.get("word_rules", 1),
            vocabulary=vocabulary,
            aligner=stored.get("aligner"),
        )

    def stored(self) -> dict[str, object]:
        """What new audio needs, JSON-serialisable."""
        rules = {} if self.rules == 1 else {"word_rules": self.rules}
        values: dict[str, Any] = {name: getattr(self, name) for name in _STORED}
        if self.aligner is not None:
            values["aligner"] = dict(self.aligner)
        if self.contextual is not None:
            values["contextual"] = self.contextual
            values["contextual_spec"] = dict(self.contextual_spec)
        return {**values, **rules, "vocabulary": list(self.vocabulary.words)}

    def describe(self) -> dict[str, object]:
        return {"words": self.stored()}

    def apply(self, clips: Clips) -> Clips:
        return dataclasses.replace(clips, words=self.encoded(clips))

    def encoded(self, clips: Clips) -> EncodedWords:
        """Ids and spans of all words; spans count the frames that are kept."""
        words = clips.source.words(self.rules)
        how = (self.rules, self.segmentation, self.silence, self.overlap)
        cache, key = clips.source.cache, ("word spans", clips.identity, how)
        if key not in cache:
            spans = np.zeros((len(words.codes), 2), dtype=np.int64)
            for row in range(len(words)):
                first, last, own = int(clips.first[row]), int(clips.last[row]), words.of(row)
                spans[own] = self._cut(words.times[own], clips.frame_shift, first, last)
            cache[key] = spans
        ids = self.vocabulary.encode(words.words)[words.codes]
        vectors = None if self.contextual is None else clips.source.feature(self.contextual)
        return EncodedWords(words, ids, cache[key], clips.num_frames, vectors)

    @property
    def notes(self) -> tuple[str, ...]:
        return self.fit_notes

    def _cut(self, times: DoubleArray, shift: float, first: int, last: int) -> IntArray:
        """(L, 2) frames of one utterance's words, counted from the first frame kept."""
        start, end = first * shift, last * shift
        if self.segmentation == "equal" or np.isnan(times).any():
            segments = equal_segments(len(times), start, end)
        elif self.silence == "divide":
            segments = divide_silence(times, start, end)
        else:
            segments = times
        if self.overlap:
            segments = overlap_neighbours(segments, self.overlap)
        return frame_spans(segments, shift, last - first, first)


def _source_notes(words: TimedWords, segmentation: str) -> tuple[str, ...]:
    total, notes = len(words), []
    unaligned, nothing = words.counts["unaligned"], words.counts["wordless"]
    if unaligned and segmentation == "aligned":
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
