"""Folds: which utterances train, select (dev) and test; and the checks that keep them apart."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

import pyarrow as pa

from serplatform.registry import Registry

PARTS = ("train", "dev", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fold:
    """One outer fold; utterance ids, each tuple sorted."""

    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """The folds of one protocol on one dataset.

    Attributes:
        protocol: its name with parameters, e.g. ``speaker-kfold:5``.
        speaker_independent: no speaker is in two parts of a fold.
        classes: label order of every posterior.
        label_map: corpus label to class (a class merge, or the identity); labels that it
            lacks are left out.
        folds: in order.
        seed: what random parts were drawn with.
        notes: sentences to show (shared speakers, grouped duplicates, classes missing, …).
        speaker_units: speakers who share recordings, to a name of all who do: one speaker in
            posterior tables, and so in every interval.
    """

    protocol: str
    speaker_independent: bool
    classes: tuple[str, ...]
    label_map: Mapping[str, str]
    folds: tuple[Fold, ...]
    seed: int
    notes: tuple[str, ...] = ()
    speaker_units: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def units(self, speakers: Iterable[str]) -> list[str]:
        """Speakers as intervals count them."""
        return [self.speaker_units.get(name, name) for name in speakers]

    def with_dev_in_training(self, fold: int) -> FoldPlan:
        """The same plan, in one fold of which dev rows are training rows and none is left in dev.

        Example:
            >>> fold = Fold(train=("b",), dev=("a",), test=("c",))
            >>> plan = FoldPlan(protocol="p", speaker_independent=True, classes=(), label_map={},
            ...                 folds=(fold,), seed=0)
            >>> plan.with_dev_in_training(0).folds
            (Fold(train=('a', 'b'), dev=(), test=('c',)),)
        """
        old = self.folds[fold]
        new = Fold(train=tuple(sorted((*old.train, *old.dev))), dev=(), test=old.test)
        return dataclasses.replace(self, folds=(*self.folds[:fold], new, *self.folds[fold + 1 :]))


class SplitScheme(ABC):
    """A named way to make folds.

    Attributes:
        description: one line for people.
        speaker_independent: no speaker may be in two parts of a fold.
        example_speakers: speakers of a dataset that it can divide, for the contract tests;
            pairs of them are sessions 1 to 5.
        example_argument: an argument that it takes on that dataset; None where it takes none.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    speaker_independent: ClassVar[bool]
    example_speakers: ClassVar[tuple[str, ...]] = tuple(f"s{n:02d}" for n in range(1, 11))
    example_argument: ClassVar[str | None] = None

    @abstractmethod
    def plan(self, utterances: pa.Table, *, argument: str | None, seed: int) -> FoldPlan:
        """Make the folds of a dataset's utterance table (``artifacts.UTTERANCE_SCHEMA``).

        ``argument`` follows the colon of ``speaker-kfold:5``; ``seed`` decides every random choice.

        Raises:
            BadInputError: the table lacks what the protocol needs.
        """


PROTOCOLS: Registry[type[SplitScheme]] = Registry("protocol", "serplatform.protocols")
