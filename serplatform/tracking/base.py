"""The base of experiment trackers: each is brought up to date with what is known of a trial.

A tracker never gets single events. It is given a trial as it stands, and sends what it has not
sent yet; so whatever a killed process or an unreachable server lost is sent the next time.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import DEV_METRICS, HistoryEntry, TrialRecord, reached
from serplatform.config import digest
from serplatform.registry import Registry
from serplatform.run_directory import RunDirectory

TRACKERS: Registry[type[Tracker]] = Registry("tracker", __package__ or "")


@dataclasses.dataclass
class TrackedTrial:
    """What is known of a trial, while it runs and after.

    Attributes:
        number: within the run.
        architecture: registered name.
        params: flat dotted settings that differ from the paper's.
        paper: it is the paper's own configuration.
        fold: the one that it trains, in a nested search.
        epochs: by fold and epoch, in the order in which they were trained.
        record: how it ended; None while it runs.
    """

    number: int
    architecture: str
    params: Mapping[str, object]
    paper: bool = False
    fold: int | None = None
    epochs: dict[tuple[int, int], HistoryEntry] = dataclasses.field(default_factory=dict)
    record: TrialRecord | None = None

    @classmethod
    def of(cls, record: TrialRecord) -> TrackedTrial:
        """A trial that has ended."""
        trial = cls(
            record["trial"],
            record["architecture"],
            record["params"],
            bool(record.get("paper", False)),
            record.get("fold"),
        )
        trial.end(record)
        return trial

    def add(self, entries: Iterable[HistoryEntry]) -> None:
        """Take epochs; one that is known already, and was trained again, stays as it was."""
        for entry in entries:
            self.epochs.setdefault((int(entry["fold"]), int(entry["epoch"])), entry)

    def snapshot(self) -> TrackedTrial:
        """What is known now; another thread goes on. Its end, if there is one, has every epoch."""
        record = self.record  # read first: it is set last
        return dataclasses.replace(self, epochs=dict(self.epochs), record=record)

    def end(self, record: TrialRecord) -> None:
        """Take how it ended."""
        self.add(record.get("history", []))
        self.record = record

    @property
    def name(self) -> str:
        return f"trial-{self.number:05d}"

    @property
    def state(self) -> str:
        """``running``, ``complete``, ``pruned`` or ``failed``."""
        return "running" if self.record is None else self.record["state"]

    def settings(self) -> dict[str, bool | int | float | str]:
        """The architecture and the settings; lists as text."""
        plain = {
            name: value if isinstance(value, (bool, int, float, str)) else str(value)
            for name, value in self.params.items()
            if value is not None
        }
        return {"architecture": self.architecture, "paper": self.paper, **plain}

    def points(self) -> list[tuple[int, int, dict[str, float]]]:
        """Of each epoch so far: its number over all folds, from 1, its epoch, and its numbers.

        Names end in ``/fold-0``, except that of what the trial has :func:`reached` by then.
        """
        found = []
        best: dict[int, float] = {}
        for step, ((fold, epoch), entry) in enumerate(self.epochs.items(), 1):
            numbers = {f"dev_{n}": entry["dev"][n] for n in DEV_METRICS if n in entry["dev"]}
            numbers["train_loss"] = entry["train_loss"]
            if (rate := entry.get("learning_rate")) is not None:
                numbers["learning_rate"] = rate
            best[fold] = max(best.get(fold, 0.0), entry["dev"]["uar"])
            by_fold = {f"{name}/fold-{fold}": value for name, value in numbers.items()}
            so_far = sum(best.values()) / len(best)
            found.append((step, epoch, by_fold | {"reached_dev_uar": so_far}))
        return found

    def outcome(self) -> dict[str, float]:
        """Numbers of a trial that has ended; dev metrics of a complete one alone."""
        record = self.record
        if record is None:
            return {}
        dev = record.get("dev", {}) if record["state"] == "complete" else {}
        found = {f"dev_{name}": dev[name] for name in DEV_METRICS if name in dev}
        for name in ("seconds", "num_parameters", "peak_memory_mb"):
            if (value := record.get(name)) is not None:
                found[name] = float(str(value))
        return found

    def why(self) -> str:
        """How it ended, in a sentence; empty while it runs."""
        if self.record is None:
            return ""
        _, folds = reached(self.record)
        error = self.record.get("error")
        told = f"{self.state} after {len(self.epochs)} epochs in {folds} fold(s)"
        return f"{told}: {error}" if error else told


@dataclasses.dataclass(frozen=True)
class TrackedRun:
    """The run that is tracked."""

    directory: RunDirectory
    description: RunDescription

    @property
    def name(self) -> str:
        return self.directory.path.absolute().name

    @property
    def identity(self) -> str:
        """What tells it from other runs in a tracker, the same when it is resumed."""
        given = self.description
        told = (self.name, given.get("started"), given["seed"], given["folds_hash"])
        return digest(list(told))[:16]

    def settings(self) -> dict[str, str]:
        """What the run is of; no path of this machine."""
        given = self.description
        return {
            "data": given["dataset"].get("title", ""),
            "dataset_fingerprint": given["dataset"]["fingerprint"],
            "protocol": given["protocol"]["name"],
            "folds_hash": given["folds_hash"],
            "architectures": ", ".join(given.get("architectures", [])),
            "objective": ", ".join(given["objective"]),
            "sampler": given.get("sampler", ""),
            "pruner": given.get("pruner", ""),
            "seed": str(given["seed"]),
            "nested": str(given.get("nested", False)),
            "sealed": str(given.get("sealed", False)),
        }


class Tracker(abc.ABC):
    """One tracker during one search; made when the search begins.

    Attributes:
        extra: of this package, which brings what the tracker needs; empty: always installed.
        default: where to, if ``--log NAME`` does not say; None: it must.
        remote: it may be slow or away, and so is called in a thread of its own.
    """

    extra: ClassVar[str] = ""
    default: ClassVar[str | None] = None
    remote: ClassVar[bool] = True

    def __init__(self, target: str, run: TrackedRun) -> None:
        self.target = target
        self.run = run

    @classmethod
    @abc.abstractmethod
    def check(cls, target: str) -> str:
        """See, before anything is written, that the tracker can be used.

        Returns:
            the target as it is recorded, with whole paths.

        Raises:
            BadInputError: a package is missing, or the target cannot be reached.
        """

    @abc.abstractmethod
    def update(self, trial: TrackedTrial) -> None:
        """Send what is not sent of a trial; any exception means: try again later."""

    @abc.abstractmethod
    def finish(self, status: str, files: Sequence[Path]) -> None:
        """The search has ended with this status; ``files`` of its results are to be sent."""
