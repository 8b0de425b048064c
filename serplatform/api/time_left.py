"""How long the trials of a search may still take, from the epochs that they have trained so far."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from serplatform.training.trial import TrialReport


class Estimate(NamedTuple):
    """Seconds, and whether it will only be less: no fold has ended, and one may end early."""

    seconds: float
    at_most: bool


@dataclasses.dataclass
class _Running:
    """A trial being trained: when it began and last reported, and how many epochs since."""

    architecture: str
    begun: float
    first: float = 0.0
    last: float = 0.0
    report: TrialReport | None = None
    reports: int = 0

    def rest(self, share: float) -> float:
        """Seconds from the last report to the end, where a fold takes this share of its epochs."""
        now = self.report
        if now is None or now.done:
            return 0.0
        a_fold = share * now.max_epochs
        epochs = max(a_fold - now.epoch, 1.0) + a_fold * (now.num_folds - now.fold - 1)
        if self.reports == 1:  # what came before the first epoch is not met again
            return epochs * now.history["seconds"]
        return epochs * (self.last - self.first) / (self.reports - 1)


class TimeLeft:
    """Watches the trials of a search, and says how long the rest may take.

    A trial's rest is its epochs left times its seconds an epoch; folds not trained yet get the
    share of their epochs that the folds before them took until early stopping. A trial not begun
    takes what an architecture's trials take on average, pruned ones included.

    Args:
        costs: seconds a trial by architecture, where they are known beforehand.
    """

    def __init__(self, costs: Mapping[str, float]) -> None:
        self._seconds: dict[str, list[float]] = {name: [cost] for name, cost in costs.items()}
        self._measured: set[str] = set()
        self._shares: list[float] = []  # of the epochs of folds that have ended
        self._running: dict[int, _Running] = {}
        self._at_a_time = 1

    def started(self, number: int, architecture: str) -> None:
        """A trial was handed out."""
        self._running[number] = _Running(architecture, time.monotonic())
        self._at_a_time = max(self._at_a_time, len(self._running))

    def progressed(self, number: int, report: TrialReport) -> None:
        """A trial has trained one more epoch."""
        trial = self._running[number]
        ended = report if report.done else trial.report
        if ended is not None and (report.done or report.fold != ended.fold):
            self._shares.append(ended.epoch / ended.max_epochs)
        trial.report, trial.last = report, time.monotonic()
        trial.reports += 1
        if trial.reports == 1:
            trial.first = trial.last

    def ended(self, number: int) -> None:
        """A trial is complete, pruned or failed."""
        trial = self._running.pop(number, None)
        if trial is None or trial.report is None:  # it failed before anything was measured
            return
        if trial.architecture not in self._measured:
            self._measured.add(trial.architecture)
            self._seconds[trial.architecture] = []
        self._seconds[trial.architecture].append(time.monotonic() - trial.begun)

    def estimate(self, to_begin: int) -> Estimate | None:
        """Until the running trials and so many more have ended; None before the first epoch."""
        running = dict(self._running)  # another thread may begin or end one meanwhile
        if not self._measured and all(t.report is None for t in running.values()):
            return None
        now = time.monotonic()
        typical = {name: fmean(seconds) for name, seconds in self._seconds.items()}
        share = fmean(self._shares) if self._shares else 1.0
        rests = {n: t.rest(share) for n, t in running.items() if t.report is not None}
        for number, rest in rests.items():
            trial = running[number]
            typical.setdefault(trial.architecture, trial.last - trial.begun + rest)
        usual = fmean(typical.values())
        left = [
            max(rests[n] + t.last - now, 0.0)
            if n in rests
            else max(typical.get(t.architecture, usual) + t.begun - now, 0.0)
            for n, t in running.items()
        ]
        together = (sum(left) + to_begin * usual) / self._at_a_time
        return Estimate(max([together, *left]), not self._shares)
