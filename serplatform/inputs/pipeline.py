"""The one way from extracted frames to batches, for training and for new audio.

trim and join -> words -> derivatives or functionals -> normalization -> padding. Fitted on the
training rows of a fold, it is stored in the model's ``config.json`` as ``preprocessing`` and
loaded with the model. Nothing is computed before a batch asks for it, except what needs all
utterances: bounds, spans of words, functionals and moments, which a source keeps.

Shapes: N utterances, B of a batch, T frames, D values a frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar, cast

import numpy as np
import torch

from serplatform.arrays import FloatArray, IntArray
from serplatform.artifacts.model import Preprocessing
from serplatform.inputs.augmentation import Augmentation
from serplatform.inputs.clips import Clips, ClipSource, SelectedClips
from serplatform.inputs.config import DataConfig
from serplatform.inputs.deltas import Deltas
from serplatform.inputs.normalization import Normalization
from serplatform.inputs.pooling import Pooling
from serplatform.inputs.selection import Selection
from serplatform.inputs.step import Step
from serplatform.inputs.words import EncodedWords, Words
from serplatform.models.base import Batch

S = TypeVar("S", bound=Step)

#: every kind of step, in the order in which they are applied
STEPS: tuple[type[Step], ...] = (Words, Deltas, Pooling, Normalization)


@dataclasses.dataclass(frozen=True)
class InputPipeline:
    """A fitted chain of steps; make one with :meth:`fit` or :meth:`load`.

    Attributes:
        selection: what is read of every utterance.
        steps: those of :data:`STEPS` that the configuration asks for.
        dim: D, values of a frame of the model's input.
    """

    selection: Selection
    steps: tuple[Step, ...]
    dim: int

    @classmethod
    def fit(
        cls, config: DataConfig, selection: Selection, source: ClipSource, train_rows: IntArray
    ) -> InputPipeline:
        """Fit every step on the training rows, as the steps before it leave them.

        Raises:
            BadInputError: a step cannot be fitted, e.g. there are no words.
        """
        clips: Clips = (selected := selection.apply(source))
        steps: list[Step] = []
        for kind in STEPS:
            step = kind.fit(config, clips, selected, train_rows)
            if step is not None:
                clips = step.apply(clips, selected)
                steps.append(step)
        return cls(selection, tuple(steps), clips.dim)

    @classmethod
    def load(cls, stored: Preprocessing) -> InputPipeline:
        """The pipeline that :meth:`describe` described, of this version or an earlier one."""
        steps = [kind.load(stored) for kind in STEPS]
        return cls(
            Selection.load(stored), tuple(s for s in steps if s is not None), stored["dim"]
        )

    def describe(self) -> Preprocessing:
        """Everything that turns new audio into the same input, JSON-serialisable."""
        found = {**self.selection.describe(), "dim": self.dim}
        for step in self.steps:
            found |= step.describe()
        order = {key: number for number, key in enumerate(Preprocessing.__annotations__)}
        keys = sorted(found, key=lambda key: order.get(key, len(order)))
        return cast(Preprocessing, {key: found[key] for key in keys})

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside any number computed with it."""
        return tuple(note for step in self.steps for note in step.notes)

    def step(self, kind: type[S]) -> S | None:
        """The step of a kind; None where there is none."""
        return next((step for step in self.steps if isinstance(step, kind)), None)

    @property
    def read_words(self) -> Words | None:
        """Words that the model reads or that its functionals follow; None where it needs none."""
        pooling = self.step(Pooling)
        return self.step(Words) or (pooling and pooling.words)

    @property
    def normalization(self) -> Normalization:
        """The last step."""
        found = self.step(Normalization)
        assert found is not None  # noqa: S101 - it is always fitted
        return found

    def unnormalized(self, source: ClipSource) -> Clips:
        """Clips before normalization, whose moments are those of a speaker."""
        return self._apply(source, [s for s in self.steps if not isinstance(s, Normalization)])[1]

    def apply(self, source: ClipSource, augmentation: Augmentation | None = None) -> PreparedClips:
        """Prepare a source, lazily.

        Args:
            source: stored utterances, or new audio.
            augmentation: random changes for batches that ask for them (training).

        Raises:
            ValueError: its frames have another dimension than training's.
        """
        selected, clips = self._apply(source, self.steps, augmentation)
        if clips.dim != self.dim:
            raise ValueError(
                f"frames of {clips.dim} values: the model was trained on (T, {self.dim})"
            )
        words = self.step(Words)
        return PreparedClips(clips, selected, None if words is None else words.encoded(selected))

    def _apply(
        self, source: ClipSource, steps: Sequence[Step], augmentation: Augmentation | None = None
    ) -> tuple[SelectedClips, Clips]:
        clips: Clips = (selected := self.selection.apply(source))
        if augmentation is not None:
            clips = augmentation.extracted(clips)
        for step in steps:
            clips = step.apply(clips, selected)
        return selected, clips if augmentation is None else augmentation.normalized(clips)


@dataclasses.dataclass(frozen=True)
class PreparedClips:
    """A source's utterances as a model gets them.

    Attributes:
        clips: after the last step.
        selected: before the first.
        words: that the model reads; None where it reads none.
    """

    clips: Clips
    selected: SelectedClips
    words: EncodedWords | None

    @property
    def bounds(self) -> tuple[IntArray, IntArray]:
        """(N,) first frame (or step of functionals) that is kept, and one past the last."""
        if self.clips.frame_shift == self.selected.frame_shift:
            return self.selected.first, self.selected.last
        return np.zeros_like(self.clips.num_frames), self.clips.num_frames

    def collate(self, rows: IntArray, key: int | None = None) -> Batch:
        """Pad some utterances to a batch without labels.

        Args:
            rows: (B,), at least one.
            key: of the random changes; None leaves the frames as they are.
        """
        batch = pad([self.clips.frames(row, key) for row in rows.tolist()])
        if self.words is not None:
            encoded = self.words.batch(rows, batch.lengths.numpy())
            batch.word_ids, batch.word_spans, batch.num_words = map(torch.from_numpy, encoded)
        return batch


def pad(frames: Sequence[FloatArray]) -> Batch:
    """(T, D) frames of B utterances to a batch, zero beyond each length, labels unknown (-1)."""
    lengths = np.array([len(values) for values in frames], dtype=np.int64)
    shape = (len(frames), int(lengths.max()), frames[0].shape[1])
    padded = np.empty(shape, dtype=np.float32)
    for target, values in zip(padded, frames, strict=True):
        target[: len(values)] = values
        target[len(values) :] = 0.0
    return Batch(
        frames=torch.from_numpy(padded),
        lengths=torch.from_numpy(lengths),
        labels=torch.full((len(frames),), -1, dtype=torch.int64),
    )
