"""Read ``RUN/`` and ``ENS/`` directories into plain values, checked where they enter.

Nothing here computes a number that the page shows; see :mod:`serplatform.report.data`.

Shapes: N rows (one utterance in one fold and part), K classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.ensemble import EnsembleRecord, read_ensemble
from serplatform.artifacts.posteriors import read_posterior_table
from serplatform.artifacts.run import FoldFile, RunDescription
from serplatform.artifacts.trial import HistoryEntry, TrialRecord
from serplatform.errors import ArtifactError, BadInputError
from serplatform.run_directory import RunDirectory
from serplatform.storage.mirror import find_copy

TextArray = npt.NDArray[np.str_]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportTrial:
    """One trial of a search.

    Attributes:
        run: name of its run's directory.
        run_path: the directory.
        number: of the trial within its run.
        architecture: registered name.
        state: ``complete``, ``pruned`` or ``failed``.
        paper: it is the paper's own configuration.
        params: flat dotted parameters that were chosen for it.
        dev: metric name to the mean over the folds that ended.
        fold_dev_uar: dev UAR of each fold that ended, in order.
        fold_dev_nll: dev NLL of the same; empty where it was not recorded.
        epochs: in all folds.
        seconds: of its own training.
        num_parameters: trainable values, None where unknown.
        peak_memory_mb: MiB, None where unknown.
        error: why it failed, or None.
        history: in the order trained.
        posteriors_sha256: checksum of its posterior table, None where none was recorded.
        notes: sentences about its data that its numbers need.
    """

    run: str
    run_path: Path
    number: int
    architecture: str
    state: str
    paper: bool
    params: Mapping[str, Any]
    dev: Mapping[str, float]
    fold_dev_uar: tuple[float, ...]
    epochs: int
    seconds: float
    num_parameters: int | None
    peak_memory_mb: float | None
    error: str | None
    history: tuple[HistoryEntry, ...]
    posteriors_sha256: str | None = None
    notes: tuple[str, ...] = ()
    fold_dev_nll: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """``architecture #number``, as the page calls it."""
        return f"{self.architecture} #{self.number}"

    @property
    def objective(self) -> float | None:
        """Mean dev UAR over the folds that ended, or None."""
        return self.dev.get("uar")

    @property
    def reached(self) -> float | None:
        """What the search saw: mean over the folds begun of the best epoch's dev UAR, or None.

        For a finished trial it is the objective.
        """
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
    """Posteriors of one system.

    Attributes:
        utterance_ids: (N,).
        speaker_ids: (N,).
        folds: (N,).
        parts: (N,), ``dev`` or ``test``.
        truth: (N,) class indices.
        values: (N, K), rows sum to 1.
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
class Run:
    """A search's directory.

    Attributes:
        path: where it lies.
        info: the content of ``run.json``.
        classes: K names in label order.
        plan: the content of the fold file.
        trials: in the order of their numbers.
    """

    path: Path
    info: RunDescription
    classes: tuple[str, ...]
    plan: FoldFile
    trials: tuple[ReportTrial, ...]

    @property
    def name(self) -> str:
        return self.path.name or str(self.path)

    def posteriors(self, trial: int) -> Posteriors:
        """Dev and test posteriors of one trial.

        Raises:
            ArtifactError: the table is missing, damaged, or not one of these classes.
        """
        path = RunDirectory(self.path).posteriors_file(trial)
        recorded = {t.number: t.posteriors_sha256 for t in self.trials}
        return read_posteriors(path, self.classes, recorded.get(trial))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ensemble:
    """An ensemble's directory.

    Attributes:
        path: where it lies.
        info: the content of ``ensemble.json``.
        classes: K names in label order.
        posteriors: of the ensemble, on dev and test rows of every fold.
    """

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
        ensemble: or None.
        missing: runs that the ensemble names and that are no longer there.
        named: the ensemble's name of a run (its path then) to the run as found.
    """

    path: Path
    runs: tuple[Run, ...]
    ensemble: Ensemble | None
    missing: tuple[str, ...] = ()
    named: Mapping[str, Run] = dataclasses.field(default_factory=dict)

    @property
    def named_trials(self) -> dict[tuple[str, int], ReportTrial]:
        """The ensemble's name of a run, and a number, to the trial."""
        return {(name, t.number): t for name, run in self.named.items() for t in run.trials}


