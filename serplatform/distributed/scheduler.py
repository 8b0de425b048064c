"""Stops weak trials of a Tune run by the studies' Optuna pruner, and notes how trials end.

The rungs live in the Optuna storage with everything else, so that a resumed search prunes
as if it had never stopped. Tune's own schedulers keep theirs in memory only
(ray-project/ray issue 30838).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from serplatform.distributed.bookkeeping import Books, Unsaved
from serplatform.distributed.room import make_room


class PruningScheduler(FIFOScheduler):
    """Asks the books after every epoch whether the trial should go on."""

    def __init__(self, books: Books) -> None:
        super().__init__()
        self._books = Unsaved(books)

    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        """Decide after one epoch."""
        stop = self._books.value.should_stop(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def on_trial_complete(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> None:
        """The last result of a trial comes this way only."""
        self._books.value.should_stop(trial.trial_id, result)


class StopWhen(tune.Stopper):
    """Stops all trials when a condition holds."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = Unsaved(condition)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to stop this trial alone: never."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop the search."""
        return self._condition.value()


class TrialEnds(tune.Callback):
    """Tells the books how each trial left Tune."""

    def __init__(self, books: Books) -> None:
        self._books = Unsaved(books)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The trial finished, was pruned, or was stopped with the whole search."""
        self._books.value.ended(trial.trial_id, trial.last_result, None)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The trial raised, or its process died, and is tried again."""
        reason = _reason(trial)
        make_room(trial, reason)
        self._books.value.retried(trial.trial_id, reason)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The trial raised more often than it may be retried."""
        self._books.value.ended(trial.trial_id, trial.last_result, _reason(trial))


def _reason(trial: Any) -> str:
    """Why a Tune trial failed, without Ray's traceback of the caller.

    Tune's own accessors look where the file arrives only later.
    """
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return "no reason was given"
    return short_reason(text.rpartition("Failure # ")[2])


def short_reason(text: str) -> str:
    """The one line of an error text of Ray that says what happened.

    Example:
        >>> short_reason("Traceback ...\\n  File ...\\nValueError: no such thing\\n")
        'ValueError: no such thing'
    """
    if "low on memory" in text:
        return "the process that trained it was ended because memory ran low"
    if "Worker exit detail:" in text or ("actor died" in text and "creation task" not in text):
        detail = text.rpartition("Worker exit detail:")[2].strip().partition("\n")[0]
        return f"the process that trained it died: {detail[:200]}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"
