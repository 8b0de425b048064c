"""The directory of one run: where each file lies, and how trials are recorded in it.

A trial is finished when its record ``trials/trial-00012.json`` exists: it is written last,
after the posteriors and models it names. ``trials.parquet`` is a table of all records.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from serplatform.artifacts.files import (
    partial_path,
    posterior_schema,
    read_parquet,
    remove_own,
    write_json,
    write_parquet,
)
from serplatform.artifacts.records import read_record
from serplatform.artifacts.run import FoldFile, RunDescription
from serplatform.artifacts.trial import TrialRecord
from serplatform.errors import ArtifactError, BadInputError
from serplatform.metrics import HIGHER_IS_BETTER, METRICS, SUM_TOLERANCE
from serplatform.storage.lease import Lease
from serplatform.storage.mirror import Mirror, local_path, recorded, shown

#: States a recorded trial can have.
TRIAL_STATES = ("complete", "pruned", "failed")

#: what is written into the state of an unfinished trial, and into the models of one
STATE_FILES = re.compile(
    r"progress\.json|owner|fold-\d+\.parquet"
    r"|epoch-\d+(/(state\.json|state-[0-9a-f]{16}\.safetensors))?"
)
_TRIAL_NAME = re.compile(r"trial-\d{5,}")
_MODEL_FILES = re.compile(r"fold-\d+(/(model\.safetensors|config\.json))?")
#: what Ray writes of a search into ``.scratch``, and the groups that ``worker_groups`` notes there
_SCRATCH_FILES = re.compile(
    r"tune|groups(/\d+(/[0-9a-f]+)?)?|(tune|ray_train_run-[\d_-]+)/\.validate_storage_marker"
    r"|ray_train_run-[\d_-]+(/\.?checkpoint_manager_snapshot\.json(\.tmp)?)?"
    r"|tune/(tuner|trainable)\.pkl|tune/\.tmp_\w+"
    r"|tune/(experiment_state|search_gen_state|searcher-state)-[\d_-]+\.(json|pkl)"
    r"|tune/(TrialActor|train_driver)_[0-9a-f]{8}_\d+_[^/]*"
    r"(/(params\.(json|pkl)|result\.json|progress\.csv|error\.(txt|pkl)))?"
)
#: Metrics whose dev means are columns ``dev_<name>`` of ``trials.parquet``.
DEV_METRICS = ("uar", *(name for name in METRICS if name != "uar"))


def merit(dev: Mapping[str, float], objective: str) -> tuple[float, float]:
    """What ranks trials, larger is better: the objective on dev rows, then the likelihood.

    Args:
        dev: metrics, of one fold or means over the folds.
        objective: a name of :data:`DEV_METRICS`, or another, for which UAR stands.

    Returns:
        rounded to 12 decimals, so that equal counts compare equal.

    Example:
        >>> merit({"uar": 0.5, "nll": 1.25}, "uar"), merit({"nll": 1.25}, "nll")
        ((0.5, -1.25), (-1.25, -1.25))
    """
    name = objective if objective in DEV_METRICS else "uar"
    value = dev.get(name, math.nan)
    first = value if HIGHER_IS_BETTER[name] else -value
    values = [
        round(v, 12) if math.isfinite(v) else -math.inf for v in (first, -dev.get("nll", math.inf))
    ]
    return values[0], values[1]


def read_posterior_table(path: Path, classes: Sequence[str]) -> pa.Table:
    """Read a posterior table and check it, see :func:`checked_posteriors`."""
    return checked_posteriors(read_parquet(path, "posterior table"), path, classes)


def checked_posteriors(table: pa.Table, path: Path, classes: Sequence[str]) -> pa.Table:
    """A posterior table with the columns of ``artifacts.posterior_schema``.

    Raises:
        ArtifactError: it lacks a column or has classes in another order; a label or part is
            unknown, or a row of posteriors is not finite, negative, or further than
            ``metrics.SUM_TOLERANCE`` from a sum of 1.
    """
    schema = posterior_schema(list(classes))
    lacking = [name for name in schema.names if name not in table.column_names]
    if lacking:
        raise ArtifactError(
            f"{path}: the posterior table lacks {', '.join(lacking)}; its classes must be "
            f"{', '.join(classes)}"
        )
    given = [name for name in table.column_names if name.startswith("p_")]
    if given != schema.names[-len(classes) :]:
        raise ArtifactError(
            f"{path}: its posterior columns are {', '.join(given)}, the run's classes ask for "
            f"{', '.join(classes)} in this order"
        )
    try:
        table = table.select(schema.names).cast(schema).combine_chunks()
    except (ValueError, pa.ArrowNotImplementedError) as error:  # text for a number, or null
        raise ArtifactError(f"{path}: the posterior table is damaged ({error})") from None
    faults = []
    for column, known in (("truth", set(classes)), ("part", {"dev", "test"})):
        if unknown := sorted(set(table[column].to_pylist()) - known):
            faults.append(f"unknown label(s) in column {column}: {', '.join(unknown)}")
    values = np.stack([table[f"p_{name}"].to_numpy() for name in classes], axis=1)
    away = np.abs(values.sum(axis=1) - 1.0)
    if not np.isfinite(values).all() or (values < 0).any():
        faults.append("posteriors must be finite and not negative")
    elif len(away) and away.max() > SUM_TOLERANCE:
        faults.append(f"row {away.argmax()} of posteriors is {away.max():.2g} away from a sum of 1")
    if faults:
        raise ArtifactError(f"{path}: the posterior table is not valid:", faults)
    return table


class RunDirectory:
    """Paths and records of a run.

    Args:
        path: the run's directory, which need not exist yet; for a URI on object storage, this
            node's working copy is used.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = local_path(path)

    def __str__(self) -> str:
        return shown(self.path)

    @property
    def scratch(self) -> Path:
        """What Ray writes while a search runs."""
        return self.path / ".scratch"

    @property
    def address(self) -> str:
        """What other processes and nodes open it by: an absolute path, or a URI."""
        return recorded(self.path)

    @cached_property
    def mirror(self) -> Mirror | None:
        """What is shared with the object storage that it lies on; None for a local run."""
        return Mirror.of(self.path)

    def fetch_study(self) -> None:
        """Bring what a search needs to go on, and forget what is gone from the storage.

        Raises:
            RemoteError: the storage cannot be read.
        """
        if self.mirror is not None:
            self.mirror.remote.check()
            files = (self.run_file, self.folds_file, self.journal, self.trials_table)
            self.mirror.pull(*(file.name for file in files), "trials", "plugins")

    def fetch_trial(self, trial: int, *, exact: bool = False, required: bool = False) -> None:
        """Bring what a trial needs to begin or to go on.

        Args:
            trial: its number.
            exact: take the storage's state even where this node's has got further.
            required: it is a fault when the storage cannot be read; otherwise a trial goes on
                from what is here.
        """
        mirror = self.mirror
        if mirror is None:
            return

        def pull(within: float | None = None) -> None:
            mirror.pull(self.folds_file.name, within=within)
            mirror.pull_state(trial, exact=exact, within=within)

        if required or not self.folds_file.exists():
            pull()
        else:
            mirror.attempt(pull)

    def claim_trial(self, trial: int) -> None:
        """Say to other nodes that a process of this one goes on with a trial."""
        mirror = self.mirror
        if mirror is not None:
            mirror.attempt(lambda within: mirror.claim(trial, within))

    def check_claim(self, trial: int, claim: str) -> None:
        """See that no other node has gone on with a trial, as far as that can be known now.

        Raises:
            SerplatformError: one has.
        """
        mirror = self.mirror
        if mirror is not None:
            mirror.attempt(lambda within: mirror.check_claim(trial, claim, within))

    def share_state(
        self, trial: int, *, share: float = 1.0, force: bool = True, claim: str | None = None
    ) -> None:
        """Publish an unfinished trial's state, if that takes at most ``share`` of the time."""
        if self.mirror is not None:
            self.mirror.push_state(trial, share=share, force=force, claim=claim)

    def share_trial(self, trial: int) -> bool:
        """Publish a recorded trial; False when that is left to a later moment."""
        mirror = self.mirror
        if mirror is None:
            return True
        return mirror.attempt(lambda within: mirror.push_trial(trial, within))

    def fetch_posteriors(self) -> None:
        """Bring the posteriors of all trials, wherever they were trained."""
        if self.mirror is not None:
            self.mirror.pull("posteriors")

    def fetch_record(self, trial: int) -> None:
        """Bring the record of a trial that another node may have trained."""
        if self.mirror is not None and not self.record_file(trial).exists():
            self.mirror.pull(self.record_file(trial).relative_to(self.path).as_posix())

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"

    @property
    def folds_file(self) -> Path:
        return self.path / "folds.json"

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    @property
    def trials_table(self) -> Path:
        return self.path / "trials.parquet"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def ensemble_directory(self) -> Path:
        return self.path / "ensemble"

    def posteriors_file(self, trial: int) -> Path:
        return self.path / "posteriors" / f"trial-{trial:05d}.parquet"

    def model_directory(self, trial: int, fold: int) -> Path:
        return self.path / "models" / f"trial-{trial:05d}" / f"fold-{fold}"

    def record_file(self, trial: int) -> Path:
        return self.path / "trials" / f"trial-{trial:05d}.json"

    def state_directory(self, trial: int) -> Path:
        """Where an unfinished trial keeps what it needs to go on; removed when it ends."""
        return self.path / "state" / f"trial-{trial:05d}"

    def read_run(self) -> RunDescription:
        """The content of ``run.json``.

        Raises:
            ArtifactError: it is missing, damaged or of another schema version.
        """
        if not self.run_file.exists():
            raise ArtifactError(
                f"{self.path}: not a run directory (no run.json); give the directory that "
                "`serplatform search --out` wrote"
            )
        return read_record(RunDescription, self.run_file, "run description", "run the search again")

    def write_run(self, run: Mapping[str, Any]) -> None:
        """Write ``run.json`` atomically."""
        write_json(self.run_file, dict(run), checksum=True)

    def records(self, damaged: list[str] | None = None) -> dict[int, TrialRecord]:
        """All recorded trials by number.

        Args:
            damaged: where it is given, damaged records are left out, and a sentence on each is
                appended to it.

        Raises:
            ArtifactError: a record is damaged.
        """
        records: dict[int, TrialRecord] = {}
        for path in self.record_files():
            try:
                record = self.read_record(path)
            except ArtifactError as error:
                if damaged is None:
                    raise
                damaged.append(str(error))
                continue
            records[record["trial"]] = record
        return records

    def record_files(self) -> list[Path]:
        """The files of all records, by number; what others put beside them is passed over."""
        paths = sorted((self.path / "trials").glob("trial-*.json"))
        return [path for path in paths if _TRIAL_NAME.fullmatch(path.stem)]

    def unfinished(self) -> dict[int, Path]:
        """Trials that have a saved state: number to its directory."""
        paths = sorted((self.path / "state").glob("trial-*"))
        return {int(p.name[6:]): p for p in paths if _TRIAL_NAME.fullmatch(p.name)}

    def read_record(self, path: Path) -> TrialRecord:
        """One trial's record.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        again = f"`serplatform search --resume --out {self.path}` trains the trial again"
        record = read_record(TrialRecord, path, "trial record", again)
        if path.name != self.record_file(record["trial"]).name:
            raise ArtifactError(f"{path}: holds the record of trial {record['trial']}; {again}")
        lacking = [name for name in DEV_METRICS if name not in record.get("dev", {})]
        if lacking and record["state"] == "complete":
            what = ", ".join(f"dev.{name}" for name in lacking)
            raise ArtifactError(f"{path}: the trial record is damaged: lacks {what}; {again}")
        return record

    def read_folds(self, run: RunDescription) -> FoldFile:
        """The content of the fold file that ``run.json`` names.

        Raises:
            ArtifactError: it is missing, damaged, or not the one that the run was made with.
        """
        file = self.path / run.get("folds_file", self.folds_file.name)
        plan = read_record(FoldFile, file, "fold file", "make the folds again")
        if plan.get("hash", run["folds_hash"]) != run["folds_hash"]:
            raise ArtifactError(
                f"{file}: its hash is not the one in {self.run_file}; the folds are not those "
                "that the run was made with"
            )
        return plan

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write one trial's record atomically; this is what makes the trial count."""
        if record["state"] not in TRIAL_STATES:
            raise ValueError(f"state {record['state']!r} is not one of {TRIAL_STATES}")
        write_json(self.record_file(int(record["trial"])), dict(record), checksum=True)

    def remove_leftovers(self, trial: int, state: str) -> None:
        """Remove what a recorded trial needs no more.

        That is its resumable state, and, where it did not complete, the models of the folds that
        had ended: no ensemble, page or prediction uses them.
        """
        remove_own(self.state_directory(trial), STATE_FILES)
        if state != "complete":
            remove_own(self.model_directory(trial, 0).parent, _MODEL_FILES)
        for file in (self.posteriors_file(trial), self.record_file(trial)):
            partial_path(file).unlink(missing_ok=True)

    def remove_scratch(self) -> None:
        """Remove what Ray wrote of a search, by this process or by one that was killed."""
        remove_own(self.scratch, _SCRATCH_FILES)

    def read_posteriors(self, trial: int, classes: Sequence[str] | None = None) -> pa.Table:
        """The posterior table of one trial; checked, see :func:`read_posterior_table`.

        Args:
            trial: its number.
            classes: K names; those of the run when not given.
        """
        known = self.read_run()["classes"] if classes is None else classes
        return read_posterior_table(self.posteriors_file(trial), known)

    def write_trials_table(self, records: Sequence[TrialRecord] | None = None) -> None:
        """Write ``trials.parquet`` from the records (read from disk when not given)."""
        if records is None:
            records = list(self.records().values())
        write_parquet(self.trials_table, trials_table(records))


