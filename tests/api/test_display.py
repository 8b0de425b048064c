"""What a search shows: of each trial, of all, and how long it may still take."""

from __future__ import annotations

import dataclasses
import io
import re
import time
from typing import Any

import pytest
from rich.console import Console

from serplatform import console, stopping
from serplatform.api.display import FIRST_LINE, PLAIN_INTERVAL, SearchDisplay
from serplatform.api.time_left import TimeLeft
from serplatform.artifacts.trial import TrialRecord, TrialState, new_record
from serplatform.studies.space import SearchSpace
from serplatform.studies.study import Suggestion
from serplatform.training.trial import TrialReport


class Clock:
    """Time that passes when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    monkeypatch.setattr(console._console, "last_line", float("-inf"))
    return made


def suggestion(number: int, architecture: str = "moma", **more: Any) -> Suggestion:
    return Suggestion(number=number, architecture=architecture, values={}, paper=False, **more)


def report(
    epoch: int, *, fold: int = 0, folds: int = 2, done: bool = False, most: int = 10
) -> TrialReport:
    return TrialReport(
        step=fold * most + epoch,
        objective=0.4,
        epoch=epoch,
        max_epochs=most,
        fold=fold,
        num_folds=folds,
        done=done,
        history={"seconds": 2.0},  # type: ignore[typeddict-item]
    )


def record(number: int, state: TrialState, uar: float | None = None, **more: Any) -> TrialRecord:
    made = new_record(
        trial=number,
        architecture="moma",
        values={},
        paper=False,
        seed=0,
        state=state,
        device="cpu",
        error=more.pop("error", None),
        fold_dev=(),
        history=[],
        seconds=12.0,
    )
    made["dev"] = {} if uar is None else {"uar": uar}  # type: ignore[typeddict-item]
    return made


def display(**more: Any) -> SearchDisplay:
    given: dict[str, Any] = {"budget": 4, "deadline": None, "records": {}, "objective": "uar"}
    return SearchDisplay(**{**given, **more})


def screen(shown: SearchDisplay, width: int) -> list[str]:
    terminal = Console(file=io.StringIO(), width=width)
    with terminal.capture() as captured:
        terminal.print(shown.render())
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "is_live", lambda: True)


def test_trials_left_cost_what_ended_ones_did(clock: Clock) -> None:
    left = TimeLeft({})
    left.started(0, "moma")
    assert left.estimate(3) is None
    clock.now += 4  # with the worker's imports
    left.progressed(0, report(1))
    assert left.estimate(0) == (19 * 2.0, True)
    clock.now += 2
    left.progressed(0, report(2))
    # 2 s an epoch: 8 of this fold and 10 of the next; a trial takes 6 s more than that
    assert left.estimate(0) == (36.0, True)
    assert left.estimate(3) == (36.0 + 3 * 42.0, True)
    clock.now += 2
    assert left.estimate(0) == (34.0, True)
    left.progressed(0, report(3))
    clock.now += 2
    left.progressed(0, report(1, fold=1))  # the first fold stopped after 3 of 10 epochs
    assert left.estimate(0) == (pytest.approx(2 * 2.0), False)
    clock.now += 4
    left.progressed(0, report(3, fold=1, done=True))
    left.ended(0)
    assert left.estimate(3) == (3 * 14.0, False)


def test_two_at_a_time_take_half_and_at_least_the_longest(clock: Clock) -> None:
    left = TimeLeft({"csa": 100.0})
    for number in (0, 1):
        left.started(number, "moma")
    clock.now += 2
    left.progressed(0, report(1))  # 38 s left, 40 s in all
    # the second trial is like the first; of the others, half are csa
    found = left.estimate(2)
    assert found is not None
    assert found.seconds == (38 + 38 + 2 * (100 + 40) / 2) / 2
    assert left.estimate(0) == (38.0, True)


def test_a_trial_that_failed_before_an_epoch_tells_nothing(clock: Clock) -> None:
    left = TimeLeft({})
    left.started(0, "moma")
    clock.now += 1
    left.ended(0)
    left.ended(7)  # of an earlier process
    assert left.estimate(3) is None


def test_the_table_has_what_a_user_waits_for(clock: Clock, on_a_terminal: None) -> None:
    shown = display(chance=0.25, reference=("svm", 0.47))
    for number in range(3):
        shown.trial_started(suggestion(number))
    assert screen(shown, 120) == [
        "Training: 3 trial(s) started, first epoch not ended …",
        "0 of 4 ended, 3 running",
        "reference svm 47.0 % on dev rows, chance 25.0 %",
        "0 s so far",
        *screen(shown, 120)[4:],
    ]
    clock.now += 60
    shown.trial_progressed(suggestion(0), report(10, fold=1, done=True))
    shown.trial_ended(record(0, "complete", 0.524))
    shown.trial_progressed(suggestion(1), report(5, fold=1))
    shown.trial_ended(record(2, "failed", error="out of memory"))
    for width in (80, 120):
        text = "\n".join(screen(shown, width))
        told = re.sub("━+╸?", "━", " ".join(text.split()))
        assert told.startswith(
            "2 of 4 ended (1 trained, 1 failed), 1 running best dev UAR 52.4 % (trial 0 moma), "
            "reference svm 47.0 % on dev rows, chance 25.0 % ━ about 25 s left; "
            "1 min 0 s so far"
        )
        assert "trial architecture fold epoch dev UAR so far" in told
        assert "1 moma 2/2 5/10 ━ 40.0 %" in told
        assert told.endswith("2 moma failed 12 s 0 moma trained 52.4 % 12 s")
        assert max(map(len, text.splitlines())) <= width


def test_trials_that_end_at_once_are_told_where_they_are_the_best(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = display(budget=None)
    for number, value in enumerate((0.4, 0.3, 0.2, 0.5, 0.1)):
        clock.now += 1
        shown.trial_ended({**record(number, "complete", value), "architecture": "lda"})
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("trial ")[1].split()[0] for line in lines] == ["0", "3"]
    clock.now += 10
    shown.trial_ended({**record(5, "complete", 0.1), "architecture": "lda"})
    assert "6 ended" in capsys.readouterr().err


def test_a_trial_is_the_papers_but_for_what_was_fixed(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for fixed, told in [
        ({"model.num_blocks": 3, "model.hidden_dim": 512}, "(the paper's configuration)\n"),
        ({"model.hidden_dim": 9}, "(the paper's configuration, but for model.hidden_dim)\n"),
        (dict.fromkeys(["model.dropout", "a", "b", "c"], 3), ", but for 4 settings)\n"),
    ]:
        shown = display(spaces={"moma": SearchSpace(architecture="moma", fixed=fixed)})
        shown.trial_started(dataclasses.replace(suggestion(0), paper=True))
        assert capsys.readouterr().err.endswith(told)


def test_of_many_trials_the_last_five_are_shown(on_a_terminal: None) -> None:
    shown = display(budget=None)
    for number in range(8):
        shown.trial_ended(record(number, "pruned"))
    for number in range(20, 40):
        shown.trial_started(suggestion(number))
    text = "\n".join(screen(shown, 80))
    ended = [line.split()[0] for line in text.splitlines() if line.endswith("12 s")]
    assert ended == ["7", "6", "5", "4", "3"]
    assert "and 8 more" in text
    assert "8 ended (8 pruned), 20 running" in text


def test_no_more_time_is_promised_than_the_budget_has(clock: Clock, on_a_terminal: None) -> None:
    shown = display(budget=100, deadline=clock.now + 90)
    shown.trial_started(suggestion(0))
    assert "1 min 30 s of the time budget left; " in " ".join(screen(shown, 200))
    clock.now += 30
    shown.trial_progressed(suggestion(0), report(1))
    assert "1 min 0 s of the time budget left; " in " ".join(screen(shown, 200))


def test_after_the_end_nothing_is_left_to_wait_for(on_a_terminal: None) -> None:
    shown = display()
    shown.trial_started(suggestion(0))
    shown.trial_progressed(suggestion(0), report(1))
    shown.__exit__()
    assert screen(shown, 80) == ["0 of 4 ended, 1 stopped half-way", "0 s so far"]


def test_a_stop_is_told_at_once(on_a_terminal: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = display()
    shown.trial_started(suggestion(0))
    monkeypatch.setattr(stopping, "is_asked", lambda: True)
    assert screen(shown, 80)[0] == "Stopping: saving the running trials …"


def test_a_measure_of_loss_is_no_percentage(on_a_terminal: None) -> None:
    shown = display(objective="nll", records={0: record(0, "complete")})
    for number, value in ((1, 1.5), (2, 0.25), (3, 0.5)):
        ended = record(number, "complete")
        ended["dev"] = {"nll": value}  # type: ignore[typeddict-item]
        shown.trial_ended(ended)
    told = screen(shown, 120)[1]
    assert "best dev Negative log-likelihood 0.2500 (trial 2 moma)" in told


def test_a_pipe_gets_ends_at_once_and_progress_now_and_then(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with display(chance=0.25) as shown:
        shown.trial_started(suggestion(0))
        for epoch in range(1, 10):
            clock.now += PLAIN_INTERVAL / 4
            shown.trial_progressed(suggestion(0), report(epoch, fold=epoch // 6, done=epoch == 9))
            shown.tell_if_due()
        shown.trial_ended(record(0, "complete", 0.5))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0] == "[00:00] trial 0 moma started"
    assert lines[1].startswith("[00:07] 0 of 4 ended, 1 running; chance 25.0 %; at most ")
    assert lines[1].endswith("left  |  0 moma fold 1/2 epoch 2/10")
    assert lines[2].endswith("left  |  0 moma fold 2/2 epoch 6/10")
    assert lines[3].startswith(
        "[00:33] trial 0 moma trained, dev UAR 50.0 % (0 epochs, 12 s)  |  "
        "1 of 4 ended (1 trained); best dev UAR 50.0 % (trial 0 moma), chance 25.0 %; about "
    )


def test_a_pipe_is_told_what_goes_on_before_any_epoch_has_ended(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with display() as shown:
        console.stage("starting the first trials")
        clock.now += FIRST_LINE
        shown.tell_if_due()
        shown.trial_started(suggestion(0, "lda"))  # fitted in closed form: no line of its own
        clock.now += FIRST_LINE
        shown.tell_if_due()
        shown.tell_if_due()
    assert capsys.readouterr().err.splitlines() == [
        "Starting the first trials …",
        "[00:05] Starting the first trials … 5 s",
        "[00:10] 0 of 4 ended, 1 running  |  0 lda starting",
    ]


def test_a_pipe_is_told_without_anything_that_happens(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serplatform.api.display.FIRST_LINE", 0.1)
    with display() as shown:
        shown.trial_started(suggestion(0, "lda"))
        deadline = time.monotonic() + 10
        while not (told := capsys.readouterr().err) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert re.fullmatch(r"\[00:0\d\] 0 of 4 ended, 1 running  \|  0 lda starting\n", told)


def test_a_trial_that_takes_longer_than_estimated_is_not_about_to_end(clock: Clock) -> None:
    shown = display(budget=1)
    shown.trial_started(suggestion(0))
    for epoch in (1, 2):
        clock.now += 2.0
        shown.trial_progressed(suggestion(0), report(epoch, folds=1))
    clock.now += 100.0
    assert shown._left() == ("longer than estimated", None)
