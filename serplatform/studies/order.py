"""Which architecture the next trial of a search is of.

A search of named architectures asks each as often as the others, in a fixed order. A portfolio
takes the configurations that are known to add most, those first whose gain is largest for the
time they take; then it shares the time among architectures, more to those whose best trial is
better, less to those that have not become better for long. On a time budget no trial is begun
that would not end in time.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from serplatform.artifacts.trial import TrialRecord, merit

#: so far behind the best dev value, an architecture has 1/e of the best one's share of the time
TEMPERATURE = 0.15
#: trials of an architecture without a better one after which its share is reduced
PATIENCE = 12
#: what its share is then multiplied by, for every further ``PATIENCE`` again
FADE = 0.3
#: points of UAR that a configuration must add to be tried before the time is shared
LEAST_GAIN = 0.1
#: seconds of a trial that is not known to take longer
LEAST_SECONDS = 1.0


class NoTrial(enum.Enum):
    """Why no trial is begun: ``LATER`` there may be one, or ``NEVER`` in the time that is left."""

    LATER = "later"
    NEVER = "never"


@dataclasses.dataclass
class _Known:
    """What is known of an architecture.

    ``estimate``: seconds of a trial at most, None where unknown; ``gains``: of the configurations
    that are tried first, in their order, in points of UAR.
    """

    estimate: float | None = None
    gains: Sequence[float] = ()
    seconds: list[float] = dataclasses.field(default_factory=list)
    best: float | None = None
    since_better: int = 0

    def cost(self) -> float:
        """Seconds that a trial takes: of those that ended, the middle one's; else estimated."""
        if self.seconds:
            return max(LEAST_SECONDS, statistics.median(self.seconds))
        return max(LEAST_SECONDS, self.estimate or 0.0)

    def longest(self) -> float:
        """Seconds that a trial may take: as the longest of those that ended; else estimated."""
        return max(self.seconds) if self.seconds else self.estimate or 0.0


class TrialOrder:
    """Chooses among architectures.

    Args:
        names: in the order in which they are asked where nothing else decides.
        objective: dev metric that tells the best trial.
        portfolio: share the time by merit; else ask each architecture as often as the others.
    """

    def __init__(self, names: Sequence[str], objective: str, *, portfolio: bool = False) -> None:
        self._names = tuple(names)
        self._objective = objective
        self._portfolio = portfolio
        self._known: dict[str, _Known] = {}
        self._counted: set[int] = set()

    def add(
        self, architecture: str, seconds: float | None = None, gains: Sequence[float] = ()
    ) -> None:
        """An architecture whose trials may be begun; see :class:`_Known` for the others."""
        self._known[architecture] = _Known(estimate=seconds, gains=gains)

    def remove(self, architecture: str) -> None:
        """An architecture of which there is nothing left to try."""
        self._names = tuple(name for name in self._names if name != architecture)

    def ended(self, record: TrialRecord) -> None:
        """A trial has ended; a second time changes nothing."""
        known = self._known.get(record["architecture"])
        if known is None or record["trial"] in self._counted:
            return
        self._counted.add(record["trial"])
        if record["state"] == "complete":
            known.seconds.append(float(record.get("seconds") or 0.0))
            value = merit(record.get("dev", {}), self._objective)[0]
            if known.best is None or value > known.best:
                known.best, known.since_better = value, 0
                return
        known.since_better += 1

    def next(self, asked: Mapping[str, int], seconds: float | None) -> str | NoTrial:
        """The architecture of the next trial.

        Args:
            asked: trials handed out of each over the life of the run.
            seconds: until the time budget ends, or None.
        """
        counts = Counter(asked)
        fitting = [
            name
            for name in self._names
            if seconds is None or name not in self._known or self._known[name].longest() <= seconds
        ]
        if not fitting:
            return NoTrial.NEVER
        if not self._portfolio:
            name = min(fitting, key=lambda n: counts[n])
            return name if name in self._known else NoTrial.LATER
        fitting = [name for name in fitting if name in self._known]
        if not fitting:
            return NoTrial.LATER
        waiting = [n for n in fitting if self._gain(n, counts[n]) >= LEAST_GAIN]
        if waiting:
            return max(waiting, key=lambda n: self._gain(n, counts[n]) / self._known[n].cost())
        best = max((k.best for k in self._known.values() if k.best is not None), default=0.0)
        return min(
            fitting,
            key=lambda n: (counts[n] + 1) * self._known[n].cost() / self._share(n, best),
        )

    def _gain(self, name: str, place: int) -> float:
        """What the trial of an architecture at a place adds, in points; 0 where unknown."""
        gains = self._known[name].gains
        return gains[place] if place < len(gains) else 0.0

    def _share(self, name: str, best: float) -> float:
        """Share of the time, of a constant sum."""
        known = self._known[name]
        behind = 0.0 if known.best is None else best - known.best
        fading: float = FADE ** (known.since_better // PATIENCE)
        return max(1e-12, math.exp(-behind / TEMPERATURE) * fading)
