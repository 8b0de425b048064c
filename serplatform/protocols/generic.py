"""Protocols for any corpus: speaker k-fold, leave one speaker out, random k-fold, columns.

Under the speaker-independent ones the dev part is made of whole speakers of the training part
(about a fifth of them, chosen to resemble the rest in gender and classes); under the random
ones it is a stratified tenth of all utterances.
"""

from __future__ import annotations

import dataclasses
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from serplatform.arrays import IntArray
from serplatform.errors import BadInputError
from serplatform.protocols.base import PROTOCOLS, FoldPlan, SplitScheme
from serplatform.protocols.partition import (
    DEV_SHARE,
    RANDOM_DEV_SHARE,
    assign,
    assign_stratified,
    carve_dev,
    carve_dev_at_random,
    speaker_properties,
    tied,
)
from serplatform.protocols.plan import build_plan
from serplatform.protocols.selection import Parts, Selection, column, components, select

_SPLITS = {
    "train": "train training trn tr",
    "dev": "dev devel development val valid validation",
    "test": "test testing tst eval evaluation",
}
_SPLIT_OF = {alias: part for part, aliases in _SPLITS.items() for alias in aliases.split()}


class SelectionScheme(SplitScheme):
    """A protocol that selects utterances by label and divides them; a subclass divides.

    One that has an ``example_argument`` takes a number of folds after a colon.
    """

    #: corpus label to class; None keeps every label as its own class
    label_map: ClassVar[Mapping[str, str] | None] = None

    @abstractmethod
    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        """Divide N utterances; ``count`` folds are asked for (0: the protocol takes no number).

        Raises:
            BadInputError: it cannot divide them.
        """

    def keep(self, utterances: pa.Table) -> list[bool] | None:
        """Which rows it considers at all; None: all."""
        return None

    def plan(self, utterances: pa.Table, *, argument: str | None, seed: int) -> FoldPlan:
        count, name = 0, self.name
        if self.example_argument is not None:
            if argument is None or not argument.isdecimal() or int(argument) < 2:
                got = "nothing" if argument is None else repr(argument)
                raise BadInputError(
                    f"protocol '{name}' needs a number of folds of at least 2 after a colon, e.g. "
                    f"'{name}:5'; got {got}"
                )
            count = int(argument)
            name = f"{name}:{count}"
        elif argument is not None:
            raise BadInputError(
                f"protocol '{name}' takes no argument; write it without ':{argument}'"
            )
        selection = select(
            utterances,
            protocol=name,
            seed=seed,
            label_map=self.label_map,
            keep=self.keep(utterances),
        )
        notes: list[str] = []
        folds = self.folds(selection, count, notes)
        return build_plan(
            selection, folds, speaker_independent=self.speaker_independent, notes=notes
        )


def with_dev_speakers(selection: Selection, tests: Sequence[IntArray]) -> list[Parts]:
    """Folds of given test parts; each dev part is carved from the rest by speaker."""
    folds = []
    for number, test in enumerate(tests):
        dev = carve_dev(selection, selection.without(test), selection.rng("dev", number))
        folds.append(Parts(selection.without(test, dev), dev, test))
    return folds


def random_folds(selection: Selection, count: int) -> list[Parts]:
    """K stratified random folds of whole recordings, whoever speaks.

    Raises:
        BadInputError: there are fewer recordings than folds.
    """
    available = int(selection.groups.max()) + 1
    if count > available:
        few = "it is too small to be split: add recordings"
        raise BadInputError(
            f"protocol '{selection.protocol}': {count} folds need at least {count} different "
            f"recordings, and the dataset has {available}; "
            + ("use fewer folds" if available > 2 else few)
        )
    shares = [1.0 / count] * count
    fold = assign_stratified(selection.groups, selection.labels, shares, selection.rng("folds"))
    return with_random_dev(selection, [np.flatnonzero(fold == number) for number in range(count)])


def with_random_dev(selection: Selection, tests: Sequence[IntArray]) -> list[Parts]:
    """Folds of given test parts; each dev part is a stratified random tenth of everything."""
    folds = []
    for number, test in enumerate(tests):
        rest = selection.without(test)
        share = min(0.5, RANDOM_DEV_SHARE * len(selection) / max(len(rest), 1))
        dev = carve_dev_at_random(selection, rest, selection.rng("dev", number), share)
        folds.append(Parts(selection.without(test, dev), dev, test))
    return folds


