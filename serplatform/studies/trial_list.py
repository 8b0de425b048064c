"""A fixed list of configurations to train in one run, where nothing is searched.

The list is part of ``run.json`` (its key is ``roster``), so trial numbers mean the same in every
process; the trial records say what has finished, and what was interrupted resumes from its saved
state. No study is needed: there is nothing to sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from serplatform.artifacts.run import ListedTrial, RunDescription
from serplatform.artifacts.trial import TrialRecord
from serplatform.run_directory import RunDirectory, RunLock
from serplatform.seeding import derive_seed
from serplatform.studies.order import NoTrial
from serplatform.studies.setup import OpenRun
from serplatform.training.trial_config import paper_values, resolve

if TYPE_CHECKING:
    from serplatform.studies.study import Suggestion


class TrialSource(Protocol):
    """What hands out trials and is told of their ends: studies, or a trial list."""

    @property
    def num_asked(self) -> int:
        """Trials handed out over the life of the run, finished or in flight."""

    @property
    def num_in_flight(self) -> int:
        """Trials of an earlier process that are still to be handed out again."""

    def ask(self, seconds: float | None) -> Suggestion | NoTrial:
        """The next trial; none that would not end in the seconds that are left, if known."""

    def report(self, number: int, step: int, value: float, fold: int = 0) -> bool:
        """Report the objective after an epoch; True when the trial should be pruned."""

    def tell(self, record: TrialRecord) -> None:
        """Settle a trial from its record."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """One training of a trial list.

    Attributes:
        architecture: registered name.
        values: dotted parameters that differ from the paper's settings.
        repeat: from 0; decides the seed, so repeat 2 has one seed in every row of a table.
        label: what it is called while it runs; not part of its identity.
    """

    architecture: str
    values: Mapping[str, object]
    repeat: int = 0
    label: str = dataclasses.field(default="", compare=False)

    def entry(self) -> ListedTrial:
        """What stands of it in ``run.json``."""
        return {
            "architecture": self.architecture,
            "values": dict(self.values),
            "repeat": self.repeat,
        }


def non_default_values(
    architecture: str, values: Mapping[str, object], where: str
) -> dict[str, object]:
    """The parameters of a configuration that are not as in the architecture's paper.

    Two texts of one configuration give the same mapping, so that it is trained once.

    Raises:
        BadInputError: the values do not make a configuration.

    Example:
        >>> non_default_values("vrnn", {"model.attention": True, "model.beta": 2}, "example")
        {'model.beta': 2.0}
    """
    paper = paper_values(architecture)
    given = resolve(architecture, values, where).values()
    return {name: value for name, value in given.items() if value != paper[name]}


def assign_numbers(run: OpenRun, wanted: Sequence[Configuration]) -> list[int]:
    """Give every configuration its trial number in a run, a new one where it has none.

    A configuration whose trial failed gets a new number: it is tried again.

    Returns:
        one trial number each.

    Raises:
        BadInputError: another process is using the run.
    """
    with RunLock(run.directory):
        listed = list(run.description.get("roster", []))
        failed = {n for n, r in run.directory.records().items() if r["state"] == "failed"}
        numbers = []
        for configuration in wanted:
            found = [n for n in _find(listed, configuration) if n not in failed]
            if not found:
                found = [len(listed)]
                listed.append(configuration.entry())
            numbers.append(found[0])
        architectures = list(dict.fromkeys(entry["architecture"] for entry in listed))
        run.description |= {
            "roster": listed,
            "architectures": architectures,
            "trials": len(listed),
        }
        run.directory.write_run(run.description)
    return numbers


def find_numbers(description: RunDescription, configuration: Configuration) -> list[int]:
    """Every trial number that a configuration has in a run, the latest first."""
    return _find(description.get("roster", []), configuration)


def _find(listed: Sequence[ListedTrial], configuration: Configuration) -> list[int]:
    entry = configuration.entry()
    return [number for number in reversed(range(len(listed))) if listed[number] == entry]


class TrialList:
    """Hands out the listed trials of a run that have no record yet, in order.

    Args:
        run: with its trials listed.
        numbers: trials of this process; other listed trials are left alone.
        labels: of the trials, by number.
    """

    def __init__(self, run: OpenRun, numbers: Sequence[int], labels: Mapping[int, str]) -> None:
        records = run.directory.records()
        wanted = list(dict.fromkeys(numbers))
        self._directory: RunDirectory = run.directory
        self._entries = run.description["roster"]
        self._seed = int(run.description["seed"])
        self._labels = dict(labels)
        self._waiting = [number for number in wanted if number not in records]
        # one that an earlier process has begun goes first
        self._waiting.sort(key=lambda number: (not self._begun(number), number))
        self.total = len(wanted)
        self._asked = self.total - len(self._waiting)

    def _begun(self, number: int) -> bool:
        return (self._directory.state_directory(number) / "progress.json").exists()

    @property
    def num_left(self) -> int:
        """Trials that are still to be handed out."""
        return len(self._waiting)

    @property
    def num_asked(self) -> int:
        """See ``TrialSource``; over this process's trials."""
        return self._asked

    @property
    def num_in_flight(self) -> int:
        """See ``TrialSource``."""
        return 0

    def ask(self, seconds: float | None = None) -> Suggestion:
        """See ``TrialSource``; what a trial takes is not known, and plays no part."""
        from serplatform.studies.study import Suggestion

        number = self._waiting.pop(0)
        entry = self._entries[number]
        self._asked += 1
        return Suggestion(
            number=number,
            architecture=entry["architecture"],
            values=entry["values"],
            paper=not entry["values"],
            resumed=self._begun(number),
            seed=derive_seed(self._seed, "repeat", entry["repeat"]),
            label=self._labels.get(number, ""),
        )

    def report(self, number: int, step: int, value: float, fold: int = 0) -> bool:
        """See ``TrialSource``: nothing is pruned."""
        return False

    def tell(self, record: TrialRecord) -> None:
        """See ``TrialSource``: the record itself is what counts."""
