"""Every registered protocol keeps the contract, and its folds are those of earlier versions."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from serplatform.errors import LeakError
from serplatform.protocols.base import PROTOCOLS, Fold, FoldPlan
from serplatform.protocols.generic import LeaveOneSpeakerOut, SelectionScheme
from serplatform.protocols.plan import plan_hash
from serplatform.protocols.selection import Parts, Selection
from serplatform.testing.split_contract import SplitContract

#: of the contract's dataset and seed 0, made before protocols shared one scheme: a change
#: means that the folds of existing runs are not found again
HASHES = {
    "column": "40c28f30f494a4ad",
    "cremad-speaker-5fold": "2b0f73ef1ad9de77",
    "emodb-loso": "543ccbcfe55b6159",
    "iem4-random-5fold": "4e8572668d5ba6a4",
    "iem4-session-5fold": "694b5f6907bafef4",
    "iem4-session5": "c2ac6ed3df63fdc2",
    "iem7-random-10fold": "05e0b99d6a8f306e",
    "iemocap-improvised-5fold": "2c0426c4b3208d23",
    "loso": "33adce4455232488",
    "random-kfold": "8a03eba298a312b7",
    "ravdess-random-5fold-4class": "09bbd21c88ac364a",
    "ravdess-random-80-20": "40f70bd6facebfbf",
    "ravdess-speaker-6fold": "453be0266dd11fd5",
    "speaker-kfold": "87fbd34d47f7802e",
}


@pytest.mark.parametrize("name", PROTOCOLS.names())
class TestProtocols(SplitContract):
    pass


@pytest.mark.parametrize(("name", "start"), HASHES.items())
def test_folds_are_those_of_earlier_versions(name: str, start: str) -> None:
    assert plan_hash(SplitContract().plan(name)).startswith(start)


class Halves(SelectionScheme):
    """Rows in turn train, select and test, whoever speaks them, and whatever they are copies of."""

    name: ClassVar[str] = "broken"
    description: ClassVar[str] = "rows in turn"
    speaker_independent: ClassVar[bool] = False

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        turn = np.arange(len(selection)) % 3
        return [Parts(*(np.flatnonzero(turn == part) for part in range(3)))]


class Repeated(LeaveOneSpeakerOut):
    """The first fold twice."""

    name: ClassVar[str] = "broken"

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        return super().folds(selection, count, notes)[:1] * 2


class Incomplete(LeaveOneSpeakerOut):
    """A row of the training part is lost in one fold."""

    name: ClassVar[str] = "broken"

    def plan(self, utterances: pa.Table, *, argument: str | None, seed: int) -> FoldPlan:
        plan = super().plan(utterances, argument=argument, seed=seed)
        first = plan.folds[0]
        less = Fold(train=first.train[1:], dev=first.dev, test=first.test)
        return dataclasses.replace(plan, folds=(less, *plan.folds[1:]))


class Unstable(LeaveOneSpeakerOut):
    """Another dev part each time."""

    name: ClassVar[str] = "broken"
    made: ClassVar[int] = 0

    def plan(self, utterances: pa.Table, *, argument: str | None, seed: int) -> FoldPlan:
        Unstable.made += 1
        plan = super().plan(utterances, argument=argument, seed=Unstable.made)
        return dataclasses.replace(plan, seed=seed)


@pytest.mark.parametrize(
    ("scheme", "test", "message"),
    [
        (Halves, "test_parts_are_apart_and_each_row_tests_once", "would leak"),
        (Repeated, "test_parts_are_apart_and_each_row_tests_once", "tests twice"),
        (Incomplete, "test_parts_are_apart_and_each_row_tests_once", "different rows"),
        (Unstable, "test_the_seed_alone_decides", "one seed gives two plans"),
    ],
)
def test_what_is_wrong_is_found(
    monkeypatch: pytest.MonkeyPatch, scheme: type[SelectionScheme], test: str, message: str
) -> None:
    PROTOCOLS.names()
    monkeypatch.setitem(PROTOCOLS._members, "broken", scheme)
    with pytest.raises((AssertionError, LeakError), match=message):
        getattr(SplitContract(), test)("broken")
