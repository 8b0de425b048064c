"""A search nested in the outer folds: studies for each fold, whose trials train that fold alone.

The mean dev value over folds, which steers a usual search, is of rows that other folds test, where
a protocol rotates its dev part. Here nothing that is known of one fold reaches another: studies,
pruner and order of architectures are a fold's own, and see its dev rows alone.

Trial n is of fold n modulo the number of folds, so numbers are taken independently of one another.
The folds take turns: a search that is stopped has as many trials of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import TrialRecord
from serplatform.studies.order import NoTrial
from serplatform.studies.sizes import Sized, Sizing
from serplatform.studies.study import Studies, Suggestion


def fold_of(number: int, run: RunDescription) -> int | None:
    """The fold that a trial of a run trains; None: all of them."""
    return number % run["protocol"]["num_folds"] if run.get("nested") else None


class NestedStudies:
    """The studies of all folds, as one source of trials.

    Args:
        by_fold: those of each fold, in its order; trial numbers as in :func:`fold_of`.
        sizing: decides spaces that are not searched yet, for all folds alike; their times
            alone decide.
        on_sized: is told of each, and says what its first points are worth.
    """

    def __init__(
        self,
        by_fold: Sequence[Studies],
        *,
        sizing: Sizing | None,
        on_sized: Callable[[Sized], Sequence[float]],
    ) -> None:
        self._by_fold = by_fold
        self._sizing = sizing
        self._on_sized = on_sized

    @property
    def num_asked(self) -> int:
        """See ``TrialSource``."""
        return sum(studies.num_asked for studies in self._by_fold)

    @property
    def num_in_flight(self) -> int:
        """See ``TrialSource``."""
        return sum(studies.num_in_flight for studies in self._by_fold)

    def ask(self, seconds: float | None = None) -> Suggestion | NoTrial:
        """See ``TrialSource``; of the fold that has had the fewest."""
        for sized in () if self._sizing is None else self._sizing.take():
            gains = self._on_sized(sized)
            for studies in self._by_fold:
                studies.add(sized, gains)
        none = NoTrial.NEVER
        for studies in sorted(self._by_fold, key=lambda s: (not s.num_in_flight, s.num_asked)):
            found = studies.ask(seconds)
            if isinstance(found, Suggestion):
                return found
            none = found if found is NoTrial.LATER else none
        return none

    def report(self, number: int, step: int, value: float, fold: int = 0) -> bool:
        """See ``TrialSource``."""
        return self._of(number).report(number, step, value, fold)

    def tell(self, record: TrialRecord) -> None:
        """See ``TrialSource``."""
        self._of(record["trial"]).tell(record)

    def _of(self, number: int) -> Studies:
        return self._by_fold[number % len(self._by_fold)]
