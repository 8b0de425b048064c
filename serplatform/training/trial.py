"""One trial: a configuration trained over the folds of a protocol, epoch by epoch.

The trial is independent of what runs it. It advances one epoch a call, writes its own files
into the run directory, and can be stopped after any epoch and continued by another process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from serplatform.artifacts.files import (
    SCHEMA_VERSION,
    file_sha256,
    read_parquet,
    remove_own,
    write_json,
    write_parquet,
    write_text,
)
from serplatform.artifacts.layout import STATE_FILES
from serplatform.artifacts.posteriors import posterior_table
from serplatform.artifacts.trial import (
    HistoryEntry,
    TrialProgress,
    TrialRecord,
    TrialState,
    new_record,
)
from serplatform.config import plain
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import SerplatformError
from serplatform.metrics import classification_metrics
from serplatform.protocols.base import FoldPlan
from serplatform.protocols.plan import read_plan
from serplatform.run_directory import RunDirectory
from serplatform.seeding import derive_seed
from serplatform.storage.cache import local_dataset
from serplatform.storage.location import parse
from serplatform.training.checkpoint import TRAINER_FILES
from serplatform.training.epoch import EpochReport
from serplatform.training.loop import FoldTrainer
from serplatform.training.recovery import PROGRESS_FILE, read_progress, repair_state
from serplatform.training.trial_config import TrialConfig, resolve

#: Saving the resumable state may take at most this share of the time spent training.
STATE_SHARE = 0.02


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialTask:
    """What to train, and where.

    Attributes:
        number: of the trial within its run.
        architecture: registered name.
        values: flat dotted parameters that differ from the paper's settings.
        run: the run's directory.
        dataset: the dataset's directory.
        seed: of this trial.
        paper: this is the paper's own configuration.
        objective: dev metric whose mean over folds is reported while training.
        device: ``"cpu"`` or ``"cuda"``.
        fold: the one that it trains; None: all.
        sealed: no test row is predicted, see ``training.seal``.
    """

    number: int
    architecture: str
    values: Mapping[str, Any]
    run: str
    dataset: str
    seed: int
    paper: bool = False
    objective: str = "uar"
    device: str = "cpu"
    fold: int | None = None
    sealed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialReport:
    """State of a trial after an epoch.

    Attributes:
        step: resource spent: fold · max_epochs + epoch. Comparable between trials.
        objective: mean over the folds begun of the dev objective at its best epoch.
        epoch: the epoch just trained, of at most ``max_epochs`` in each fold.
        fold: place of its fold among the ``num_folds`` that the trial trains.
        done: the trial has finished and is recorded.
        history: entry of the epoch, as it will stand in the record.
        record: the record where it is not published yet, and another node cannot read it.
    """

    step: int
    objective: float
    epoch: int
    max_epochs: int
    fold: int
    num_folds: int
    done: bool
    history: HistoryEntry
    record: TrialRecord | None = None


@functools.lru_cache(maxsize=2)
def _open_dataset(path: str, fingerprint_file_time: int) -> Dataset:
    return Dataset.open(Path(path))


@functools.lru_cache(maxsize=2)
def _open_plan(path: str, file_time: int) -> FoldPlan:
    return read_plan(Path(path))


def open_inputs(dataset: str, run: str) -> tuple[Dataset, FoldPlan]:
    """Open a dataset and a run's folds; opened once a process, however many trials it trains."""
    folds = RunDirectory(run).folds_file
    path = local_dataset(parse(dataset))
    return (
        _open_dataset(str(path), (path / "dataset.json").stat().st_mtime_ns),
        _open_plan(str(folds), folds.stat().st_mtime_ns),
    )


