"""The one way from extracted frames to batches, for training and for new audio.

trim and join -> words -> derivatives or functionals -> normalization -> padding. Frames are
computed when a batch asks for them; bounds, spans of words, functionals and moments are kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TypeVar, cast

from serplatform.arrays import IntArray
from serplatform.artifacts.model import Preprocessing
from serplatform.inputs.augmentation import Augmentation
from serplatform.inputs.clips import Clips, ClipSource, Step
from serplatform.inputs.config import DataConfig
from serplatform.inputs.deltas import Deltas
from serplatform.inputs.normalization import Normalization
from serplatform.inputs.pooling import Pooling
from serplatform.inputs.selection import FrameSelection
from serplatform.inputs.words import Words

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

    selection: FrameSelection
    steps: tuple[Step, ...]
    dim: int

    @classmethod
    def fit(
        cls, config: DataConfig, selection: FrameSelection, source: ClipSource, train_rows: IntArray
    ) -> InputPipeline:
        """Fit every step on the training rows, as the steps before it leave them."""
        clips, steps = selection.apply(source), []
        for kind in STEPS:
            step = kind.fit(config, clips, train_rows)
            if step is not None:
                clips = step.apply(clips)
                steps.append(step)
        return cls(selection, tuple(steps), clips.dim)

    @classmethod
    def load(cls, stored: Preprocessing) -> InputPipeline:
        """The pipeline that :meth:`describe` described, of this version or an earlier one."""
        steps = (kind.load(stored) for kind in STEPS)
        found = tuple(step for step in steps if step is not None)
        return cls(FrameSelection.load(stored), found, stored["dim"])

    def describe(self) -> Preprocessing:
        """Everything that turns new audio into the same input, JSON-serialisable."""
        found = {**self.selection.describe(), "dim": self.dim}
        for step in self.steps:
            found |= step.describe()
        order = list(Preprocessing.__annotations__)
        keys = sorted(found, key=lambda key: order.index(key) if key in order else len(order))
        return cast(Preprocessing, {key: found[key] for key in keys})

    def step(self, kind: type[S]) -> S | None:
        """The step of a kind; None where there is none."""
        return next((step for step in self.steps if isinstance(step, kind)), None)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside any number computed with it."""
        return (*self.selection.notes, *(note for step in self.steps for note in step.notes))

    @property
    def read_words(self) -> Words | None:
        """Words that the model reads or that its functionals follow; None where it needs none."""
        pooling = self.step(Pooling)
        return self.step(Words) or (None if pooling is None else pooling.words)

    @property
    def normalization(self) -> Normalization:
        """The last step."""
        return cast(Normalization, self.step(Normalization))

    def unnormalized(self, source: ClipSource) -> Clips:
        """Clips before normalization: those whose moments are a speaker's."""
        return _applied(
            (s for s in self.steps if s is not self.normalization), self.selection.apply(source)
        )

    def apply(self, source: ClipSource, augmentation: Augmentation | None = None) -> Clips:
        """Prepare stored utterances or new audio, lazily; ``augmentation`` is for training.

        Raises:
            ValueError: its frames have another dimension than training's.
        """
        clips = self.selection.apply(source)
        if augmentation is not None:
            clips = augmentation.extracted(clips)
        clips = _applied(self.steps, clips)
        if clips.dim != self.dim:
            raise ValueError(
                f"frames of {clips.dim} values: the model was trained on (T, {self.dim})"
            )
        return clips if augmentation is None else augmentation.normalized(clips)


def _applied(steps: Iterable[Step], clips: Clips) -> Clips:
    for step in steps:
        clips = step.apply(clips)
    return clips
