"""Read ``RUN/`` and ``ENS/`` directories, checked where they enter; nothing is computed here.

Shapes: N rows (one utterance in one fold and part), K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.ensemble import EnsembleRecord, read_ensemble
from serplatform.artifacts.files import file_sha256
from serplatform.artifacts.layout import SYSTEMS, did_you_mean
from serplatform.artifacts.model import WITHIN_SPEAKER
from serplatform.artifacts.posteriors import read_posterior_table
from serplatform.artifacts.records import DevMetrics, read_record
from serplatform.artifacts.run import FoldFile, RunDescription
from serplatform.artifacts.trial import HistoryEntry, TrialProgress, TrialRecord
from serplatform.errors import ArtifactError, BadInputError
from serplatform.run_directory import RunDirectory
from serplatform.storage.mirror import find_copy

TextArray = npt.NDArray[np.str_]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportTrial:
    """One trial of a search: its run's directory, and what is recorded of it."""

    run_path: Path
    record: TrialRecord

    @property
    def run(self) -> str:
        return self.run_path.name or str(self.run_path)

    @property
    def number(self) -> int:
        return self.record["trial"]

    @property
    def key(self) -> tuple[Path, int]:
        """What no two trials of a page share."""
        return self.run_path, self.number

    @property
    def architecture(self) -> str:
        return self.record["architecture"]

    @property
    def state(self) -> str:
        return self.record["state"]

    @property
    def paper(self) -> bool:
        """It is the paper's own configuration."""
        return self.record.get("paper", False)

    @property
    def params(self) -> Mapping[str, Any]:
        return self.record["params"]

    @property
    def by_speaker(self) -> bool:
        """It reads the unlabelled audio of test speakers."""
        return self.params.get("data.normalization") in WITHIN_SPEAKER

    @property
    def fold_dev(self) -> list[DevMetrics]:
        """Dev metrics of each fold that ended; of old records the UAR alone."""
        folds = self.record.get("fold_dev")
        old = self.record.get("fold_dev_uar", [])
        return folds or [{} if value is None else {"uar": value} for value in old]

    @property
    def fold(self) -> int | None:
        """The one that it trained, in a nested search; None: all."""
        return self.record.get("fold")

    @property
    def dev_by_fold(self) -> dict[int, DevMetrics]:
        """:attr:`fold_dev` by fold."""
        return dict(enumerate(self.fold_dev, start=self.fold or 0))

    @property
    def history(self) -> Sequence[HistoryEntry]:
        return self.record.get("history", ())

    @property
    def epochs(self) -> int:
        return self.record.get("epochs", 0)

    @property
    def seconds(self) -> float:
        return self.record.get("seconds", 0.0)

    @property
    def num_parameters(self) -> int | None:
        return self.record.get("num_parameters") or None

    @property
    def peak_memory_mb(self) -> float | None:
        return self.record.get("peak_memory_mb") or None

    @property
    def name(self) -> str:
        """``architecture #number``, as the page calls it."""
        return f"{self.architecture} #{self.number}"

    @property
    def objective(self) -> float | None:
        """Mean dev UAR over the folds that ended, or None."""
        return self.record.get("dev", {}).get("uar")

    @property
    def reached(self) -> float | None:
        """What the search saw: mean over the folds begun of the best epoch's dev UAR, or None."""
        if self.state == "complete" or not self.history:
            return self.objective
        steps = self.reached_by_step()
        return steps[-1][1] if steps else None

    def reached_by_step(self) -> list[tuple[int, float]]:
        """Epochs trained so far, and :attr:`reached` after them; from the first known value on."""
        best: dict[int, float] = {}
        steps = []
        for step, entry in enumerate(self.history, start=1):
            if (value := entry["dev"].get("uar")) is not None:
                best[entry["fold"]] = max(best.get(entry["fold"], value), value)
            if best:
                steps.append((step, sum(best.values()) / len(best)))
        return steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Posteriors:
    """Posteriors of one system: N rows of dev and test parts, (N, K) ``values`` that sum to 1.

    ``truth`` holds class indices.
    """

    utterance_ids: TextArray
    speaker_ids: TextArray
    folds: IntArray
    parts: TextArray
    truth: IntArray
    values: DoubleArray

    def __len__(self) -> int:
        return len(self.utterance_ids)

    @property
    def prediction(self) -> IntArray:
        """(N,) class indices of the largest posterior."""
        return np.asarray(self.values.argmax(axis=1), dtype=np.int64)

    def take(self, rows: npt.NDArray[Any]) -> Posteriors:
        """The given rows, in the given order."""
        return Posteriors(**{name: column[rows] for name, column in vars(self).items()})

    def same_rows(self, other: Posteriors) -> bool:
        """Whether the rows are of the same utterances in the same folds, in the same order."""
        return np.array_equal(self.folds, other.folds) and np.array_equal(
            self.utterance_ids, other.utterance_ids
        )

    def where(self, *, part: str | None = None, fold: int | None = None) -> Posteriors:
        """The rows of one part, one fold, or both."""
        keep = np.ones(len(self), dtype=bool)
        if part is not None:
            keep &= self.parts == part
        if fold is not None:
            keep &= self.folds == fold
        return self.take(keep)

    def ordered(self) -> Posteriors:
        """Rows sorted by fold, part and utterance id."""
        return self.take(np.lexsort((self.utterance_ids, self.parts, self.folds)))


