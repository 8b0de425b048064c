"""A step of the input pipeline: fitted on training rows, applied lazily, stored with the model.

A further step is one file with a class like those beside it, listed in
:data:`serplatform.inputs.pipeline.STEPS`; its settings are a base class of
:class:`serplatform.inputs.config.DataConfig`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, Generic, Self, TypeVar

from serplatform.arrays import IntArray
from serplatform.artifacts.model import Preprocessing
from serplatform.inputs.clips import Clips

#: what a step declares of the configuration
S = TypeVar("S")


class Step(ABC, Generic[S]):
    """One change of every utterance between extraction and model; S are its settings."""

    @classmethod
    @abstractmethod
    def fit(cls, config: S, clips: Clips, train_rows: IntArray) -> Self | None:
        """Make the step for a fold; None where the configuration asks for none.

        Args:
            config: of the trial, of which these settings are a part.
            clips: as the steps before leave them.
            train_rows: rows that may be looked at.
        """

    @classmethod
    @abstractmethod
    def load(cls, stored: Preprocessing) -> Self | None:
        """Make it again from what :meth:`describe` gave; None where it was none."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Keys of the model's ``preprocessing``, JSON-serialisable."""

    @abstractmethod
    def apply(self, clips: Clips) -> Clips:
        """Change clips, stored or new; frames are made when they are asked for."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside any number computed with it."""
        return ()


def narrowed(config: object, settings: type[S]) -> S:
    """The part of a configuration that one step declares, to compare and to cache by."""
    fields = dataclasses.fields(settings)  # type: ignore[arg-type]
    return settings(**{field.name: getattr(config, field.name) for field in fields})
