"""Runs the trials of a search through Ray Tune."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from serplatform import stopping
from serplatform.distributed import ray_internals
from serplatform.distributed.head_watch import watching_head
from serplatform.distributed.tune.hang_watchdog import HangWatchdog
from serplatform.distributed.tune.placement import SearchPlan, plan_placement
from serplatform.distributed.tune.tracker import SearchObserver, TrialTracker
from serplatform.distributed.tune.trial_errors import describe_error
from serplatform.distributed.tune.worker_groups import train_driver
from serplatform.errors import SerplatformError
from serplatform.run_directory import RunDirectory
from serplatform.studies.trial_list import TrialSource

if TYPE_CHECKING:
    from ray import tune

_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
}


def run_trials(
    run: RunDirectory,
    studies: TrialSource,
    plan: SearchPlan,
    observer: SearchObserver,
    *,
    resources: Mapping[str, float],
    on_lost: Callable[[str], None] = lambda _: None,
) -> str:
    """Run trials until the budget is spent; Ray must be connected, ``resources`` are its.

    ``on_lost`` is called with the reason when the cluster's head is gone and the search cannot
    stop by itself, before this process ends.

    Returns:
        ``"complete"``, ``"time"`` (the time budget ran out) or ``"interrupted"``.

    Raises:
        BadInputError: a trial does not fit the cluster.
        SerplatformError: Ray failed.
    """
    import ray
    from ray.tune import TuneError

    tracker = TrialTracker(run, studies, plan, plan_placement(resources, plan.limits), observer)
    run.scratch.mkdir(parents=True, exist_ok=True)
    head_watch = watching_head(
        ray.get_runtime_context().gcs_address,
        ask=tracker.stop_for,
        force=lambda what: _end_at_once(what, on_lost),
    )
    try:
        with tune_environment(), ray_internals.keeping_trial_errors() as errors:
            tuner = _tuner(tracker, errors)
            doing = "saving the running trials"
            with stopping.politely(tracker.interrupted.set, doing), head_watch:
                tuner.fit()
    except KeyboardInterrupt:
        tracker.interrupted.set()
    except TuneError as error:
        raise SerplatformError(f"Ray Tune failed: {describe_error(error)}") from error
    finally:
        if not tracker.interrupted.is_set():
            tracker.close()
        with contextlib.suppress(OSError):  # the table is made of the records at the next chance
            tracker.write_table()
        run.remove_scratch()
    if tracker.stop_reason is not None:
        raise SerplatformError(f"the search had to stop: {tracker.stop_reason}")
    if tracker.interrupted.is_set():
        return "interrupted"
    if tracker.exhausted:
        return "complete"
    over = tracker.none_fits or tracker.out_of_time(within=1.0)
    return "time" if over else "interrupted"


@contextlib.contextmanager
def tune_environment() -> Iterator[None]:
    """Keep Tune's own messages off the terminal: the observer says what matters."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune leaves it behind, and it ignores Ctrl-C
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.train", "ray.air")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # errors of trials are in their records
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _tuner(tracker: TrialTracker, errors: Mapping[str, BaseException | None]) -> tune.Tuner:
    """Tune with everything switched off that the tracker and the studies do."""
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter

    from serplatform.distributed.tune import adapters

    limits, placement = tracker.plan.limits, tracker.placement
    watchdog = HangWatchdog(limits.trial_timeout)
    alone = placement.workers == 1
    bundle = {"CPU": float(placement.threads)} | ({"GPU": placement.gpus} if placement.gpus else {})
    if not alone:
        # the driver of a worker group takes no CPU: with one, as many drivers as CPUs
        # would each wait for workers that never fit
        bundle = {"node:__internal_head__": 0.001}
    return tune.Tuner(
        tune.with_resources(
            adapters.TrialActor if alone else train_driver, tune.PlacementGroupFactory([bundle])
        ),
        tune_config=tune.TuneConfig(
            search_alg=ConcurrencyLimiter(
                adapters.StudySearcher(tracker), max_concurrent=placement.concurrent
            ),
            scheduler=adapters.PruningScheduler(tracker),
            metric="objective",
            mode="max",
            num_samples=-1,
            reuse_actors=alone,
        ),
        run_config=tune.RunConfig(
            name="tune",
            # not Tune's own time budget, which a clock that is set would shift
            stop=adapters.SearchStopper(tracker),
            storage_path=str(tracker.run.scratch.resolve()),
            verbose=0,
            callbacks=[adapters.TrialCallbacks(tracker, errors, watchdog)],
            # a worker group is tried again by Ray Train
            failure_config=tune.FailureConfig(max_failures=limits.retries if alone else 0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False if alone else None),
        ),
    )


def _end_at_once(what: str, on_lost: Callable[[str], None]) -> None:
    """End this process although one of its threads waits within Ray, for ever."""
    try:
        on_lost(what)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(SerplatformError.exit_code)