def fixed_speaker_tests(
    selection: Selection, fold_of: Mapping[int, int], known: str, notes: list[str]
) -> list[IntArray]:
    """Test parts that a corpus's protocol fixes by speaker; folds without a speaker are dropped.

    ``fold_of``: fold that tests a speaker, by the number that ends the speaker's id; ``known``
    names these speakers in errors.

    Raises:
        BadInputError: a speaker is foreign, or fewer than three folds have a speaker.
    """
    numbers = [last_number(speaker) for speaker in selection.speakers]
    for number, speaker in zip(numbers, selection.speakers, strict=True):
        if number not in fold_of:
            raise BadInputError(
                f"protocol '{selection.protocol}': speaker '{speaker}' is none of {known}; for "
                "another corpus use 'speaker-kfold:K'"
            )
    fold = np.array([fold_of[number] for number in numbers], np.int64)
    tests = [np.flatnonzero(fold == number) for number in np.unique(fold)]
    count = len(set(fold_of.values()))
    if len(tests) < 3:
        raise BadInputError(
            f"protocol '{selection.protocol}': the dataset's speakers are in {len(tests)} of its "
            f"{count} groups, and it needs three; prepare the whole corpus, or use "
            "'speaker-kfold:K'"
        )
    if len(tests) < count:
        notes.append(f"Only {len(tests)} of {count} folds: the dataset lacks the other actors.")
    return tests


def last_number(name: str) -> int:
    """The number that ends a name such as ``Actor_01`` or ``Ses05``; -1 where there is none."""
    found = re.search(r"\d+$", name)
    return -1 if found is None else int(found[0])


def rotate(selection: Selection, tests: Sequence[IntArray]) -> list[Parts]:
    """Folds whose dev part is the next fold's test part, cyclically."""
    return [
        Parts(selection.without(test, dev), dev, test)
        for test, dev in zip(tests, [*tests[1:], tests[0]], strict=True)
    ]


@PROTOCOLS.register("speaker-kfold")
class SpeakerKFold(SelectionScheme):
    """``speaker-kfold:K``: K folds of whole speakers."""

    description: ClassVar[str] = "K folds of whole speakers, balanced over classes and genders"
    speaker_independent: ClassVar[bool] = True
    example_argument: ClassVar[str | None] = "5"

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        """K folds, balanced over classes, speakers and genders; see the base class."""
        units = selection.speaker_units
        available = int(units.max()) + 1
        if count > available:
            raise BadInputError(
                f"protocol '{selection.protocol}': {count} folds of different speakers need at "
                f"least {count} speakers, and the dataset has {available}{tied(selection)}; use "
                "fewer folds"
            )
        shares = [1.0 / count] * count
        fold = assign(units, speaker_properties(selection), shares, selection.rng("folds"))
        tests = [np.flatnonzero(fold == number) for number in range(count)]
        return with_dev_speakers(selection, tests)


@PROTOCOLS.register("session-kfold")
class SessionKFold(SpeakerKFold):
    """``session-kfold:K``: K folds of whole sessions, and so of whole speakers.

    Utterances without a session are kept together with those of their speaker alone.
    """

    description: ClassVar[str] = "K folds of whole recording sessions and whole speakers"

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        """As the base class, with a session as a recording that its speakers share."""
        sessions = [session or None for session in selection.sessions]
        if not any(sessions):
            raise BadInputError(
                f"protocol '{selection.protocol}' needs the column 'session', and the dataset's is "
                "empty; add it to the table, or use 'speaker-kfold:K'"
            )
        notes.append(f"Each of the {len(set(sessions) - {None})} sessions is in one part.")
        groups = components(selection.groups.tolist(), sessions)
        return super().folds(dataclasses.replace(selection, groups=groups), count, notes)


@PROTOCOLS.register("loso")
class LeaveOneSpeakerOut(SelectionScheme):
    """Each speaker tests once; the dev speakers are carved from the others."""

    description: ClassVar[str] = "leave one speaker out"
    speaker_independent: ClassVar[bool] = True

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        """One fold per speaker, in the order of their names; see the base class."""
        units = selection.speaker_units
        first = {units[i]: speaker for i, speaker in reversed(list(enumerate(selection.speakers)))}
        order = sorted(first, key=lambda unit: first[unit])
        return with_dev_speakers(selection, [np.flatnonzero(units == unit) for unit in order])


@PROTOCOLS.register("random-kfold")
class RandomKFold(SelectionScheme):
    """``random-kfold:K``: K stratified random folds; speakers are shared."""

    description: ClassVar[str] = "K stratified random folds; speakers are in train and test"
    speaker_independent: ClassVar[bool] = False
    example_argument: ClassVar[str | None] = "5"

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        """See :func:`random_folds`."""
        return random_folds(selection, count)


class FixedRandomFolds(SelectionScheme):
    """Stratified random folds, whose number the protocol fixes; speakers are shared."""

    speaker_independent: ClassVar[bool] = False
    num_folds: ClassVar[int]

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        """See :func:`random_folds`."""
        return random_folds(selection, self.num_folds)


