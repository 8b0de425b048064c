"""Runs the trials of a search through Ray Tune and records how each of them ended."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from serplatform import stopping
from serplatform.artifacts.trial import TrialRecord, TrialState
from serplatform.distributed.head_watch import HeadWatch
from serplatform.distributed.surroundings import quiet
from serplatform.distributed.task_codec import (
    encode_config,
    history_entry,
    storage_fault,
    storage_message,
)
from serplatform.distributed.trial_workers import CONTROLLER_GRACE, free_groups, train_driver
from serplatform.errors import ArtifactError, BadInputError, SerplatformError
from serplatform.run_directory import RunDirectory
from serplatform.search.study import Suggestion
from serplatform.search.trial_list import TrialSource
from serplatform.seeding import derive_seed
from serplatform.storage.location import redact
from serplatform.storage.remote import RemoteError
from serplatform.training.salvage import read_progress
from serplatform.training.trial import TrialTask, base_record

#: The trials table is rewritten at most this often while trials end, in seconds.
TABLE_INTERVAL = 5.0


class SearchObserver(Protocol):
    """Is told what happens during a search; a display, a log, or nothing."""

    def trial_started(self, suggestion: Suggestion) -> None:
        """A trial was handed out."""

    def trial_progressed(self, suggestion: Suggestion, result: Mapping[str, Any]) -> None:
        """A trial trained one more epoch."""

    def trial_retried(self, suggestion: Suggestion, error: str) -> None:
        """A trial goes on from its last saved epoch after an error."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is complete, pruned or failed, and recorded."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What :func:`run_trials` needs to know.

    Attributes:
        dataset: the prepared dataset's directory.
        seed: of the run.
        budget: trials over the life of the run; None for as many as time allows.
        time_left: seconds, or None.
        workers: processes that train one trial together.
        gpus_per_trial: GPUs of one worker, may be a fraction; None: 1 where there are GPUs.
        concurrent: trials at a time; None: as many as fit.
        retries: times a trial that raised is tried again from its last saved epoch.
        objective: dev metric reported while training.
        trial_timeout: seconds an epoch may take before its process is taken to hang; 0: any;
            None: by the slowest epoch so far, see ``watchdog.Watchdog``.
    """

    dataset: str
    seed: int
    budget: int | None
    time_left: float | None
    workers: int = 1
    gpus_per_trial: float | None = None
    concurrent: int | None = None
    retries: int = 1
    objective: str = "uar"
    trial_timeout: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """How trials are laid on the cluster.

    Attributes:
        concurrent: trials at a time.
        threads: torch threads of each training process.
        gpus: GPUs of each training process.
        workers: processes a trial.
    """

    concurrent: int
    threads: int
    gpus: float
    workers: int


def plan_placement(
    resources: Mapping[str, float],
    plan: SearchPlan,
    nodes: Sequence[Mapping[str, float]] = (),
) -> Placement:
    """Check before anything starts that a whole trial fits the cluster.

    Args:
        resources: the cluster's total resources, as Ray counts them.
        plan: what is asked for.
        nodes: resources of each node; without them only the sums are looked at.

    Raises:
        BadInputError: a trial does not fit; it would wait for ever.
    """
    cpus, total_gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    gpus = plan.gpus_per_trial
    if gpus is None:
        gpus = 1.0 if total_gpus >= 1 else 0.0
    if gpus > 1 and gpus != int(gpus):
        raise BadInputError(f"--gpus-per-trial {gpus}: above 1 it must be a whole number")
    if plan.workers > 1 and 0 < gpus < 1:
        raise BadInputError(
            f"--gpus-per-trial {gpus} with --workers {plan.workers}: two workers of one trial "
            "cannot share a GPU (NCCL refuses it); give 1, or --workers 1"
        )
    needed = {"CPU": float(plan.workers), "GPU": plan.workers * gpus}
    lacking = [
        f"{needed[name]:g} {name} of {have:g}"
        for name, have in (("CPU", cpus), ("GPU", total_gpus))
        if needed[name] > have
    ]
    if lacking:
        raise BadInputError(
            f"one trial of {plan.workers} worker(s) needs more than the cluster has "
            f"({'; '.join(lacking)}): it would wait for ever. Lower --workers or "
            "--gpus-per-trial, or add nodes"
        )
    places = [_places(node, gpus) for node in nodes]
    if nodes and sum(places) < plan.workers:
        largest = max(node.get("GPU", 0.0) for node in nodes)
        raise BadInputError(
            f"one trial of {plan.workers} worker(s), each with 1 CPU and {gpus:g} GPU on one node, "
            f"finds room for {sum(places)} only on {len(nodes)} node(s), the largest of which has "
            f"{largest:g} GPU: it would wait for ever. Lower --workers or --gpus-per-trial, or add "
            "nodes"
        )
    fits = int(cpus // plan.workers)
    if gpus:
        per_gpu = math.floor(1 / gpus + 1e-9) if gpus < 1 else 0
        fit_gpus = int(total_gpus) * per_gpu if gpus < 1 else int(total_gpus // needed["GPU"])
        fits = min(fits, fit_gpus)
    concurrent = max(1, min(fits, plan.concurrent or fits))
    if plan.budget is not None:
        concurrent = max(1, min(concurrent, plan.budget))
    threads = (
        max(1, int(cpus // (concurrent * plan.workers))) if resources_on_one_node(resources) else 1
    )
    return Placement(concurrent=concurrent, threads=threads, gpus=gpus, workers=plan.workers)


def _places(node: Mapping[str, float], gpus: float) -> int:
    """Workers of 1 CPU and so many GPUs that a node holds at a time."""
    cpus = int(node.get("CPU", 0.0))
    if not gpus:
        return cpus
    here = node.get("GPU", 0.0)
    if gpus < 1:
        return min(cpus, int(here) * math.floor(1 / gpus + 1e-9))
    return min(cpus, int(here // gpus))


def resources_on_one_node(resources: Mapping[str, float]) -> bool:
    """Whether the cluster is one machine (each node has one resource ``node:<address>``)."""
    nodes = [name for name in resources if name.startswith("node:") and "__" not in name]
    return len(nodes) <= 1


class _Trials:
    """What the driver knows of the trials that Tune runs."""

    def __init__(
        self,
        run: RunDirectory,
        studies: TrialSource,
        plan: SearchPlan,
        placement: Placement,
        observer: SearchObserver,
    ) -> None:
        self.run = run
        self.studies = studies
        self.plan = plan
        self.placement = placement
        self.observer = observer
        self.records = run.records()
        self.scratch = run.scratch
        self.exhausted = False
        self.fault: str | None = None
        self._suggestions: dict[str, Suggestion] = {}
        self._history: dict[int, list[Mapping[str, Any]]] = {}
        self._pruned: set[int] = set()
        self._finished: dict[int, Mapping[str, Any]] = {}
        self._last_step: dict[int, int] = {}
        self._hosts: dict[int, str | None] = {}
        self._table_written = 0.0
        self._freeing: list[threading.Thread] = []
        self._condemned: dict[str, str] = {}
        self._ends: dict[str, int] = {}

    def task(self, suggestion: Suggestion) -> TrialTask:
        return TrialTask(
            number=suggestion.number,
            architecture=suggestion.architecture,
            values=suggestion.values,
            run=self.run.address,
            dataset=self.plan.dataset,
            seed=derive_seed(self.plan.seed, "trial", suggestion.number)
            if suggestion.seed is None
            else suggestion.seed,
            paper=suggestion.paper,
            objective=self.plan.objective,
            device="cuda" if self.placement.gpus else "cpu",
        )

    def next_config(self, trial_id: str) -> dict[str, Any] | None:
        """See ``Books``."""
        try:
            return self._next_config(trial_id)
        except (OSError, RemoteError) as error:
            self._give_up(error)
            return None

    def _next_config(self, trial_id: str) -> dict[str, Any] | None:
        if self.fault is not None:
            return None
        budget = self.plan.budget
        spent = budget is not None and self.studies.num_asked >= budget
        if spent and self.studies.num_in_flight == 0:
            self.exhausted = True
            return None
        suggestion = self.studies.ask()
        if suggestion.resumed and self.run.record_file(suggestion.number).exists():
            # a worker outlived its driver by a second, and brought the trial to its end
            self._keep(suggestion, self._read_record(suggestion))
            return self._next_config(trial_id)
        self._suggestions[trial_id] = suggestion
        self._history[suggestion.number] = []
        self.observer.trial_started(suggestion)
        config = encode_config(
            dataclasses.asdict(self.task(suggestion)), threads=self.placement.threads
        )
        if self.placement.workers > 1:
            config.update(
                workers=self.placement.workers,
                gpus_per_worker=self.placement.gpus,
                retries=self.plan.retries,
                scratch=str(self.scratch.resolve()),
                groups=str(self._groups(suggestion.number)),
            )
        return config

    def _groups(self, number: int) -> Path:
        return self.scratch.resolve() / "groups" / str(number)

    def should_stop(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """See ``Books``."""
        try:
            return self._should_stop(trial_id, result)
        except OSError as error:
            self._give_up(error)
            return True

    def _should_stop(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        if "stop" in result:
            self.fault = self.fault or str(result["stop"])
        if self.fault is not None:
            return True
        suggestion = self._suggestions[trial_id]
        number = suggestion.number
        if number in self._finished or result.get("epoch_step") == self._last_step.get(number):
            return False  # Tune repeats the last result of a function when it returns
        self._last_step[number] = result.get("epoch_step", 0)
        self._condemned.pop(trial_id, None)  # it trains again
        self._hosts[number] = result.get("host", self._hosts.get(number))
        if "failure" in result or "history" not in result:
            self._finished[number] = result
            return False
        self._history[number].append(history_entry(result))
        self.observer.trial_progressed(suggestion, result)
        prune = self.studies.report(number, result["epoch_step"], result["objective"])
        if result["finished"]:
            self._finished[number] = result
            return False
        if prune:
            self._pruned.add(number)
        return prune

    def retried(self, trial_id: str, error: str) -> None:
        """See ``Books``."""
        if trial_id in self._suggestions:
            error = self._condemned.pop(trial_id, error)
            self.observer.trial_retried(self._suggestions[trial_id], error)

    def condemned(self, trial_id: str, reason: str) -> None:
        """The process of a trial is about to be killed; Ray will only say that it died."""
        self._condemned[trial_id] = reason
        self._ends[trial_id] = self._ends.get(trial_id, 0) + 1
        if self.placement.workers > 1 and self._ends[trial_id] <= self.plan.retries:
            # Ray Train tries again by itself, and tells nobody
            self.observer.trial_retried(self._suggestions[trial_id], reason)

    def ended(self, trial_id: str, result: Mapping[str, Any] | None, error: str | None) -> None:
        """See ``Books``: record the trial, unless it was merely interrupted."""
        try:
            self._ended(trial_id, result, error)
        except (OSError, RemoteError) as fault:
            self._give_up(fault)

    def stop_for(self, reason: str) -> None:
        """Let the search stop, for a reason that concerns all of its trials."""
        self.fault = self.fault or reason

    def _give_up(self, error: OSError | RemoteError) -> None:
        """When nothing more can be written, stop the search rather than fail its trials."""
        if isinstance(error, RemoteError):
            self.fault = self.fault or str(error)
            return
        if not storage_fault(error):
            raise error
        self.fault = self.fault or storage_message(error)

    def _ended(self, trial_id: str, result: Mapping[str, Any] | None, error: str | None) -> None:
        suggestion = self._suggestions.get(trial_id)
        if suggestion is None or suggestion.number in self.records:
            return
        number = suggestion.number
        if self.placement.workers > 1:
            self._freeing.append(free_groups(self._groups(number)))
        last = self._finished.get(number, result or {})
        if self.fault is not None:
            return  # the search stops; the trial goes on at the next --resume
        if error is not None:
            error = self._condemned.get(trial_id, error)
            record = self._settle(suggestion, "failed", error)
        elif "failure" in last:
            record = self._settle(suggestion, "failed", str(last["failure"]))
        elif number in self._pruned:
            record = self._settle(suggestion, "pruned", None)
        elif number in self._finished or self.run.record_file(number).exists():
            # the last report of a worker group may be lost, its record is not
            record = self._read_record(suggestion)
        else:
            return  # interrupted: it goes on at the next --resume
        self._keep(suggestion, record)

    def _keep(self, suggestion: Suggestion, record: TrialRecord) -> None:
        number = suggestion.number
        self.records[number] = record
        self._history.pop(number, None)
        self.studies.tell(record)
        self.observer.trial_ended(record)
        if time.monotonic() - self._table_written > TABLE_INTERVAL:
            self.write_table()

    def close(self) -> None:
        """Wait until the worker groups of ended trials are gone."""
        for thread in self._freeing:
            thread.join(timeout=CONTROLLER_GRACE + 5)

    def write_table(self) -> None:
        self.run.write_trials_table(list(self.records.values()))
        self._table_written = time.monotonic()

    def _read_record(self, suggestion: Suggestion) -> TrialRecord:
        path = self.run.record_file(suggestion.number)
        last = self._finished.get(suggestion.number, {})
        unpublished: TrialRecord | None = json.loads(last.get("record", "null"))
        if not path.exists() and unpublished is not None:
            return unpublished  # its files are on its node, which publishes them later
        self.run.mirror.fetch_record(suggestion.number)
        try:
            return self.run.read_record(path)
        except ArtifactError as error:
            return self._settle(
                suggestion,
                "failed",
                f"the trial ended, but its record cannot be read here ({error}); the run "
                "must be on storage that all nodes share: a shared directory, or a URI",
            )

    def _settle(self, suggestion: Suggestion, state: TrialState, error: str | None) -> TrialRecord:
        """Record a trial that its worker could not record."""
        number = suggestion.number
        saved = None
        with contextlib.suppress(ArtifactError):
            saved = read_progress(self.run.state_directory(number))
        history = {(e["fold"], e["epoch"]): e for e in (saved["history"] if saved else ())}
        history.update({(e["fold"], e["epoch"]): e for e in self._history.get(number, [])})
        folds = saved["fold_dev"] if saved else []
        record = base_record(self.task(suggestion), state, error and redact(error))
        record |= {
            "dev": {name: sum(f[name] for f in folds) / len(folds) for name in folds[0]}
            if folds
            else {},
            "fold_dev": folds,
            "history": [history[key] for key in sorted(history)],
            "epochs": len(history),
            "seconds": sum(entry.get("seconds", 0.0) for entry in history.values()),
            "num_parameters": (saved and saved["num_parameters"]) or None,
            "peak_memory_mb": (saved and saved["peak_memory_mb"]) or None,
            "ended": time.time(),
            "host": self._hosts.get(number),
        }
        self.run.write_record(record)
        self.run.remove_leftovers(number, state)
        return record


def run_trials(
    run: RunDirectory,
    studies: TrialSource,
    plan: SearchPlan,
    observer: SearchObserver,
    *,
    resources: Mapping[str, float],
    on_lost: Callable[[str], None] = lambda _: None,
) -> str:
    """Run trials until the budget is spent; Ray must be connected.

    Args:
        run: where it is kept.
        studies: who suggests the trials.
        plan: how many trials, and on how much.
        observer: is told what happens.
        resources: of the cluster.
        on_lost: called with the reason when the cluster's head is gone and the search cannot
            stop by itself, before this process ends.

    Returns:
        ``"complete"``, ``"time"`` (the time budget ran out) or ``"interrupted"``.

    Raises:
        BadInputError: a trial does not fit the cluster.
        SerplatformError: Ray failed.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "600")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune leaves it behind, and it ignores Ctrl-C
    import ray
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter

    from serplatform.distributed.scheduler import (
        PruningScheduler,
        StopWhen,
        TrialEnds,
        short_reason,
    )
    from serplatform.distributed.searcher import StudySearcher
    from serplatform.distributed.trial_actor import TrialActor
    from serplatform.distributed.watchdog import HangGuard

    placement = plan_placement(resources, plan)
    trials = _Trials(run, studies, plan, placement, observer)
    trials.scratch.mkdir(parents=True, exist_ok=True)
    if placement.workers == 1:
        trainable: Any = tune.with_resources(
            TrialActor,
            tune.PlacementGroupFactory(
                [
                    {"CPU": float(placement.threads)}
                    | ({"GPU": placement.gpus} if placement.gpus else {})
                ]
            ),
        )
    else:
        # the driver of a worker group takes no CPU: with one, as many drivers as CPUs
        # would each wait for workers that never fit
        trainable = tune.with_resources(
            train_driver,
            tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}]),
        )
    begun = time.monotonic()
    interrupted = threading.Event()

    def is_over() -> bool:
        return trials.fault is not None or interrupted.is_set() or out_of_time()

    def out_of_time(within: float = 0.0) -> bool:
        left = plan.time_left
        return left is not None and time.monotonic() - begun >= left - within

    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=ConcurrencyLimiter(
                StudySearcher(trials), max_concurrent=placement.concurrent
            ),
            scheduler=PruningScheduler(trials),
            metric="objective",
            mode="max",
            num_samples=-1,
            reuse_actors=placement.workers == 1,
        ),
        run_config=tune.RunConfig(
            name="tune",
            # not Tune's own time budget, which a clock that is set would shift
            stop=StopWhen(is_over),
            storage_path=str(trials.scratch.resolve()),
            verbose=0,
            callbacks=[TrialEnds(trials), HangGuard(plan.trial_timeout, trials.condemned)],
            failure_config=tune.FailureConfig(
                max_failures=plan.retries if placement.workers == 1 else 0
            ),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)
            if placement.workers == 1
            else tune.CheckpointConfig(),
        ),
    )
    watch = HeadWatch(
        ray.get_runtime_context().gcs_address,
        ask=trials.stop_for,
        force=lambda what: _end_at_once(what, on_lost),
    )
    try:
        with quiet(), stopping.politely(interrupted.set), watch:
            tuner.fit()
    except KeyboardInterrupt:
        interrupted.set()
    except tune.TuneError as error:
        raise SerplatformError(f"Ray Tune failed: {short_reason(str(error))}") from error
    finally:
        if not interrupted.is_set():
            trials.close()
        with contextlib.suppress(OSError):  # the table is made of the records at the next chance
            trials.write_table()
        run.remove_scratch()
    if trials.fault is not None:
        raise SerplatformError(f"the search had to stop: {trials.fault}")
    if trials.exhausted and not interrupted.is_set():
        return "complete"
    return "time" if out_of_time(within=1.0) and not interrupted.is_set() else "interrupted"


def _end_at_once(what: str, on_lost: Callable[[str], None]) -> None:
    """End this process although one of its threads waits within Ray, for ever."""
    try:
        on_lost(what)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(SerplatformError.exit_code)
