"""The sampler suggests what Optuna's own would, and the parts of Optuna used are as they were.

Tried with Optuna 5.0. When a test of names fails with another Optuna, its private parts have
changed: adapt ``serplatform/studies/optuna_internals.py`` and the list here, and run the tests of
``tests/search`` with that Optuna before its version is allowed.
"""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest

from serplatform.studies import optuna_internals
from serplatform.studies.optuna_internals import StudySampler


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
        ours = suggestions(StudySampler(**options), 60)
    assert ours == own


REMEDY = (
    f"Optuna {optuna.__version__} differs from Optuna 5.0, with which serplatform was tried: adapt "
    "serplatform/studies/optuna_internals.py and this test, and run tests/search with it"
)


@pytest.mark.parametrize(
    ("module", "name", "parameters"),
    [
        (
            "optuna.samplers",
            "TPESampler._get_internal_repr",
            ["self", "trials", "search_space", "study"],
        ),
        ("optuna.samplers", "TPESampler._get_params", ["self", "trial", "study"]),
        ("optuna.storages.journal._file", "get_lock_file", ["lock_obj"]),
        ("optuna.storages.journal._storage", "JournalOperation.SET_TRIAL_PARAM", None),
        ("optuna.storages.journal._storage", "JournalOperation.SET_TRIAL_SYSTEM_ATTR", None),
        ("optuna.storages.journal._storage", "JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE", None),
        ("optuna.storages.journal", "JournalFileBackend.append_logs", ["self", "logs"]),
    ],
)
def test_every_private_part_is_as_it_was(
    module: str, name: str, parameters: list[str] | None
) -> None:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        assert hasattr(found, part), f"{module}.{name} is gone. {REMEDY}"
        found = getattr(found, part)
    if parameters is not None:
        now = list(inspect.signature(found).parameters)
        assert now == parameters, f"{module}.{name}{now}. {REMEDY}"


def test_what_objects_keep_is_as_it_was(tmp_path: Path) -> None:
    assert isinstance(StudySampler()._random_sampler, optuna.samplers.RandomSampler), REMEDY
    journal = optuna_internals.StudyJournal(str(tmp_path / "journal"))
    assert journal._file_path == str(tmp_path / "journal"), REMEDY
    assert hasattr(journal._lock, "acquire"), REMEDY


def test_no_other_file_uses_a_private_part() -> None:
    package = Path(optuna_internals.__file__).parents[1]
    private = re.compile(r"(from|import) optuna\S*\._|\b(study|frozen|trial)\._(trial|study)_id")
    users = {f.name for f in package.rglob("*.py") if private.search(f.read_text("utf-8"))}
    assert users == {"optuna_internals.py"}
