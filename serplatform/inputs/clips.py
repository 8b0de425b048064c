"""What goes into the pipeline, and what its steps hand to each other.

Shapes: N utterances, T frames, D values a frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.inputs.joined import join_frames
from serplatform.inputs.moments import Moments
from serplatform.inputs.timed_words import TimedWords


class FeatureFrames(Protocol):
    """One extracted feature of N utterances, in a memory map or in memory."""

    @property
    def num_frames(self) -> IntArray:
        """(N,) frames of each utterance."""

    @property
    def dim(self) -> int:
        """D."""

    def frames(self, row: int, first: int = 0, last: int | None = None) -> FloatArray:
        """Frames ``first`` to ``last`` (excluded) of an utterance, (T, D)."""


class ClipSource(Protocol):
    """N utterances before the pipeline: rows of a dataset, or new audio.

    Attributes:
        cache: values derived from these utterances, for all pipelines that are applied to them.
        speech: (N,) start and (N,) end of the speech, seconds.
        speakers: rows of each speaker, for normalization within a speaker.
        known_speaker: moments of the one speaker of all rows, by the identity of the clips that
            they are of; empty where they are taken of ``speakers``.
    """

    cache: dict[Hashable, Any]
    speech: tuple[DoubleArray, DoubleArray]
    speakers: Sequence[IntArray]
    known_speaker: Mapping[Hashable, Moments]

    def features(self, names: Sequence[str]) -> Sequence[FeatureFrames]:
        """Frames of each feature, as extracted."""

    def words(self, rules: int | None = None) -> TimedWords:
        """Words of every utterance; transcripts are split by ``rules`` (None: the source's)."""


class Clips(Protocol):
    """N utterances between two steps; their frames are made when they are asked for.

    Attributes:
        identity: equal where the frames are equal: names what is cached of them.
        frame_shift: seconds from one frame to the next.
    """

    @property
    def identity(self) -> Hashable: ...

    @property
    def frame_shift(self) -> float: ...

    @property
    def num_frames(self) -> IntArray:
        """(N,) frames of each utterance, before any random change."""

    @property
    def dim(self) -> int:
        """D."""

    def frames(self, row: int, key: int | None = None) -> FloatArray:
        """(T, D) frames of one utterance; ``key``: of the random changes, None for none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectedClips:
    """Trimmed and joined frames: where every chain of steps begins.

    Attributes:
        source: whose.
        parts: each feature, joined frame by frame.
        first: (N,) first frame kept.
        last: (N,) one past the last frame kept.
        frame_shift: seconds.
        identity: see :class:`Clips`.
    """

    source: ClipSource
    parts: Sequence[FeatureFrames]
    first: IntArray
    last: IntArray
    frame_shift: float
    identity: Hashable

    @property
    def num_frames(self) -> IntArray:
        """(N,) frames kept."""
        return self.last - self.first

    @property
    def dim(self) -> int:
        """D, of all features."""
        return sum(part.dim for part in self.parts)

    def frames(self, row: int, key: int | None = None) -> FloatArray:
        """(T, D); a single feature is not copied."""
        first, last = int(self.first[row]), int(self.last[row])
        return join_frames([part.frames(row, first, last) for part in self.parts])


@dataclasses.dataclass(frozen=True)
class ChangedClips:
    """Clips whose frames a function changes, one utterance at a time.

    Attributes:
        base: before.
        change: frames, row and key to frames.
        dim: D afterwards.
        identity: see :class:`Clips`.
    """

    base: Clips
    change: Callable[[FloatArray, int, int | None], FloatArray]
    dim: int
    identity: Hashable

    @property
    def frame_shift(self) -> float:
        """As before."""
        return self.base.frame_shift

    @property
    def num_frames(self) -> IntArray:
        """As before."""
        return self.base.num_frames

    def frames(self, row: int, key: int | None = None) -> FloatArray:
        """(T, D)."""
        return self.change(self.base.frames(row, key), row, key)


def clip_moments(clips: Clips, cache: dict[Hashable, Any]) -> Moments:
    """Moments of every utterance, (N, D), in one pass that is made once for a cache."""
    key = ("moments", clips.identity)
    if key not in cache:
        count = len(clips.num_frames)
        mean, scatter = np.zeros((count, clips.dim)), np.zeros((count, clips.dim))
        for row in range(count):
            mean[row], scatter[row] = Moments.of(clips.frames(row))
        cache[key] = Moments(clips.num_frames.astype(np.int64), mean, scatter)
    moments: Moments = cache[key]
    return moments
