"""Finds trials that hang: those whose epoch takes far longer than any before.

Ray notices processes that die, not ones that stand still (a driver of the GPU, a file system, a
lock). The processes of a trial that has given no epoch for its limit are killed; what follows is
what follows any death: it is tried again from its last saved epoch, or recorded as failed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

#: seconds without an epoch before any of its architecture has ended; models and data are loaded
FIRST_LIMIT = 3600.0
#: seconds without an epoch that are always allowed
LEAST_LIMIT = 600.0
#: times the slowest epoch of its architecture that an epoch may take: one search's sizes differ
FACTOR = 30.0
#: longer between two looks and it was the driver that stood still, not the trials
PAUSE = 5.0


@dataclasses.dataclass
class _Watched:
    architecture: str
    since: float
    attempt: object = None


class HangWatchdog:
    """Knows how long each trial has gone without an epoch; times are monotonic seconds.

    Args:
        limit: seconds an epoch may take; 0: any time; None: :data:`FACTOR` times the slowest of
            its architecture, at least :data:`LEAST_LIMIT`, and :data:`FIRST_LIMIT` before one.

    Example:
        >>> dog = HangWatchdog(limit=60.0)
        >>> dog.overdue({"a": ("moma", 1)}, now=0.0)
        []
        >>> [dog.overdue({"a": ("moma", 1)}, now=float(t)) for t in range(1, 61)][-1]
        [('a', 60.0)]
    """

    def __init__(self, limit: float | None = None) -> None:
        self._limit = limit
        self._slowest: dict[str, float] = {}
        self._watched: dict[str, _Watched] = {}
        self._looked: float | None = None

    def epoch_ended(self, trial: str, now: float) -> None:
        """An epoch of the trial has ended."""
        watched = self._watched.get(trial)
        if watched is None:
            return
        before = self._slowest.get(watched.architecture, 0.0)
        self._slowest[watched.architecture] = max(before, now - watched.since)
        watched.since = now

    def overdue(
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
            if attempt is None:  # its workers wait for resources
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
