"""What the driver of a search knows of its trials, and how it records their ends."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from serplatform.artifacts.trial import (
    HistoryEntry,
    TrialProgress,
    TrialRecord,
    TrialState,
    new_record,
)
from serplatform.distributed.tune.placement import Placement, SearchPlan
from serplatform.distributed.tune.task_codec import (
    TrialResult,
    decode_report,
    encode_config,
    storage_message,
)
from serplatform.distributed.tune.worker_groups import CONTROLLER_GRACE, free_groups
from serplatform.errors import ArtifactError
from serplatform.run_directory import RunDirectory
from serplatform.seeding import derive_seed
from serplatform.storage.location import redact
from serplatform.storage.remote import RemoteError
from serplatform.studies.order import NoTrial
from serplatform.studies.study import Suggestion
from serplatform.studies.trial_list import TrialSource
from serplatform.training.recovery import read_progress
from serplatform.training.trial import TrialReport, TrialTask

#: The trials table is rewritten at most this often while trials end, in seconds.
TABLE_INTERVAL = 5.0


class SearchObserver(Protocol):
    """Is told what happens during a search; a display, a log, or nothing."""

    def trial_started(self, suggestion: Suggestion) -> None:
        """A trial was handed out."""

    def trial_progressed(self, suggestion: Suggestion, report: TrialReport) -> None:
        """A trial trained one more epoch."""

    def trial_retried(self, suggestion: Suggestion, error: str) -> None:
        """A trial is tried again from its last saved epoch after an error."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is complete, pruned or failed, and recorded."""


@dataclasses.dataclass
class _Tracked:
    """One trial that Tune runs, and what its workers reported.

    ``failure``: training again would repeat it. ``error``: of a worker group, after its retries.
    ``record``: where its files are still on another node. ``kill_reason``: why its process was
    killed, which Ray cannot know, until it trains again. ``kills``: how often that was.
    """

    suggestion: Suggestion
    history: list[HistoryEntry] = dataclasses.field(default_factory=list)
    last_step: int | None = None
    host: str | None = None
    finished: bool = False
    pruned: bool = False
    failure: str | None = None
    error: str | None = None
    record: TrialRecord | None = None
    kill_reason: str | None = None
    kills: int = 0


