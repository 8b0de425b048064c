"""What goes into the pipeline, what its steps hand to each other, and what a step is.

Shapes: N utterances, B of a batch, T frames, D values a frame. Moments are in the feature's units.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.artifacts.model import Preprocessing
from serplatform.inputs.config import DataConfig
from serplatform.inputs.timed_words import EncodedWords, TimedWords

if TYPE_CHECKING:
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


@dataclasses.dataclass(frozen=True)
class Moments:
    """First two moments of the frames of each of N utterances, or of N groups of them.

    Attributes:
        count: (N,) frames.
        mean: (N, D).
        scatter: (N, D), sum of squared distances from the mean.
        clips: (N,) utterances.
    """

    count: IntArray
    mean: DoubleArray
    scatter: DoubleArray
    clips: IntArray

    @property
    def std(self) -> DoubleArray:
        """(N, D) standard deviations."""
        return np.asarray(np.sqrt(self.scatter / self.count[:, None]))

    def pool(self, rows: IntArray) -> Moments:
        """Moments of all frames of some utterances together, N = 1.

        The scatter of a union is the sum of the scatters and of the means' own scatter (Chan,
        Golub and LeVeque 1983, Eq. 2.1b), so nothing large is subtracted from anything large.
        """
        weight, means = self.count[rows, None].astype(np.float64), self.mean[rows]
        mean = (weight * means).sum(axis=0) / weight.sum()
        means -= mean  # in place: there may be thousands of functionals
        np.square(means, out=means)
        means *= weight
        scatter = means.sum(axis=0)
        del means
        scatter += self.scatter[rows].sum(axis=0)
        count, clips = (np.array([values[rows].sum()]) for values in (self.count, self.clips))
        return Moments(count, mean[None], scatter[None], clips)

    def joined(self, other: Moments) -> Moments:
        """Moments of both together, row by row (Chan, Golub and LeVeque 1983, Eq. 2.1)."""
        count = self.count + other.count
        gap = other.mean - self.mean
        mean = self.mean + gap * other.count[:, None] / count[:, None]
        between = np.square(gap) * self.count[:, None] * other.count[:, None] / count[:, None]
        scatter = other.scatter + self.scatter + between
        return Moments(count, mean, scatter, self.clips + other.clips)

    @classmethod
    def stack(cls, parts: list[Moments]) -> Moments:
        """Several, one below the other."""
        names = (field.name for field in dataclasses.fields(cls))
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSource:
    """N utterances before the pipeline: rows of a dataset, or new audio.

    Attributes:
        feature: name of a feature to its frames, as extracted.
        words: words of every utterance, their transcripts split by a version of the rules (None:
            the source's own).
        speech: (N,) start and (N,) end of the speech, seconds.
        speakers: rows of each speaker, for normalization within a speaker.
        known_speaker: what ``Normalization.speaker_moments`` gave, by the identity of the clips
            that it is of; empty where they are taken of these utterances.
        cache: values derived from these utterances, for all pipelines that are applied to them.
        aligner: the model that located the words, as its ``Aligner.spec`` says, and the languages
            of the utterances; None where no model did.
        spec: name of a feature to what determines its values.
        release: gives back the memory of frames that were read.
    """

    feature: Callable[[str], FeatureFrames]
    words: Callable[[int | None], TimedWords]
    speech: tuple[DoubleArray, DoubleArray]
    speakers: Sequence[IntArray]
    known_speaker: Mapping[Hashable, Moments] = dataclasses.field(default_factory=dict)
    cache: dict[Hashable, Any] = dataclasses.field(default_factory=dict)
    aligner: Mapping[str, object] | None = None
    spec: Callable[[str], Mapping[str, object]] = lambda name: {}
    release: Callable[[], None] = lambda: None


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

    def kept(self, most: int) -> Clips:
        """The same utterances; frames that nothing random changes are kept in memory once they
        were made, where those of all take at most ``most`` bytes."""
        if int(self.num_frames.sum()) * self.dim * np.dtype(np.float32).itemsize > most:
            return self
        before, made = self.frames, dict[int, FloatArray]()

        def frames(row: int, key: int | None) -> FloatArray:
            if key is not None:
                return before(row, key)
            if row not in made:
                made[row] = before(row, None)
            return made[row]

        return dataclasses.replace(self, frames=frames)

    def moments(self) -> Moments:
        """Moments of every utterance, (N, D), in one pass that is made once for a source."""
        cache, name = self.source.cache, ("moments", self.identity)
        if name not in cache:
            shape = len(self.first), self.dim
            mean, scatter = np.zeros(shape), np.zeros(shape)
            for row in range(shape[0]):
                values = self.frames(row, None).astype(np.float64)
                mean[row] = values.mean(axis=0)
                values -= mean[row]
                scatter[row] = np.einsum("td,td->d", values, values)
            ones = np.ones(shape[0], dtype=np.int64)
            cache[name] = Moments(self.num_frames.astype(np.int64), mean, scatter, ones)
            self.source.release()
        moments: Moments = cache[name]
        return moments

    def collate(self, rows: IntArray, key: int | None = None) -> Batch:
        """B utterances, padded with zeros, without labels (-1); ``key`` draws the changes."""
        import torch

        from serplatform.models.base import Batch

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
            vectors = self.words.batch_vectors(rows)
            batch.word_vectors = None if vectors is None else torch.from_numpy(vectors)
        return batch


class Step(ABC):
    """One change of every utterance between extraction and model.

    A step is fitted on training rows, applied lazily, and stored with the model. A further one is
    a class like those beside this file, listed in :data:`serplatform.inputs.pipeline.STEPS`; its
    settings are fields of :class:`serplatform.inputs.config.DataConfig`.
    """

    @classmethod
    @abstractmethod
    def fit(cls, config: DataConfig, clips: Clips, train_rows: IntArray) -> Self | None:
        """Make the step for a fold; None where the configuration asks for none."""

    @classmethod
    @abstractmethod
    def load(cls, stored: Preprocessing) -> Self | None:
        """Make it again from what :meth:`describe` gave; None where it was none."""

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Keys of the model's ``preprocessing``, JSON-serialisable."""

    @abstractmethod
    def apply(self, clips: Clips) -> Clips:
        """Change clips, stored or new; frames are made when they are asked for."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside any number computed with it."""
        return ()
