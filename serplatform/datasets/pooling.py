r"""Functionals before normalisation: frames summed up over an utterance and over its segments.

The classical recipe of the field (Schuller, Steidl and Batliner, "The INTERSPEECH 2009 Emotion
Challenge": statistics of low-level descriptors over a turn) with segments added: statistics
over parts of an utterance keep the order that those over the whole lose (relative and absolute
time intervals: Schuller and Rigoll, "Timing Levels in Segment-Based Speech Emotion
Recognition", Interspeech 2006), and parts that follow its words compare like with like where
speakers read the same sentences.

What comes out is one vector an utterance, or one a segment, and is normalised like frames:
within a speaker, that is over the speaker's utterances.

Shapes: T frames, D values a frame, L words, N segments, F functionals.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.features.base import WHOLE_UTTERANCE

PoolingUnit = Literal["none", "utterance", "time", "words"]
PoolingStatistics = Literal["moments", "dynamics"]
PoolingLayout = Literal["vector", "sequence"]

#: percentiles over the whole utterance
PERCENTILES = (5, 25, 50, 75, 95)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolingConfig:
    """How frames are summed up.

    Attributes:
        unit: ``utterance``: the whole only; ``time``: and equal shares of its time; ``words``:
            and equal numbers of its words, from the first frame of the first of them to the
            last of the last; fractions of words where N does not divide their number.
        segments: N.
        statistics: of a segment: ``moments``: mean and deviation; ``dynamics``: also the
            deviation and the mean magnitude of first differences.
        layout: ``vector``: everything side by side; ``sequence``: one step a segment, without
            the whole.
    """

    unit: PoolingUnit
    segments: int
    statistics: PoolingStatistics
    layout: PoolingLayout

    @property
    def num_segments(self) -> int:
        """N; 0 where only the whole utterance is summed up."""
        return 0 if self.unit == "utterance" else self.segments

    def dim(self, feature_dim: int) -> int:
        """F, values of a step.

        Example:
            >>> PoolingConfig(unit="words", segments=6, statistics="moments",
            ...               layout="vector").dim(40)
            887
        """
        segment = feature_dim * (2 if self.statistics == "moments" else 4) + 1
        if self.layout == "sequence":
            return segment
        return feature_dim * (5 + len(PERCENTILES)) + 1 + self.num_segments * segment

    @property
    def frame_shift(self) -> float:
        """Seconds that a step stands for: it has no place in time, one vector is the utterance."""
        return WHOLE_UTTERANCE / self.num_steps

    @property
    def num_steps(self) -> int:
        """Steps of an utterance."""
        return self.num_segments if self.layout == "sequence" else 1


def pool(
    frames: FloatArray, config: PoolingConfig, frame_shift: float, words: IntArray | None = None
) -> FloatArray:
    """Sum one utterance up.

    Args:
        frames: (T, D), T at least 1.
        config: how.
        frame_shift: seconds; durations are among the functionals.
        words: (L, 2) first frame of each word and one past its last, L at least 1; needed
            where segments follow words.

    Returns:
        (1, F), or (N, F) where the layout is ``sequence``.

    Example:
        >>> config = PoolingConfig(unit="time", segments=2, statistics="moments",
        ...                        layout="sequence")
        >>> pool(np.array([[1.0], [3.0], [5.0], [5.0]], dtype=np.float32), config, 0.01).tolist()
        [[2.0, 1.0, 0.019999999552965164], [5.0, 0.0, 0.019999999552965164]]
    """
    values = frames.astype(np.float64)
    bounds = _bounds(len(values), config, words)
    dynamics = config.statistics == "dynamics"
    steps = [
        np.append(_segment(values[first:last], dynamics), (last - first) * frame_shift)
        for first, last in bounds
    ]
    if config.layout == "sequence":
        return np.stack(steps).astype(np.float32)
    whole = np.append(_whole(values), len(values) * frame_shift)
    return np.concatenate([whole, *steps])[None].astype(np.float32)


def _bounds(count: int, config: PoolingConfig, words: IntArray | None) -> list[tuple[int, int]]:
    """First frame and one past the last of each segment, each with at least one frame."""
    number = config.num_segments
    if config.unit == "words":
        if words is None:
            raise ValueError("segments that follow words need the words' frames")
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


@dataclasses.dataclass(frozen=True)
class PooledViews:
    """The functionals of every utterance, in memory.

    Attributes:
        values: (utterances, steps, F).
    """

    values: FloatArray

    @property
    def num_frames(self) -> IntArray:
        """Steps of each utterance."""
        return np.full(len(self.values), self.values.shape[1], dtype=np.int64)

    @property
    def dim(self) -> int:
        """F."""
        return int(self.values.shape[2])

    def frames(self, row: int, first: int = 0, last: int | None = None) -> FloatArray:
        """Steps ``first`` to ``last`` (excluded) of an utterance, (T, F)."""
        return self.values[row, first:last]

    def release(self) -> None:
        """Nothing is mapped."""