def load_source(path: Path) -> ReportSource:
    """Read a run or an ensemble directory.

    Args:
        path: a directory that holds ``run.json`` or ``ensemble.json``. A run that holds
            ``ensemble/ensemble.json`` is read together with that ensemble.

    Raises:
        BadInputError: it is neither.
        ArtifactError: one of its files is missing, damaged or of another schema version.
    """
    if not path.exists():
        raise BadInputError(
            f"{path}: no such directory; give what `serplatform search --out` or "
            "`serplatform ensemble --out` wrote"
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


def load_run(path: Path) -> Run:
    """Read a run's description, fold file and trial records (not its posteriors).

    Raises:
        ArtifactError: a file is missing, damaged or of another schema version.
    """
    directory = RunDirectory(path)
    info = directory.read_run()
    records = directory.records()
    return Run(
        path=path,
        info=info,
        classes=tuple(info["classes"]),
        plan=directory.read_folds(info),
        trials=tuple(_trial(path, records[number]) for number in sorted(records)),
    )


def _trial(run: Path, record: TrialRecord) -> ReportTrial:
    folds = record.get("fold_dev")
    uar = [f.get("uar") for f in folds] if folds else record.get("fold_dev_uar", [])
    return ReportTrial(
        run=run.name or str(run),
        run_path=run,
        number=record["trial"],
        architecture=record["architecture"],
        state=record["state"],
        paper=record.get("paper", False),
        params=record["params"],
        dev=record.get("dev", {}),
        fold_dev_nll=tuple(f.get("nll", math.inf) for f in folds or ()),
        fold_dev_uar=tuple(math.nan if value is None else value for value in uar),
        epochs=record.get("epochs", 0),
        seconds=record.get("seconds", 0.0),
        num_parameters=record.get("num_parameters") or None,
        peak_memory_mb=record.get("peak_memory_mb") or None,
        error=record.get("error"),
        posteriors_sha256=record.get("posteriors_sha256"),
        notes=tuple(record.get("notes", ())),
        history=tuple(record.get("history", ())),
    )


def load_ensemble(path: Path) -> Ensemble:
    """Read an ensemble's description and posteriors.

    Raises:
        ArtifactError: a file is missing, damaged or of another schema version.
    """
    info = read_ensemble(path)
    classes = tuple(info["classes"])
    recorded = info.get("posteriors_sha256")
    posteriors = read_posteriors(path / "posteriors.parquet", classes, recorded)
    return Ensemble(path=path, info=info, classes=classes, posteriors=posteriors)


def _with_runs(path: Path, ensemble: Ensemble, own: Run | None) -> ReportSource:
    """An ensemble with those of its runs that are still there.

    Args:
        path: as the user gave it.
        ensemble: as read.
        own: the run that holds the ensemble, if it was asked for.
    """
    names = [entry["path"] for entry in ensemble.info["runs"]]
    # An ensemble of one run that lies in it moves with it, whatever path was written then.
    parent = ensemble.path.resolve().parent
    moves = RunDirectory(parent).ensemble_directory == ensemble.path.resolve()
    first = [parent] if len(names) == 1 and moves else []
    last = [parent] if len(names) == 1 and not moves else []
    runs: dict[Path, Run] = {}
    if own is not None:
        runs[own.path.resolve()] = own
    named: dict[str, Run] = {}
    missing: list[str] = []
    for name in names:
        candidates = [*first, find_copy(name), ensemble.path / name, *last]
        found = next((c.resolve() for c in candidates if (c / "run.json").exists()), None)
        if found is None:
            missing.append(name)
            continue
        if found not in runs:
            runs[found] = load_run(found)
        _check_same_folds(ensemble, runs[found])
        named[name] = runs[found]
    return ReportSource(
        path=path,
        runs=tuple(runs.values()),
        ensemble=ensemble,
        missing=tuple(missing),
        named=named,
    )


def _check_same_folds(ensemble: Ensemble, run: Run) -> None:
    ours, theirs = ensemble.info["folds_hash"], run.info["folds_hash"]
    if ours != theirs or ensemble.classes != run.classes:
        raise ArtifactError(
            f"{ensemble.path}: was built on other folds or classes than {run.path} has now "
            f"(folds_hash {ours} and {theirs}); build the ensemble again"
        )


def read_posteriors(path: Path, classes: tuple[str, ...], sha256: str | None = None) -> Posteriors:
    """Read a posterior table (``artifacts.posterior_schema``) and check it.

    Raises:
        ArtifactError: as for ``artifacts.posteriors.read_posterior_table``, or an utterance stands
            twice in one fold and part.
    """
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