class TrialTracker:
    """Hands trials out under Tune's ids, takes their results, and records how each ended.

    Attributes:
        records: of all trials that have ended, by number.
        exhausted: the budget is spent, and all its trials have been handed out.
        none_fits: no further trial would end in the time that is left.
        stop_reason: what stops the whole search, or None.
        interrupted: the user has asked to stop.
    """

    def __init__(
        self,
        run: RunDirectory,
        studies: TrialSource,
        plan: SearchPlan,
        placement: Placement,
        observer: SearchObserver,
    ) -> None:
        self.run = run
        self.plan = plan
        self.placement = placement
        self.records = run.records()
        self.exhausted = False
        self.none_fits = False
        self.stop_reason: str | None = None
        self.interrupted = threading.Event()
        self._studies = studies
        self._observer = observer
        limits = plan.limits
        self._deadline = None  # trials get a second at least, and then have begun
        if limits.seconds is not None:
            self._deadline = max(limits.begun + limits.seconds, time.monotonic() + 1.0)
        self._tracked: dict[str, _Tracked] = {}
        self._freeing: list[threading.Thread] = []
        self._table_written = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its searcher, scheduler and stopper for a restore that is never used: a
        # search is resumed from the Optuna storage and the trial records
        return (type(None), ())

    # -- the search

    def is_over(self) -> bool:
        """Whether all trials are to be stopped."""
        return self.stop_reason is not None or self.interrupted.is_set() or self.out_of_time()

    def out_of_time(self, within: float = 0.0) -> bool:
        """Whether the time budget ends within so many seconds."""
        return self._deadline is not None and time.monotonic() >= self._deadline - within

    def record_time(self) -> None:
        """Record the time spent, which a killed driver cannot at its end."""
        with self._stopping_at_storage_errors():
            self.plan.record_time()

    def stop_for(self, reason: str) -> None:
        """Let the search stop, for a reason that concerns all of its trials."""
        self.stop_reason = self.stop_reason or reason

    def close(self) -> None:
        """Wait until the worker groups of ended trials are gone."""
        for thread in self._freeing:
            thread.join(timeout=CONTROLLER_GRACE + 5)

    def write_table(self) -> None:
        """Write the table of all trials that have ended."""
        self.run.write_trials_table(list(self.records.values()))
        self._table_written = time.monotonic()

    @contextlib.contextmanager
    def _stopping_at_storage_errors(self) -> Iterator[None]:
        """When nothing more can be written, stop the search rather than fail its trials."""
        try:
            yield
        except RemoteError as error:
            self.stop_for(str(error))
        except OSError as error:
            message = storage_message(error)
            if message is None:
                raise
            self.stop_for(message)

    # -- a trial, in the order of its life

    def next_config(self, trial_id: str) -> dict[str, object] | NoTrial:
        """Configuration of the next trial under Tune's id, or whether there may be one later."""
        with self._stopping_at_storage_errors():
            while not self.is_over():  # Tune waits for a trial without asking whether it may stop
                budget = self.plan.limits.trials
                spent = budget is not None and self._studies.num_asked >= budget
                if spent and self._studies.num_in_flight == 0:
                    self.exhausted = True
                    return NoTrial.NEVER
                left = None if self._deadline is None else self._deadline - time.monotonic()
                suggestion = self._studies.ask(left)
                if isinstance(suggestion, NoTrial):
                    self.none_fits |= suggestion is NoTrial.NEVER
                    return suggestion
                if suggestion.resumed and self.run.record_file(suggestion.number).exists():
                    # a worker outlived its driver by a second, and brought the trial to its end
                    self._keep(self._read_record(_Tracked(suggestion)))
                    continue
                self._tracked[trial_id] = _Tracked(suggestion)
                self._observer.trial_started(suggestion)
                return self._config(suggestion)
        return NoTrial.NEVER

    def _config(self, suggestion: Suggestion) -> dict[str, object]:
        placement = self.placement
        config = encode_config(
            self._task(suggestion), threads=placement.threads, plugins=self.plan.plugins
        )
        if placement.workers > 1:
            config |= {
                "workers": placement.workers,
                "gpus_per_worker": placement.gpus,
                "retries": self.plan.limits.retries,
                "scratch": str(self.run.scratch.resolve()),
                "groups": str(self._groups(suggestion.number)),
            }
        return config

    def _groups(self, number: int) -> Path:
        return self.run.scratch.resolve() / "groups" / str(number)

    def _task(self, suggestion: Suggestion) -> TrialTask:
        seed = suggestion.seed
        return TrialTask(
            number=suggestion.number,
            architecture=suggestion.architecture,
            values=suggestion.values,
            run=self.run.address,
            dataset=self.plan.dataset,
            seed=derive_seed(self.plan.seed, "trial", suggestion.number) if seed is None else seed,
            paper=suggestion.paper,
            objective=self.plan.objective,
            device=self.placement.device,
            fold=suggestion.fold,
            sealed=self.plan.sealed,
        )

    def architecture(self, trial_id: str) -> str:
        """The architecture that a trial trains."""
        return self._tracked[trial_id].suggestion.architecture

    def should_stop(self, trial_id: str, result: TrialResult) -> bool:
        """Take a result and the report in it; True when the trial is to be stopped."""
        with self._stopping_at_storage_errors():
            if not self._should_stop(self._tracked[trial_id], result):
                return False
        return True

    def _should_stop(self, trial: _Tracked, result: TrialResult) -> bool:
        if "stop" in result:
            self.stop_for(result["stop"])
        if self.stop_reason is not None or trial.finished:
            return self.stop_reason is not None
        report = decode_report(result)
        if report is None:
            trial.failure, trial.error = result.get("failure"), result.get("error")
            trial.finished = trial.failure is not None or trial.error is not None
            if trial.failure is not None:
                trial.kill_reason = None  # it trained again, and this is another reason
            return False
        if report.step == trial.last_step:
            return False  # Tune repeats the last result of a function when it returns
        trial.last_step = report.step
        trial.kill_reason = None
        trial.host = result.get("host", trial.host)
        trial.history.append(report.history)
        self._observer.trial_progressed(trial.suggestion, report)
        prune = self._studies.report(
            trial.suggestion.number, report.step, report.objective, report.fold
        )
        if report.done:
            trial.finished = True
            trial.record = report.record
            return False
        trial.pruned |= prune
        return prune

    def retried(self, trial_id: str, error: str) -> None:
        """A trial is tried again after an error."""
        if trial := self._tracked.get(trial_id):
            reason, trial.kill_reason = trial.kill_reason or error, None
            self._observer.trial_retried(trial.suggestion, reason)

    def about_to_kill(self, trial_id: str, reason: str) -> None:
        """The process of a trial is about to be killed; Ray will only say that it died."""
        trial = self._tracked[trial_id]
        trial.kill_reason = reason
        trial.kills += 1
        if self.placement.workers > 1 and trial.kills <= self.plan.limits.retries:
            # Ray Train tries again by itself, and tells nobody
            self._observer.trial_retried(trial.suggestion, reason)

    def ended(self, trial_id: str, error: str | None) -> None:
        """A trial left Tune: record it, unless it was merely interrupted."""
        trial = self._tracked.get(trial_id)
        if trial is None or trial.suggestion.number in self.records:
            return
        with self._stopping_at_storage_errors():
            if self.placement.workers > 1:
                self._freeing.append(free_groups(self._groups(trial.suggestion.number)))
            # where the search stops, the trial is resumed with the next --resume
            record = None if self.stop_reason is not None else self._end_record(trial, error)
            if record is not None:
                self._keep(record)
                trial.history.clear()

    def _end_record(self, trial: _Tracked, error: str | None) -> TrialRecord | None:
        """How a trial ended; None where it was interrupted, and can be resumed."""
        error = error or trial.error
        if error is not None:
            return self._settle(trial, "failed", trial.kill_reason or error)
        if trial.failure is not None:
            return self._settle(trial, "failed", trial.failure)
        if trial.pruned:
            return self._settle(trial, "pruned", None)
        # the last report of a worker group may be lost, its record is not
        if trial.finished or self.run.record_file(trial.suggestion.number).exists():
            return self._read_record(trial)
        return None

    def _keep(self, record: TrialRecord) -> None:
        self.records[record["trial"]] = record
        self._studies.tell(record)
        self._observer.trial_ended(record)
        if time.monotonic() - self._table_written > TABLE_INTERVAL:
            self.write_table()

    def _read_record(self, trial: _Tracked) -> TrialRecord:
        number = trial.suggestion.number
        path = self.run.record_file(number)
        if not path.exists() and trial.record is not None:
            return trial.record  # its files are on its node, which publishes them later
        self.run.mirror.fetch_record(number)
        try:
            return self.run.read_record(path)
        except ArtifactError as error:
            return self._settle(
                trial,
                "failed",
                f"the trial ended, but its record cannot be read here ({error}); the run "
                "must be on storage that all nodes share: a shared directory, or a URI",
            )

    def _settle(self, trial: _Tracked, state: TrialState, error: str | None) -> TrialRecord:
        """Record a trial that its worker could not record."""
        number = trial.suggestion.number
        saved: TrialProgress | None = None
        with contextlib.suppress(ArtifactError):
            saved = read_progress(self.run.state_directory(number))
        entries = [*(saved["history"] if saved else ()), *trial.history]
        history = {(entry["fold"], entry["epoch"]): entry for entry in entries}
        task = self._task(trial.suggestion)
        record = new_record(
            trial=number,
            architecture=task.architecture,
            values=task.values,
            paper=task.paper,
            seed=task.seed,
            state=state,
            device=task.device,
            error=error and redact(error),
            fold_dev=saved["fold_dev"] if saved else (),
            history=[history[key] for key in sorted(history)],
            num_parameters=(saved and saved["num_parameters"]) or None,
            peak_memory_mb=(saved and saved["peak_memory_mb"]) or None,
            host=trial.host,
            fold=task.fold,
        )
        self.run.write_record(record)
        self.run.remove_leftovers(number, state)
        return record
