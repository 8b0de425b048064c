"""What goes into the pipeline, and what its steps hand to each other.

Shapes: N utterances, B of a batch, T frames, D values a frame.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.inputs.moments import Moments
from serplatform.inputs.timed_words import EncodedWords, TimedWords
from serplatform.models.base import Batch


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


class ClipSource(ABC):
    """N utterances before the pipeline: rows of a dataset, or new audio.

    Args:
        cache: values derived from these utterances, for all pipelines that are applied to them.
        speech: (N,) start and (N,) end of the speech, seconds.
        speakers: rows of each speaker, for normalization within a speaker.
        known_speaker: moments of the one speaker of all rows, by the identity of the clips that
            they are of; empty where they are taken of ``speakers``.
    """

    def __init__(
        self,
        cache: dict[Hashable, Any],
        speech: tuple[DoubleArray, DoubleArray],
        speakers: Sequence[IntArray],
        known_speaker: Mapping[Hashable, Moments] = MappingProxyType({}),
    ) -> None:
        self.cache = cache
        self.speech = speech
        self.speakers = speakers
        self.known_speaker = known_speaker

    @abstractmethod
    def features(self, names: Sequence[str]) -> Sequence[FeatureFrames]:
        """Frames of each feature, as extracted."""

    @abstractmethod
    def words(self, rules: int | None = None) -> TimedWords:
        """Words of every utterance; transcripts are split by ``rules`` (None: the source's)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clips:
    """N utterances between two steps; their frames are made when they are asked for.

    Attributes:
        source: whose.
        frames: row, and key of the random changes (None: none), to (T, D) frames.
        dim: D.
        first: (N,) first frame kept, counted in frames (or steps of functionals) of the source.
        last: (N,) one past the last frame kept, before any change of speed.
        frame_shift: seconds from one frame to the next.
        identity: equal where the frames are equal: names what is cached of them.
        words: what the model reads besides frames.
        stretches: random changes alter the number of frames.
    """

    source: ClipSource
    frames: Callable[[int, int | None], FloatArray]
    dim: int
    first: IntArray
    last: IntArray
    frame_shift: float
    identity: Hashable
    words: EncodedWords | None = None
    stretches: bool = False

    @property
    def num_frames(self) -> IntArray:
        """(N,) frames of each utterance, before any change of speed."""
        return self.last - self.first

    def changed(
        self,
        change: Callable[[FloatArray, int, int | None], FloatArray],
        step: Hashable,
        dim: int | None = None,
    ) -> Clips:
        """The same utterances, their frames changed by a function of frames, row and key."""
        before = self.frames
        return dataclasses.replace(
            self,
            frames=lambda row, key: change(before(row, key), row, key),
            dim=dim or self.dim,
            identity=(self.identity, step),
        )

    def moments(self) -> Moments:
        """Moments of every utterance, (N, D), in one pass that is made once for a source."""
        cache, name = self.source.cache, ("moments", self.identity)
        if name not in cache:
            shape = len(self.first), self.dim
            mean, scatter = np.zeros(shape), np.zeros(shape)
            for row in range(shape[0]):
                mean[row], scatter[row] = Moments.of(self.frames(row, None))
            cache[name] = Moments(self.num_frames.astype(np.int64), mean, scatter)
        moments: Moments = cache[name]
        return moments

    def collate(self, rows: IntArray, key: int | None = None) -> Batch:
        """Some utterances as a batch, padded with zeros, without labels (-1).

        Args:
            rows: (B,), at least one.
            key: of the random changes; None leaves the frames as they are.
        """
        frames: Iterable[FloatArray] = (self.frames(row, key) for row in rows.tolist())
        lengths = self.num_frames[rows].astype(np.int64)
        if self.stretches and key is not None:
            frames = list(frames)
            lengths = np.array([len(values) for values in frames], dtype=np.int64)
        padded = np.empty((len(rows), int(lengths.max()), self.dim), dtype=np.float32)
        for target, count, values in zip(padded, lengths.tolist(), frames, strict=True):
            target[:count] = values
            target[count:] = 0.0
        batch = Batch(
            frames=torch.from_numpy(padded),
            lengths=torch.from_numpy(lengths),
            labels=torch.full((len(rows),), -1, dtype=torch.int64),
        )
        if self.words is not None:
            encoded = self.words.batch(rows, lengths)
            batch.word_ids, batch.word_spans, batch.num_words = map(torch.from_numpy, encoded)
        return batch