class TrialTraining:
    """A trial in progress.

    With ``distributed`` the process is one of several that train this trial together through
    ``torch.distributed``; only rank 0 writes files.

    Raises:
        BadInputError: the parameters do not make a configuration.
        ArtifactError: the dataset, folds or saved state cannot be read.
    """

    def __init__(self, task: TrialTask, *, distributed: bool = False, rank: int = 0) -> None:
        self.task = task
        self.run = RunDirectory(task.run)
        self.config: TrialConfig = resolve(
            task.architecture, dict(task.values), where=f"trial {task.number}"
        )
        self._fetch(distributed, rank)
        self.dataset, self.plan = open_inputs(task.dataset, task.run)
        self._folds = range(len(self.plan.folds)) if task.fold is None else (task.fold,)
        self._distributed = distributed
        self._writes = rank == 0
        self._state = self.run.state_directory(task.number)
        self._progress: TrialProgress = {
            "schema_version": SCHEMA_VERSION,
            "trial": task.number,
            "architecture": task.architecture,
            "values": plain(task.values),
            "seed": task.seed,
            "fold": 0,
            "trainer_state": None,
            "history": [],
            "fold_dev": [],
            "seconds": 0.0,
            "num_parameters": 0,
            "peak_memory_mb": 0.0,
        }
        self._notes: list[str] = []  # of the first fold trained by this process
        self._saved_at = 0.0
        self._save_cost = 0.0
        self._trainer: FoldTrainer | None = None
        self._claim = uuid.uuid4().hex
        _reset_peak_memory(task.device)
        if self._writes:
            write_text(self._state / "owner", self._claim)
            self.run.mirror.claim_trial(task.number)
        self._resume()

    @property
    def num_folds(self) -> int:
        return len(self._folds)

    @property
    def finished(self) -> bool:
        return self._ended >= self.num_folds

    @property
    def _ended(self) -> int:
        return self._progress["fold"]

    @property
    def _fold(self) -> int:
        return self._folds[self._ended]

    def step(self) -> TrialReport:
        """Train one epoch; at the end of a fold keep its model and posteriors; at the end of
        the last fold write the posteriors and the record."""
        if self.finished:
            raise ValueError(f"trial {self.task.number} has finished; start another")
        begun = time.perf_counter()
        trainer = self._current_trainer()
        fold = self._ended
        report = trainer.run_epoch()
        self._check_claim()
        entry = _history_entry(self._fold, report)
        self._progress["history"].append(entry)
        folds = [*self._progress["fold_dev"], trainer.best_metrics]
        objective = float(np.mean([fold_dev[self.task.objective] for fold_dev in folds]))
        if trainer.finished:
            self._end_fold(trainer)
        self._progress["seconds"] += time.perf_counter() - begun
        done = self._ended == self.num_folds
        unpublished = None
        if done:
            unpublished = self._finish()
        else:
            self._save(force=self._ended != fold)
        return TrialReport(
            step=fold * self.config.training.max_epochs + report.epoch,
            objective=objective,
            epoch=report.epoch,
            max_epochs=self.config.training.max_epochs,
            fold=fold,
            num_folds=self.num_folds,
            done=done,
            history=entry,
            record=unpublished,
        )

    def suspend(self) -> None:
        """Save the state now, so that another process can resume it."""
        if not self.finished:
            self._save(force=True)

    # -- folds

    def _current_trainer(self) -> FoldTrainer:
        if self._trainer is None:
            data = FoldData(self.dataset, self.plan, self._fold, self.config.data)
            self._trainer = FoldTrainer(
                self.config,
                data,
                seed=derive_seed(self.task.seed, "fold", self._fold),
                device=self.task.device,
                distributed=self._distributed,
            )
            self._progress["num_parameters"] = self._trainer.num_parameters
            self._notes = self._notes or list(self._trainer.notes)
        return self._trainer

    def _end_fold(self, trainer: FoldTrainer) -> None:
        parts = ("dev",) if self.task.sealed else ("dev", "test")
        found = {part: trainer.posteriors(part) for part in parts}  # every rank takes part
        dev = found["dev"]
        trainer.fit_kept_model()
        progress = self._progress
        progress["fold_dev"].append(classification_metrics(trainer.data.labels("dev"), dev))
        if trainer.layer_weights:
            progress["layer_weights"] = [
                *progress.get("layer_weights", []),
                trainer.layer_weights,
            ]
        memory = progress["peak_memory_mb"], _peak_memory_mb(self.task.device)
        progress["peak_memory_mb"] = max(memory)
        progress["num_parameters"] = trainer.num_parameters  # a fit in closed form decides it
        if self._writes:
            trainer.save_model(self.run.model_directory(self.task.number, self._fold))
            data = trainer.data
            tables = [
                posterior_table(
                    data.utterance_ids(part),
                    self.plan.units(data.speaker_ids(part)),
                    data.labels(part),
                    posteriors,
                    fold=self._fold,
                    part=part,
                    classes=data.classes,
                )
                for part, posteriors in found.items()
            ]
            write_parquet(self._fold_file(self._fold), pa.concat_tables(tables).combine_chunks())
        progress["fold"] += 1
        self._trainer = None

    def _fold_file(self, fold: int) -> Path:
        return self._state / f"fold-{fold}.parquet"

    # -- files

    def _check_claim(self) -> None:
        """Write no more once another process has resumed this trial.

        A node that froze or was cut off trains on for a while after the trial has been given
        to another one.
        """
        if not self._writes:
            return
        with contextlib.suppress(FileNotFoundError):
            if (self._state / "owner").read_text(encoding="ascii") == self._claim:
                return
        raise SerplatformError(
            f"trial {self.task.number}: another process has resumed or recorded it"
        )

    def _fetch(self, distributed: bool, rank: int) -> None:
        """Bring what the trial needs from object storage, the same state to every rank."""
        number = self.task.number
        if not self.run.mirror.is_remote:
            return
        if not distributed:
            self.run.mirror.fetch_trial(number)
            return
        import torch

        if rank == 0:
            self.run.mirror.fetch_trial(number, required=True)
            self.run.mirror.share_state(number)
        torch.distributed.barrier()
        if rank != 0:
            self.run.mirror.fetch_trial(number, exact=True, required=True)

    def _finish(self) -> TrialRecord | None:
        """Write the trial's files; return its record where it could not be published."""
        if not self._writes:
            return None
        parts = [read_parquet(self._fold_file(f), "fold") for f in self._folds]
        write_parquet(self.run.posteriors_file(self.task.number), pa.concat_tables(parts))
        record = self.record("complete")
        self.run.mirror.check_claim(self.task.number, self._claim)
        self.run.write_record(record)
        published = self.run.mirror.share_trial(self.task.number)
        remove_own(self._state, STATE_FILES)
        return None if published else record

    def record(self, state: TrialState, error: str | None = None) -> TrialRecord:
        """The trial's record; dev metrics are means over the folds that ended."""
        import torch

        posteriors = self.run.posteriors_file(self.task.number)
        return new_record(
            trial=self.task.number,
            architecture=self.task.architecture,
            values=self.task.values,
            paper=self.task.paper,
            seed=self.task.seed,
            state=state,
            device=self.task.device,
            threads=torch.get_num_threads(),
            error=error,
            fold_dev=self._progress["fold_dev"],
            history=self._progress["history"],
            seconds=self._progress["seconds"],
            num_parameters=self._progress["num_parameters"],
            peak_memory_mb=self._progress["peak_memory_mb"] or _peak_memory_mb(self.task.device),
            host=os.uname().nodename,
            notes=self._notes,
            layer_weights=self._progress.get("layer_weights", []),
            posteriors_sha256=file_sha256(posteriors) if state == "complete" else None,
            fold=self.task.fold,
        )

    def _save(self, *, force: bool) -> None:
        """Save the resumable state, unless that would cost too much of the time."""
        if not self._writes:
            return
        since = time.perf_counter() - self._saved_at
        if not force and self._save_cost > STATE_SHARE * since:
            return
        begun = time.perf_counter()
        trainer_state = None
        if self._trainer is not None:
            trainer_state = f"epoch-{len(self._progress['history'])}"
            self._trainer.save_state(self._state / trainer_state)
        self._progress["trainer_state"] = trainer_state
        write_json(self._state / PROGRESS_FILE, self._progress, checksum=True)
        for old in self._state.glob("epoch-*"):
            if old.name != trainer_state and STATE_FILES.fullmatch(old.name):
                remove_own(old, TRAINER_FILES)
        self._saved_at = time.perf_counter()
        self._save_cost = self._saved_at - begun
        self.run.mirror.share_state(
            self.task.number, share=STATE_SHARE, force=force, claim=self._claim
        )

    def _resume(self) -> None:
        if not self._distributed:  # else a rank might read what another repairs
            repair_state(self._state)
        if not (self._state / PROGRESS_FILE).exists():
            return
        progress = read_progress(self._state)
        if any(progress[key] != self._progress[key] for key in ("architecture", "values", "seed")):
            return  # state of another configuration: train from the beginning
        self._progress = progress
        if progress["trainer_state"] is not None:
            self._current_trainer().load_state(self._state / progress["trainer_state"])
        self._saved_at = time.perf_counter()


def _history_entry(fold: int, report: EpochReport) -> HistoryEntry:
    values = {"fold": fold, **dataclasses.asdict(report)}
    return cast(HistoryEntry, {name: v for name, v in values.items() if v is not None})


def _reset_peak_memory(device: str) -> None:
    """Begin a new measurement of peak memory, where the system allows it."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not Linux, or not allowed: the peak is then that of the process


def _peak_memory_mb(device: str) -> float:
    """Peak memory since the last reset in MiB: of the GPU, else of the process."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.max_memory_allocated()) / 2**20
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