class RunLock:
    """Exclusive use of a run directory by one search at a time.

    The lock is the operating system's: it vanishes with its process, however that ends. On
    object storage a lease keeps other machines out (see ``storage.lease``).

    Raises:
        BadInputError: another process is using the directory.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.lease: Lease | None = None
        run.path.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(run.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            raise BadInputError(
                f"{run}: another search is writing to this run; wait for it, or give another --out"
            ) from None
        try:
            if run.mirror is not None:
                self.lease = Lease(run.mirror.remote)
        except BaseException:
            os.close(self._handle)
            raise

    def release(self) -> None:
        """Give the directory free."""
        if self.lease is not None:
            self.lease.release()
        os.close(self._handle)


def _column(values: list[Any]) -> pa.Array:
    """One typed column of mixed Python values: numbers, text, or JSON text for the rest."""
    present = [v for v in values if v is not None]
    if all(isinstance(v, bool) for v in present):
        return pa.array(values, pa.bool_() if present else pa.string())
    if all(isinstance(v, int) and not isinstance(v, bool) for v in present):
        return pa.array(values, pa.int64())
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in present):
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pa.array(texts, pa.string())


def trials_table(records: Sequence[TrialRecord]) -> pa.Table:
    """Tabulate trial records, one row each, in the order of their numbers.

    Columns: ``trial, architecture, state, paper, params.*, dev_<metric>, fold_dev_uar, epochs,
    seconds, num_parameters, peak_memory_mb, host, error``.
    """
    rows = sorted(records, key=lambda record: record["trial"])
    columns: dict[str, pa.Array] = {
        "trial": pa.array([r["trial"] for r in rows], pa.int32()),
        "architecture": pa.array([r["architecture"] for r in rows], pa.string()),
        "state": pa.array([r["state"] for r in rows], pa.string()),
        "paper": pa.array([bool(r.get("paper", False)) for r in rows], pa.bool_()),
    }
    for key in sorted({key for r in rows for key in r["params"]}):
        columns[f"params.{key}"] = _column([r["params"].get(key) for r in rows])
    for metric in DEV_METRICS:
        columns[f"dev_{metric}"] = pa.array(
            [r.get("dev", {}).get(metric) for r in rows], pa.float64()
        )
    columns["fold_dev_uar"] = pa.array(
        [[fold.get("uar") for fold in r.get("fold_dev", [])] for r in rows],
        pa.list_(pa.float64()),
    )
    for name, kind in (
        ("epochs", pa.int64()),
        ("seconds", pa.float64()),
        ("num_parameters", pa.int64()),
        ("peak_memory_mb", pa.float64()),
        ("host", pa.string()),
        ("error", pa.string()),
    ):
        columns[name] = pa.array([r.get(name) for r in rows], kind)
    return pa.table(columns)
