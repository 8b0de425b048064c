"""Which trials are stopped before their last fold.

The objective is a mean over folds, so a trial is judged by whole folds, against others on the same
folds. Optuna's ``WilcoxonPruner`` does so too, but with two to four folds its test cannot reach
p < 0.1 before the last, and it compares with the best trial alone, which leaves an ensemble few
members. ``benchmarks/pruning.py`` measures this pruner beside others.
"""

from __future__ import annotations

import math

import numpy as np
import optuna

from serplatform.artifacts.trial import TrialRecord
from serplatform.errors import BadInputError, unknown_name
from serplatform.models.architectures import ARCHITECTURES
from serplatform.studies.choices import PRUNERS

#: complete trials that a trial must be worse than to be pruned; by the benchmark's dev rows
MEMBERS = 3


class FoldPruner:
    """Prunes a trial that, over the folds it ended, is worse than the best few complete trials.

    Nothing is pruned while fewer than :data:`MEMBERS` trials of the run are complete, or none of
    the trial's architecture. What is fitted in closed form costs nothing, and is not pruned.

    Args:
        objective: dev metric.
        sign: 1 where more is better, else -1.
    """

    def __init__(self, objective: str, sign: int) -> None:
        self._objective = objective
        self._sign = sign
        self._complete: dict[int, tuple[str, list[float]]] = {}
        self._running: dict[int, tuple[int, float]] = {}  # fold and mean of its last report

    def tell(self, record: TrialRecord) -> None:
        """Remember the folds of a trial that is complete."""
        self._running.pop(record["trial"], None)
        folds = [fold.get(self._objective, math.nan) for fold in record.get("fold_dev", [])]
        if record["state"] == "complete" and folds and np.isfinite(folds).all():
            values = [self._sign * value for value in folds]
            self._complete[record["trial"]] = record["architecture"], values

    def report(self, number: int, architecture: str, fold: int, mean: float) -> bool:
        """Take the mean over the folds begun; True, as a fold begins, where the trial is weak."""
        before, mean_before = self._running.get(number, (fold, mean))
        self._running[number] = fold, mean
        return fold > before and self._is_weak(architecture, fold, self._sign * mean_before)

    def _is_weak(self, architecture: str, ended: int, mean: float) -> bool:
        known = self._complete.values()
        if len(known) < MEMBERS or all(name != architecture for name, _ in known):
            return False
        on_same_folds = sorted(float(np.mean(values[:ended])) for _, values in known)
        return mean < on_same_folds[-MEMBERS] and not ARCHITECTURES.get(architecture).closed_form


def make_pruner(name: str, *, max_epochs: int, num_folds: int) -> optuna.pruners.BasePruner:
    """Build Optuna's pruner of a name (of ``PRUNERS``); of ``folds`` one that never prunes.

    Their resource is the number of epochs spent over all folds, at most
    ``max_epochs * num_folds``; rungs therefore lie inside the first fold and between folds.
    ``asha`` is asynchronous successive halving (Li et al., MLSys 2020) with a reduction
    factor of 3 and a first rung at a quarter of the first fold.

    Raises:
        BadInputError: the name is unknown.
    """
    first_rung = max(1, math.ceil(max_epochs / 4))
    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=first_rung, reduction_factor=3, min_early_stopping_rate=0
        )
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=first_rung)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=first_rung, max_resource=max_epochs * num_folds, reduction_factor=3
        )
    if name in ("folds", "none"):
        return optuna.pruners.NopPruner()
    raise BadInputError(unknown_name("pruner", name, PRUNERS))
