"""The sampler that remembers suggests what Optuna's own would."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
import pytest

from serplatform.search.remembering_tpe import RememberingTPESampler


def suggestions(sampler: optuna.samplers.BaseSampler, trials: int) -> list[dict[str, Any]]:
    """Parameters of trials that overlap in time, some pruned, some failed."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    running: list[optuna.trial.Trial] = []
    for number in range(trials):
        trial = study.ask()
        kind = trial.suggest_categorical("kind", ["a", "b", "c"])
        x = trial.suggest_float("x", 1e-5, 1e-1, log=True)
        n = trial.suggest_int("n", 1, 9)
        if kind != "a":
            trial.suggest_categorical("only", [True, False])
        trial.report(n - x, 1)
        running.append(trial)
        if len(running) > 3:
            done = running.pop(number % 3)
            if number % 7 == 3:
                study.tell(done, state=optuna.trial.TrialState.PRUNED)
            elif number % 7 == 5:
                study.tell(done, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(done, done.params["n"] - 10 * done.params["x"])
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("group", [True, False])
def test_suggestions_are_those_of_optuna(group: bool) -> None:
    options = {
        "seed": 3,
        "multivariate": group,
        "group": group,
        "constant_liar": True,
        "n_startup_trials": 8,
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        own = suggestions(optuna.samplers.TPESampler(**options), 60)
        ours = suggestions(RememberingTPESampler(**options), 60)
    assert ours == own
