"""Ends the process of a trial that hangs: one whose epoch takes far longer than any before.

Ray notices processes that die, not ones that stand still (a driver of the GPU, a file system, a
lock). The processes of a trial that has given no epoch for its limit are killed; what follows is
what follows any death: it is tried again from its last saved epoch, or recorded as failed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from serplatform.distributed.task_codec import CONFIG_KEY

#: seconds without an epoch before any of its architecture has ended; models and data are loaded
FIRST_LIMIT = 3600.0
#: seconds without an epoch that are always allowed
LEAST_LIMIT = 600.0
#: times the slowest epoch of its architecture that an epoch may take: one search's sizes differ
FACTOR = 30.0
#: seconds from one look at the trials to the next
INTERVAL = 0.5
#: longer between two looks and it was the driver that stood still, not the trials
PAUSE = 5.0


@dataclasses.dataclass
class _Watched:
    architecture: str
    since: float
    attempt: object = None


class Watchdog:
    """Knows how long each trial has gone without an epoch; times are monotonic seconds.

    Args:
        limit: seconds an epoch may take; 0: any time; None: :data:`FACTOR` times the slowest of
            its architecture, at least :data:`LEAST_LIMIT`, and :data:`FIRST_LIMIT` before one.

    Example:
        >>> dog = Watchdog(limit=60.0)
        >>> dog.look({"a": ("moma", 1)}, now=0.0)
        []
        >>> [dog.look({"a": ("moma", 1)}, now=float(t)) for t in range(1, 61)][-1]
        [('a', 60.0)]
    """

    def __init__(self, limit: float | None = None) -> None:
        self._limit = limit
        self._slowest: dict[str, float] = {}
        self._watched: dict[str, _Watched] = {}
        self._looked: float | None = None

    def heard(self, trial: str, now: float) -> None:
        """An epoch of the trial has ended."""
        watched = self._watched.get(trial)
        if watched is None:
            return
        took = now - watched.since
        before = self._slowest.get(watched.architecture, 0.0)
        self._slowest[watched.architecture] = max(before, took)
        watched.since = now

    def look(
        self, running: Mapping[str, tuple[str, object]], now: float
    ) -> list[tuple[str, float]]:
        """Trials that are past their limit, each with it; they are then given a new one.

        Args:
            running: trial to its architecture and what tells this attempt from an earlier one;
                None while nothing trains it yet.
            now: monotonic time.
        """
        if self._looked is not None and now - self._looked > PAUSE:
            for known in self._watched.values():  # results of that time are still to come
                known.since += now - self._looked
        self._looked = now
        self._watched = {name: w for name, w in self._watched.items() if name in running}
        overdue = []
        for name, (architecture, attempt) in running.items():
            if attempt is None:  # its workers wait for room
                continue
            watched = self._watched.get(name)
            if watched is None or watched.attempt != attempt:
                self._watched[name] = _Watched(architecture, now, attempt)
                continue
            limit = self.limit(architecture)
            if limit and now - watched.since >= limit:
                overdue.append((name, limit))
                watched.since = now
        return overdue

    def limit(self, architecture: str) -> float:
        """Seconds that an epoch may take now; 0 for any time."""
        if self._limit is not None:
            return self._limit
        slowest = self._slowest.get(architecture)
        return FIRST_LIMIT if slowest is None else max(LEAST_LIMIT, FACTOR * slowest)


class HangGuard(tune.Callback):
    """Looks after the trials of a Tune run.

    Args:
        limit: see :class:`Watchdog`.
        condemn: told of a trial, and why, before its process is killed.
    """

    def __init__(self, limit: float | None, condemn: Callable[[str, str], None]) -> None:
        self._dog = Watchdog(limit)
        self._condemn = condemn
        self._next = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        return (tune.Callback, ())  # Tune saves its callbacks; a resumed search makes new ones

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch has ended."""
        self._dog.heard(trial.trial_id, time.monotonic())

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        """Look, now and then."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + INTERVAL
        running = {t.trial_id: t for t in trials if t.status == "RUNNING"}
        overdue = self._dog.look({name: _attempt(t) for name, t in running.items()}, now)
        for name, limit in overdue:
            self._condemn(name, f"no epoch ended in {limit:g} s, so its process was ended")
            _kill(running[name])


def _attempt(trial: Any) -> tuple[str, object]:
    """The architecture of a Tune trial, and which attempt at it is running."""
    architecture = str(json.loads(trial.config[CONFIG_KEY])["task"]["architecture"])
    groups = trial.config.get("groups")
    if groups is None:
        return architecture, trial.run_metadata.num_failures
    return architecture, _names(groups) or None


def _names(groups: str) -> tuple[str, ...]:
    """The worker groups that a trial has started, by the ids that were written down."""
    try:
        return tuple(sorted(path.name for path in Path(groups).iterdir()))
    except OSError:
        return ()


def _kill(trial: Any) -> None:
    """Kill what trains a trial: its actor, or the workers of its group."""
    import ray

    groups = trial.config.get("groups")
    if groups is None:
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            ray.kill(actor)
        return
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for name in _names(groups):
        # its controller lives, and starts another group where there are retries left
        with contextlib.suppress(ValueError):  # removed already
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))
        Path(groups, name).unlink(missing_ok=True)
