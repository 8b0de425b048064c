"""Which trials are stopped: those that are worse than the best few over the folds they ended."""

from __future__ import annotations

from typing import Any

import pytest

from serplatform.studies.pruning import MEMBERS, FoldPruner


def complete(number: int, folds: list[float], architecture: str = "csa") -> Any:
    record = {"trial": number, "architecture": architecture, "state": "complete"}
    return record | {"fold_dev": [{"uar": value, "nll": 1 - value} for value in folds]}


def with_trials(objective: str = "uar", sign: int = 1, count: int = MEMBERS) -> FoldPruner:
    pruner = FoldPruner(objective, sign)
    for number in range(count):
        pruner.tell(complete(number, [0.3 + number / 10, 0.9, 0.9]))
    return pruner


def pruned(pruner: FoldPruner, folds: list[float], architecture: str = "csa") -> list[bool]:
    """What is answered to the first report of each fold; ``folds`` are means over those begun."""
    return [pruner.report(9, architecture, fold, mean) for fold, mean in enumerate(folds)]


def test_a_trial_is_compared_on_the_folds_that_it_ended() -> None:
    # the third best has 0.3 in the first fold and 0.6 over two
    assert pruned(with_trials(), [0.31, 0.61, 0.2]) == [False, False, False]
    assert pruned(with_trials(), [0.29, 0.2, 0.2])[1]
    assert pruned(with_trials(), [0.31, 0.59, 0.2]) == [False, False, True]


def test_epochs_within_a_fold_decide_nothing() -> None:
    pruner = with_trials()
    assert not any(pruner.report(9, "csa", 0, 0.0) for _ in range(5))
    assert not pruner.report(9, "csa", 0, 0.4)
    assert not pruner.report(9, "csa", 1, 0.2)


def test_nothing_is_pruned_before_enough_trials_are_complete() -> None:
    assert not any(pruned(with_trials(count=MEMBERS - 1), [0.0, 0.0, 0.0]))


def test_the_first_of_an_architecture_is_trained_to_its_end() -> None:
    pruner = with_trials()
    assert not any(pruned(pruner, [0.0, 0.0, 0.0], "moma"))
    pruner.tell(complete(7, [0.1, 0.1, 0.1], "moma"))
    assert any(pruned(pruner, [0.0, 0.0, 0.0], "moma"))


def test_what_is_fitted_in_closed_form_is_not_pruned() -> None:
    pruner = with_trials()
    pruner.tell(complete(7, [0.1, 0.1, 0.1], "lda"))
    assert not any(pruned(pruner, [0.0, 0.0, 0.0], "lda"))


@pytest.mark.parametrize(("mean", "weak"), [(0.69, False), (0.71, True)])
def test_less_is_better_for_losses(mean: float, weak: bool) -> None:
    assert any(pruned(with_trials("nll", -1), [mean, mean])) is weak
