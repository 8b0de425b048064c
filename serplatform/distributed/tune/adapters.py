"""The classes that Ray Tune calls: they pass everything on to the tracker of the search's trials.

Tune only asks for trials; the studies decide. Ray's own ``OptunaSearch`` tells stopped trials as
complete, leaves NaN trials running, enqueues its first points again at each construction and
cannot resume from a persistent storage (ray-project/ray issues 18847, 30838, 42221). The rungs of
the pruner live in the Optuna storage, so that a resumed search prunes as if it had never stopped;
Tune's own schedulers keep theirs in memory only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from serplatform.distributed import ray_internals
from serplatform.distributed.tune.hang_watchdog import HangWatchdog
from serplatform.distributed.tune.task_codec import (
    CONFIG_KEY,
    TrialResult,
    encode_report,
    failure_result,
    start_trial,
)
from serplatform.distributed.tune.trial_errors import (
    describe_error,
    lacked_memory,
    request_more_memory,
)
from serplatform.distributed.tune.worker_groups import group_names, remove_group
from serplatform.errors import SerplatformError
from serplatform.studies.order import NoTrial

if TYPE_CHECKING:
    from serplatform.distributed.tune.tracker import TrialTracker
    from serplatform.training.trial import TrialTraining

#: seconds from one look for trials that hang to the next
INTERVAL = 0.5
#: seconds from one record of the time spent to the next
RECORD_INTERVAL = 5.0


class TrialActor(tune.Trainable):
    """Trains one-worker trials one after another in one process, one epoch per step.

    The process keeps the dataset open and torch imported between trials; a trial costs what
    its training costs.
    """

    def setup(self, config: dict[str, object]) -> None:
        """Take the first trial's configuration; nothing is computed yet."""
        self._packed = str(config[CONFIG_KEY])
        self._trial: TrialTraining | None = None

    def reset_config(self, new_config: dict[str, object]) -> bool:
        """Take the next trial's configuration in the same process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, object]:
        """Train one epoch.

        An error that training again would repeat ends the trial with its reason; any other
        exception is left to Tune, which retries the trial from its last saved epoch.
        """
        try:
            if self._trial is None:
                self._trial = start_trial(self._packed)
            report = self._trial.step()
            result: TrialResult | None = {**encode_report(report), "done": report.done}
        except (SerplatformError, OSError) as error:
            result = failure_result(error)
            if result is None:
                raise
        return cast("dict[str, object]", result)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The trial saves its own state in the run directory; Tune keeps nothing."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See :meth:`save_checkpoint`."""

    def cleanup(self) -> None:
        """Let go of the trial."""
        self._trial = None


class StudySearcher(Searcher):
    """Asks the tracker for trials."""

    def __init__(self, tracker: TrialTracker) -> None:
        super().__init__(metric="objective", mode="max")
        self._tracker = tracker

    def suggest(self, trial_id: str) -> dict[str, object] | str | None:
        """The next trial's configuration; None while there is none, ``FINISHED`` at the end."""
        config = self._tracker.next_config(trial_id)
        if isinstance(config, NoTrial):
            return None if config is NoTrial.LATER else str(Searcher.FINISHED)
        return config

    def on_trial_complete(
        self, trial_id: str, result: dict[str, object] | None = None, error: bool = False
    ) -> None:
        """Nothing to do: the studies are told from the trial's record."""

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the truth is in the Optuna storage."""
        Path(checkpoint_path).write_text("{}", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: see :meth:`save`."""


class PruningScheduler(FIFOScheduler):
    """Asks after every epoch whether the trial should be stopped."""

    def __init__(self, tracker: TrialTracker) -> None:
        super().__init__()
        self._tracker = tracker

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, object]) -> str:
        """Decide after one epoch."""
        stop = self._tracker.should_stop(trial.trial_id, cast("TrialResult", result))
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def on_trial_complete(
        self, tune_controller: Any, trial: Any, result: dict[str, object]
    ) -> None:
        """The last result of a trial comes this way only."""
        self.on_trial_result(tune_controller, trial, result)


class SearchStopper(tune.Stopper):
    """Stops all trials when the search is over."""

    def __init__(self, tracker: TrialTracker) -> None:
        self._tracker = tracker

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        """Whether to stop this trial alone: never."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop the search."""
        return self._tracker.is_over()


class TrialCallbacks(tune.Callback):
    """Tells the tracker how each trial leaves Tune, and kills the processes of those that hang.

    ``errors`` are those of ``ray_internals.keeping_trial_errors``, by Tune's id.
    """

    def __init__(
        self,
        tracker: TrialTracker,
        errors: Mapping[str, BaseException | None],
        watchdog: HangWatchdog,
    ) -> None:
        self._tracker = tracker
        self._errors = errors
        self._watchdog = watchdog
        self._next_look = 0.0
        self._next_record = time.monotonic() + RECORD_INTERVAL

    def __reduce__(self) -> tuple[Any, ...]:
        return (tune.Callback, ())  # Tune saves its callbacks; a resumed search makes new ones

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, object], **info: Any
    ) -> None:
        """An epoch has ended."""
        self._watchdog.epoch_ended(trial.trial_id, time.monotonic())

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The trial finished, was pruned, or was stopped with the whole search."""
        self._tracker.ended(trial.trial_id, None)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The trial raised, or its process died, and is tried again."""
        error = self._errors.get(trial.trial_id)
        if lacked_memory(error):
            request_more_memory(trial)
        self._tracker.retried(trial.trial_id, describe_error(error))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The trial raised more often than it may be retried."""
        self._tracker.ended(trial.trial_id, describe_error(self._errors.get(trial.trial_id)))

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        """Look, now and then, for trials that hang; record the time spent."""
        now = time.monotonic()
        if now >= self._next_record:
            self._next_record = now + RECORD_INTERVAL
            self._tracker.record_time()
        if now < self._next_look:
            return
        self._next_look = now + INTERVAL
        running = {t.trial_id: t for t in trials if t.status == "RUNNING"}
        attempts = {
            name: (self._tracker.architecture(name), _attempt(trial))
            for name, trial in running.items()
        }
        for name, limit in self._watchdog.overdue(attempts, now):
            self._tracker.about_to_kill(
                name, f"no epoch ended in {limit:g} s, so its process was ended"
            )
            _kill(running[name])


def _attempt(trial: Any) -> object:
    """Which attempt at a Tune trial is running; None while a worker group waits to start."""
    groups = trial.config.get("groups")
    return ray_internals.num_failures(trial) if groups is None else group_names(groups) or None


def _kill(trial: Any) -> None:
    """Kill what trains a trial: its actor, or the workers of its group."""
    groups = trial.config.get("groups")
    if groups is None:
        ray_internals.kill_actor(trial)
        return
    for name in group_names(groups):
        remove_group(groups, name)
