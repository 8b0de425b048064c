"""Every third suggestion of the sampler is random, and the others are not."""

from __future__ import annotations

import optuna
import pytest

from serplatform.studies.study import RANDOM_EVERY, make_sampler

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def drawn(seed: int) -> list[float]:
    """Suggestions after trials that say: the larger, the better."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=make_sampler("tpe", seed))
    for k in range(60):
        study.add_trial(
            optuna.trial.create_trial(
                params={"x": k / 60, "y": 0.5},
                distributions={
                    "x": optuna.distributions.FloatDistribution(0, 1),
                    "y": optuna.distributions.FloatDistribution(0, 1),
                },
                value=k / 60,
            )
        )
    found = []
    for _ in range(60):
        trial = study.ask()
        found.append(trial.suggest_float("x", 0, 1))
        trial.suggest_float("y", 0, 1)
        study.tell(trial, found[-1])
    return found


def test_a_third_of_the_suggestions_covers_the_range() -> None:
    assert RANDOM_EVERY == 3
    found = drawn(0)
    random = found[2::3]
    learned = [x for place, x in enumerate(found) if place % 3 != 2]
    assert sum(x < 0.5 for x in random) >= 5  # of 20, 10 are expected
    assert sum(x < 0.5 for x in learned) <= 2  # of 40


def test_the_same_seed_suggests_the_same() -> None:
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