def concatenate(tables: Sequence[Posteriors]) -> Posteriors:
    """Rows of several tables, one after another."""
    columns = {name: np.concatenate([vars(t)[name] for t in tables]) for name in vars(tables[0])}
    return Posteriors(**columns)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportedRun:
    """A search's directory: ``run.json``, the fold file, and its trials by number.

    Attributes:
        cut_off: trials that began and have not ended: number to architecture, None: unknown.
        reference: the simple system that was trained on the same folds at the start, if one was.
        looks: times that test rows have been looked at.
    """

    path: Path
    info: RunDescription
    classes: tuple[str, ...]
    plan: FoldFile
    trials: tuple[ReportTrial, ...]
    cut_off: Mapping[int, str | None] = dataclasses.field(default_factory=dict)
    reference: ReportedRun | None = None
    looks: int = 0

    @property
    def name(self) -> str:
        return self.path.name or str(self.path)

    @property
    def sealed(self) -> bool:
        """It has no test posteriors yet."""
        return self.info.get("sealed", False)

    def digest(self, trial: ReportTrial) -> str | None:
        """Of a trial's posteriors, as looks know them; None where they are missing."""
        file = RunDirectory(self.path).posteriors_file(trial.number)
        recorded = trial.record.get("posteriors_sha256")
        return recorded or (file_sha256(file) if file.exists() else None)

    def posteriors(self, trial: int) -> Posteriors:
        """Dev and test posteriors of one trial; ArtifactError where they are missing or damaged."""
        path = RunDirectory(self.path).posteriors_file(trial)
        recorded = next(t.record for t in self.trials if t.number == trial)
        return read_posteriors(path, self.classes, recorded.get("posteriors_sha256"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportedEnsemble:
    """An ensemble's directory, and its posteriors on dev and test rows of every fold."""

    path: Path
    info: EnsembleRecord
    classes: tuple[str, ...]
    posteriors: Posteriors


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportSource:
    """What a page is about: runs, and an ensemble of them if there is one.

    Attributes:
        path: as the user gave it.
        runs: at least one, unless an ensemble outlived its runs.
        missing: runs that the ensemble names and that are no longer there.
        named: the ensemble's name of a run (its path then) to the run as found.
    """

    path: Path
    runs: tuple[ReportedRun, ...]
    ensemble: ReportedEnsemble | None
    missing: tuple[str, ...] = ()
    named: Mapping[str, ReportedRun] = dataclasses.field(default_factory=dict)

    @property
    def exported(self) -> bool:
        """It is one run whose trials have all folds: `predict` and `export` take its best."""
        return len(self.runs) == 1 and not self.runs[0].info.get("nested")

    @property
    def named_trials(self) -> dict[tuple[str, int], ReportTrial]:
        """The ensemble's name of a run, and a number, to the trial."""
        return {(name, t.number): t for name, run in self.named.items() for t in run.trials}


def load_source(path: Path) -> ReportSource:
    """Read a run, with the ensemble that it may hold, or an ensemble with its runs.

    Raises:
        BadInputError: it is neither.
        ArtifactError: one of its files is missing, damaged or of another schema version.
    """
    if not path.exists():
        raise BadInputError(
            f"{path}: no such directory; give what `serplatform search --out` or "
            f"`serplatform ensemble --out` wrote{did_you_mean(path, *SYSTEMS[:2])}"
        )
    if (path / "ensemble.json").exists():
        return _with_runs(path, load_ensemble(path), None)
    if (path / "run.json").exists():
        inner = RunDirectory(path).ensemble_directory
        if (inner / "ensemble.json").exists():
            return _with_runs(path, load_ensemble(inner), load_run(path))
        return ReportSource(path=path, runs=(load_run(path),), ensemble=None)
    raise BadInputError(
        f"{path}: neither a run (no run.json) nor an ensemble (no ensemble.json); give what "
        "`serplatform search --out` or `serplatform ensemble --out` wrote"
    )


def load_run(path: Path, damaged: list[str] | None = None) -> ReportedRun:
    """A run's description, fold file and trial records (not its posteriors).

    Damaged records are left out and named in ``damaged``, if given.
    """
    directory = RunDirectory(path)
    info = directory.read_run()
    records = directory.records(damaged)
    reference = path / "reference"
    return ReportedRun(
        path=path,
        info=info,
        classes=tuple(info["classes"]),
        plan=directory.read_folds(info),
        trials=tuple(ReportTrial(run_path=path, record=records[n]) for n in sorted(records)),
        cut_off={n: _begun(s) for n, s in directory.unfinished().items() if n not in records},
        reference=load_run(reference) if (reference / "run.json").exists() else None,
        looks=len(directory.looks()),
    )


def _begun(state: Path) -> str | None:
    """The architecture of a trial that has not ended, if its state says so."""
    try:
        return read_record(TrialProgress, state / "progress.json", "trial state")["architecture"]
    except ArtifactError:
        return None


def load_ensemble(path: Path) -> ReportedEnsemble:
    """An ensemble's description and posteriors."""
    info = read_ensemble(path)
    classes = tuple(info["classes"])
    recorded = info.get("posteriors_sha256")
    posteriors = read_posteriors(path / "posteriors.parquet", classes, recorded)
    return ReportedEnsemble(path=path, info=info, classes=classes, posteriors=posteriors)


def _with_runs(path: Path, ensemble: ReportedEnsemble, own: ReportedRun | None) -> ReportSource:
    """An ensemble with those of its runs that are still there; ``own`` is the run asked for."""
    names = [entry["path"] for entry in ensemble.info["runs"]]
    # An ensemble of one run that lies in it moves with it, whatever path was written then.
    parent = ensemble.path.resolve().parent
    moves = RunDirectory(parent).ensemble_directory == ensemble.path.resolve()
    first = [parent] if len(names) == 1 and moves else []
    last = [parent] if len(names) == 1 and not moves else []
    runs: dict[Path, ReportedRun] = {}
    if own is not None:
        runs[own.path.resolve()] = own
    named: dict[str, ReportedRun] = {}
    missing: list[str] = []
    for name in names:
        candidates = [*first, find_copy(name), ensemble.path / name, *last]
        found = next((c.resolve() for c in candidates if (c / "run.json").exists()), None)
        if found is None:
            missing.append(name)
            continue
        if found not in runs:
            runs[found] = load_run(found, damaged=[])  # the ensemble's notes name them
        _check_same_folds(ensemble, runs[found])
        named[name] = runs[found]
    return ReportSource(
        path=path,
        runs=tuple(runs.values()),
        ensemble=ensemble,
        missing=tuple(missing),
        named=named,
    )


def _check_same_folds(ensemble: ReportedEnsemble, run: ReportedRun) -> None:
    ours, theirs = ensemble.info["folds_hash"], run.info["folds_hash"]
    if ours != theirs or ensemble.classes != run.classes:
        raise ArtifactError(
            f"{ensemble.path}: was built on other folds or classes than {run.path} has now "
            f"(folds_hash {ours} and {theirs}); build the ensemble again"
        )


def read_posteriors(path: Path, classes: tuple[str, ...], sha256: str | None = None) -> Posteriors:
    """Read a posterior table, in which no utterance may stand twice in one fold and part."""
    table = read_posterior_table(path, classes, sha256)
    index = {name: k for k, name in enumerate(classes)}
    found = Posteriors(
        utterance_ids=np.array(table.column("utterance_id").to_pylist(), dtype=str),
        speaker_ids=np.array(table.column("speaker_id").to_pylist(), dtype=str),
        folds=table.column("fold").to_numpy().astype(np.int64),
        parts=np.array(table.column("part").to_pylist(), dtype=str),
        truth=np.array([index[label] for label in table.column("truth").to_pylist()], np.int64),
        values=np.stack([table.column(f"p_{name}").to_numpy() for name in classes], axis=1),
    )
    keys = list(
        zip(found.folds.tolist(), found.parts.tolist(), found.utterance_ids.tolist(), strict=True)
    )
    if len(set(keys)) != len(keys):
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ArtifactError(
            f"{path}: utterance '{twice[2]}' stands twice in the {twice[1]} part of fold {twice[0]}"
        )
    return found
