"""Functionals before normalisation: frames summed up over an utterance and over its segments.

The classical recipe of the field (Schuller, Steidl and Batliner, "The INTERSPEECH 2009 Emotion
Challenge": statistics of low-level descriptors over a turn) with segments added, which keep the
order of time (relative and absolute time intervals: Schuller and Rigoll, "Timing Levels in
Segment-Based Speech Emotion Recognition", Interspeech 2006); parts that follow words compare
like with like where speakers read the same sentences.

One vector an utterance, or one a segment, is normalised like frames.

Shapes: T frames, D values a frame, L words, N segments, F functionals.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.artifacts.model import Preprocessing
from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.inputs.clips import Clips, Step
from serplatform.inputs.config import DataConfig
from serplatform.inputs.words import Words

#: percentiles over the whole utterance
PERCENTILES = (5, 25, 50, 75, 95)


@dataclasses.dataclass(frozen=True)
class Pooling(Step):
    """Put functionals in the place of frames; they are kept in memory.

    Attributes:
        unit: as ``data.pooling``; the next three likewise, and ``whole``.
        words: cuts the words that the segments follow; None where they follow none.
    """

    unit: str
    segments: int = 6
    statistics: str = "dynamics"
    layout: str = "vector"
    words: Words | None = None
    whole: str = "all"

    @classmethod
    def fit(cls, config: DataConfig, clips: Clips, train_rows: IntArray) -> Pooling | None:
        unit, words = config.pooling, None
        if unit == "none":
            return None
        if config.pooling_whole == "moments" and clips.frame_shift >= WHOLE_UTTERANCE:
            return None  # summed up already
        if unit == "words":  # their vocabulary says the language of new audio
            words = Words.of_training(config, clips.source, train_rows)
        layout = config.pooling_layout
        statistics, whole = config.pooling_statistics, config.pooling_whole
        return cls(unit, config.pooling_segments, statistics, layout, words, whole)

    @classmethod
    def load(cls, stored: Preprocessing) -> Pooling | None:
        if "pooling" not in stored:
            return None
        values: dict[str, Any] = {**stored["pooling"]}
        if "words" in values:
            values["words"] = Words.of_stored(values["words"])
        return cls(**values)

    def describe(self) -> dict[str, object]:
        values = {name: value for name, value in vars(self).items() if name != "words"}
        return {"pooling": values | ({} if self.words is None else {"words": self.words.stored()})}

    def apply(self, clips: Clips) -> Clips:
        identity, cache = (clips.identity, self), clips.source.cache
        count = len(clips.first)
        if identity not in cache:
            values = np.empty((count, self.num_steps, self.dim(clips.dim)), dtype=np.float32)
            words = None if self.words is None else self.words.encoded(clips)
            for row in range(count):
                spans = None if words is None else words.of(row)
                values[row] = self.pool(clips.frames(row, None), clips.frame_shift, spans)
            cache[identity] = values
            clips.source.release()
        functionals: FloatArray = cache[identity]
        return dataclasses.replace(
            clips,
            frames=lambda row, key: functionals[row],
            dim=functionals.shape[2],
            first=np.zeros(count, dtype=np.int64),
            last=np.full(count, self.num_steps, dtype=np.int64),
            frame_shift=WHOLE_UTTERANCE / self.num_steps,  # a vector is the whole utterance
            identity=identity,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        if self.words is None:
            return ()
        return (
            "Segments follow the words: transcripts or alignments, those of test utterances "
            "included, say where each begins.",
            *self.words.source_notes,
        )

    @property
    def num_segments(self) -> int:
        """N; 0 where only the whole utterance is summed up."""
        return 0 if self.unit == "utterance" else self.segments

    @property
    def num_steps(self) -> int:
        """Steps of an utterance."""
        return self.num_segments if self.layout == "sequence" else 1

    def dim(self, feature_dim: int) -> int:
        """F, values of a step.

        Example:
            >>> Pooling("words", statistics="moments").dim(40)
            887
        """
        segment = feature_dim * (2 if self.statistics == "moments" else 4) + 1
        if self.layout == "sequence":
            return segment
        whole = feature_dim * (2 if self.whole == "moments" else 5 + len(PERCENTILES)) + 1
        return whole + self.num_segments * segment

    def pool(
        self, frames: FloatArray, frame_shift: float, words: IntArray | None = None
    ) -> FloatArray:
        """(T, D) frames of one utterance to (1, F), or (N, F) where the layout is ``sequence``.

        ``words`` is (L, 2) first frame of each word and one past its last, needed where segments
        follow words. Durations, in seconds, are among the functionals.

        Example:
            >>> pooling = Pooling("time", 2, "moments", "sequence")
            >>> pooling.pool(np.array([[1], [3], [5], [5]], dtype=np.float32), 0.5).tolist()
            [[2.0, 1.0, 1.0], [5.0, 0.0, 1.0]]
        """
        values = frames.astype(np.float64)
        if self.unit != "words":
            words = None
        elif words is None:
            raise ValueError("segments that follow words need the words' frames")
        dynamics = self.statistics == "dynamics"
        steps = [
            np.append(_segment(values[first:last], dynamics), (last - first) * frame_shift)
            for first, last in _bounds(len(values), self.num_segments, words)
        ]
        if self.layout == "sequence":
            return np.stack(steps).astype(np.float32)
        found = _segment(values, False) if self.whole == "moments" else _whole(values)
        whole = np.append(found, len(values) * frame_shift)
        return np.concatenate([whole, *steps])[None].astype(np.float32)


def _bounds(count: int, number: int, words: IntArray | None) -> list[tuple[int, int]]:
    """First frame and one past the last of each segment, each with at least one frame."""
    if words is not None:
        places: DoubleArray = np.round(np.linspace(0.0, len(words), number + 1), 9)
        first, last = _within(words, places[:-1], False), _within(words, places[1:], True)
    else:
        edges = np.round(np.linspace(0, count, number + 1)).astype(np.int64)
        first, last = edges[:-1], edges[1:]
    first = np.clip(first, 0, count - 1)
    last = np.clip(last, first + 1, count)
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _within(words: IntArray, places: DoubleArray, end: bool) -> IntArray:
    """Frames of places counted in words: 2.5 is the middle of the third word.

    A whole number is where that word starts, or where the word before it ends.
    """
    word: DoubleArray = np.clip(np.ceil(places) - 1 if end else np.floor(places), 0, len(words) - 1)
    index = word.astype(np.int64)
    start, stop = words[index, 0], words[index, 1]
    return np.round(start + (places - word) * (stop - start)).astype(np.int64)


def _segment(values: DoubleArray, dynamics: bool) -> DoubleArray:
    """(T, D) to (2D,) or (4D,)."""
    found = [values.mean(axis=0), values.std(axis=0)]
    if dynamics:
        steps = _differences(values)
        found += [steps.std(axis=0), np.abs(steps).mean(axis=0)]
    return np.concatenate(found)


def _whole(values: DoubleArray) -> DoubleArray:
    """(T, D) to (10D,)."""
    percentiles = np.percentile(values, PERCENTILES, axis=0)
    return np.concatenate(
        [_segment(values, dynamics=True), _differences(values).mean(axis=0), *percentiles]
    )


def _differences(values: DoubleArray) -> DoubleArray:
    """First differences, (T - 1, D); of a single frame one of zeros."""
    return np.diff(values, axis=0) if len(values) > 1 else np.zeros_like(values)
