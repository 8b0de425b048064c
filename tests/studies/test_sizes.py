"""Sizes by what trials take: which are searched, what is said, what is kept."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serplatform.artifacts.run import SpaceKind
from serplatform.studies.sizes import Costs, Sized, Sizing, first_configuration, timed
from serplatform.studies.space import SearchSpace, load_space
from serplatform.training.trial_config import TrialConfig


def candidates() -> dict[str, dict[SpaceKind, SearchSpace]]:
    return {"moma": {"reduced": load_space("moma-small"), "paper": load_space("moma")}}


def decide(seconds: dict[int, float], budget: float | None, **more: bool) -> Sized:
    """Seconds of an epoch by the size of the hidden layer."""

    def epoch(config: TrialConfig, check: Callable[[], None]) -> float:
        check()
        return seconds[config.model.hidden_dim]

    sizing = Sizing(candidates(), epoch, num_folds=2, budget=budget, **more)
    sizing.start()
    deadline = time.monotonic() + 10
    while not (found := sizing.take()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (sized,) = found
    return sized


SMALL, PAPER = (first_configuration(space) for space in candidates()["moma"].values())
BOTH = {SMALL.model.hidden_dim: 0.5, PAPER.model.hidden_dim: 2.0}


def test_the_papers_sizes_are_taken_where_they_fit() -> None:
    takes = 2.0 * PAPER.training.max_epochs * 2
    chosen = decide(BOTH, 10 * takes + 1)
    assert (chosen.kind, chosen.seconds) == ("paper", takes)
    assert chosen.sentence.endswith(": the paper's.")


def test_reduced_sizes_are_taken_where_a_trial_would_take_a_tenth_of_the_budget() -> None:
    takes = 2.0 * PAPER.training.max_epochs * 2
    chosen = decide(BOTH, 10 * takes - 1)
    assert chosen.kind == "reduced"
    assert chosen.seconds == 0.5 * SMALL.training.max_epochs * 2
    assert "reduced, as it is more than a tenth of the" in chosen.sentence
    assert "--full insists" in chosen.sentence


def test_reduced_sizes_that_take_longer_are_not_taken() -> None:
    longer = 2.1 * PAPER.training.max_epochs / SMALL.training.max_epochs
    assert decide(BOTH | {SMALL.model.hidden_dim: longer}, 10.0).kind == "paper"


def test_without_a_budget_two_hours_are_the_limit() -> None:
    hour = 3600 / PAPER.training.max_epochs / 2
    assert decide(BOTH | {PAPER.model.hidden_dim: 1.9 * hour}, None).kind == "paper"
    assert decide(BOTH | {PAPER.model.hidden_dim: 2.1 * hour}, None).kind == "reduced"


def test_on_a_gpu_nothing_is_timed() -> None:
    sized = decide({}, 1.0, measured=False)
    assert (sized.kind, sized.seconds, sized.sentence) == ("paper", None, "")


def test_what_cannot_be_timed_is_said_and_searched() -> None:
    sized = decide({}, 60.0)  # raises KeyError
    assert sized.kind == "reduced"  # what cannot take a few steps may lack the memory
    assert sized.sentence.startswith("moma: could not be timed (")
    assert sized.sentence.endswith("); searched at reduced sizes.")


def test_a_search_that_ends_does_not_wait_for_the_step_that_is_timed() -> None:
    """The interpreter does at its end: inside of torch, the thread would abort it."""
    begun, steps, step = threading.Event(), itertools.count(), threading.Event()

    def epoch(config: TrialConfig, check: Callable[[], None]) -> float:
        while True:  # an epoch without end
            check()
            next(steps)
            begun.set()
            step.wait()

    sizing = Sizing(candidates(), epoch, num_folds=2, budget=None)
    sizing.start()
    assert begun.wait(10)
    thread = sizing._thread
    assert not thread.daemon
    sizing.stop()
    step.set()
    thread.join(10)
    assert next(steps) == 1  # nothing more was timed
    assert sizing.take() == []


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPLATFORM_CACHE", str(tmp_path))
    assert Costs("data", "folds").find(SMALL, lambda: 1.5) == 1.5
    assert Costs("data", "folds").find(SMALL, lambda: 9.0) == 1.5
    assert Costs("other", "folds").find(SMALL, lambda: 9.0) == 9.0
    (tmp_path / "epoch_seconds.json").write_text("damaged")
    assert Costs("data", "folds").find(SMALL, lambda: 2.0) == 2.0


def test_what_is_fitted_in_closed_form_is_not_timed() -> None:
    assert timed(["lda", "moma", "svm", "functionals_mlp"]) == ["moma", "functionals_mlp"]