@PROTOCOLS.register("column")
class ColumnScheme(SplitScheme):
    """``column`` or ``column:NAME``: parts that the corpus's own table gives.

    A column whose values are names of parts (train, dev or validation, test or eval) makes one
    fold; any other column makes one fold per value, which tests. ``column`` alone takes ``split``
    where it names train and test, else ``fold``. Rows without a value are left out. A dev part
    that the column does not give is carved by speaker if no speaker is in two of the given
    parts, and else at random.
    """

    description: ClassVar[str] = "the parts that the columns 'split' or 'fold' give"
    speaker_independent: ClassVar[bool] = False
    example_argument: ClassVar[str | None] = "fold"

    def plan(self, utterances: pa.Table, *, argument: str | None, seed: int) -> FoldPlan:
        chosen = argument or self._find(utterances)
        name = f"{self.name}:{chosen}"
        values = self._values(utterances, chosen, name)
        keep = [bool(value) for value in values]
        selection = select(utterances, protocol=name, seed=seed, keep=keep)
        kept = np.array([values[row] for row in selection.rows], dtype=object)
        notes: list[str] = []
        if _is_split(values):
            parts = np.array([_SPLIT_OF[str(value).lower()] for value in kept], dtype=object)
            independent = _speakers_apart(selection, parts)
            folds = [self._one_fold(selection, parts, independent, notes)]
        else:
            names = sorted(set(kept), key=_natural)
            if len(names) < 2:
                raise BadInputError(
                    f"protocol '{name}': the column has the single value '{names[0]}'; one "
                    "fold per value needs at least two, or the words train and test"
                )
            independent = _speakers_apart(selection, kept)
            tests = [np.flatnonzero(kept == value) for value in names]
            carve = with_dev_speakers if independent else with_random_dev
            folds = carve(selection, tests)
        return build_plan(selection, folds, speaker_independent=independent, notes=notes)

    def _find(self, utterances: pa.Table) -> str:
        split = column(utterances, "split")
        if _is_split(split) and {_SPLIT_OF[v.lower()] for v in split if v} >= {"train", "test"}:
            return "split"
        if any(column(utterances, "fold")):
            return "fold"
        found = ", ".join(sorted(set(split) - {""})) or "nothing"
        raise BadInputError(
            "protocol 'column' needs a column 'split' with the words train and test (and dev), "
            f"or a column 'fold'; the dataset's 'split' holds {found}, its 'fold' nothing. Add "
            "one to the table, or use 'speaker-kfold:K'"
        )

    def _values(self, utterances: pa.Table, chosen: str, name: str) -> list[str]:
        if chosen not in utterances.column_names:
            raise BadInputError(
                f"protocol '{name}': the utterance table has no column '{chosen}'; it has "
                f"{', '.join(utterances.column_names)}"
            )
        values = [value.strip() for value in column(utterances, chosen)]
        if not any(values):
            raise BadInputError(f"protocol '{name}': the column '{chosen}' is empty")
        return values

    def _one_fold(
        self, selection: Selection, parts: np.ndarray, independent: bool, notes: list[str]
    ) -> Parts:
        train, dev, test = (np.flatnonzero(parts == part) for part in ("train", "dev", "test"))
        if not len(train) or not len(test):
            lacking = "train" if not len(train) else "test"
            raise BadInputError(
                f"protocol '{selection.protocol}': no utterance is in '{lacking}'; the column must "
                "name at least train and test"
            )
        if len(dev):
            return Parts(train, dev, test)
        rng = selection.rng("dev", 0)
        if independent:
            notes.append("The column gives no dev part: it was carved from train by speaker.")
            dev = carve_dev(selection, train, rng)
        else:
            notes.append("The column gives no dev part: it was carved from train at random.")
            dev = carve_dev_at_random(selection, train, rng, DEV_SHARE / 2)
        return Parts(np.setdiff1d(train, dev), dev, test)


def _is_split(values: Sequence[str]) -> bool:
    """Whether every value is the name of a part, and there is one."""
    named = [value.lower() in _SPLIT_OF for value in values if value]
    return bool(named) and all(named)


def _speakers_apart(selection: Selection, parts: np.ndarray) -> bool:
    """Whether no speaker occurs in two parts, and speakers are known."""
    seen: dict[str, object] = {}
    return len(set(selection.speakers)) > 1 and all(
        seen.setdefault(speaker, part) == part
        for speaker, part in zip(selection.speakers, parts, strict=True)
    )


def _natural(text: str) -> tuple[int, float, str]:
    """Sort numbers as numbers and before words."""
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)
