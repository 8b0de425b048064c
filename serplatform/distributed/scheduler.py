"""Stops weak trials of a Tune run by the studies' Optuna pruner.

The rungs live in the Optuna storage with everything else, so that a resumed search prunes
as if it had never stopped. Tune's own schedulers keep theirs in memory only
(ray-project/ray issue 30838).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler


class PruningScheduler(FIFOScheduler):
    """Ask ``should_stop`` after every epoch of a trial that has not finished.

    Args:
        should_stop: called with the trial's Tune id and its result.
    """

    def __init__(self, should_stop: Callable[[str, dict[str, Any]], bool]) -> None:
        super().__init__()
        self._should_stop = should_stop

    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        """Decide after one epoch."""
        if self._should_stop(trial.trial_id, result):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)
