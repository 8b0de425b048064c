"""What is told on stderr, and where."""

from __future__ import annotations

import itertools
import sys
import time
import types
from collections.abc import Callable

import pytest

from serplatform import console, stopping


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a kernel of IPython."""
    shell = types.SimpleNamespace(kernel=object())
    module = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", module)


@pytest.mark.parametrize(("quiet", "told"), [(None, ""), (True, ""), (False, "a\nb\n")])
def test_a_program_is_told_what_it_asks_for(
    capsys: pytest.CaptureFixture[str], quiet: bool | None, told: str
) -> None:
    with console.telling(quiet):
        console.say("a")
        console.progress("b")
        assert not console.is_live()
    assert capsys.readouterr().err == told
    console.say("a command")
    assert capsys.readouterr().err == "a command\n"


def test_a_terminal_is_told_unless_it_is_to_be_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with console.telling(None):
        assert console.is_live()
        console.say("a")
    with console.telling(True):
        assert not console.is_live()
        console.say("b")
    assert capsys.readouterr().err == "a\n"


def test_a_notebook_sees_progress_in_one_line(
    capsys: pytest.CaptureFixture[str], notebook: None
) -> None:
    with console.telling(None):
        console.progress("trial 0")
        console.progress("at 1")
        console.say("Note")
        console.progress("trial 10")
    assert capsys.readouterr().err == "\rtrial 0\rat 1   \nNote\n\rtrial 10\n"
    assert not console.is_live()


def test_a_closed_stream_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with console.telling(False):
        console.say("a")
        console.progress("b")
        assert not console.is_live()


def test_lines_keep_their_pace() -> None:
    pace = console.Pace(60.0)
    assert [pace.is_due(), pace.is_due(), pace.is_due(at_end=True), pace.is_due()] == [
        True,
        False,
        True,
        False,
    ]


def as_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")


def test_a_stage_is_a_line_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_terminal(monkeypatch)
    console.stage("starting Ray")
    console.say("meanwhile")
    assert console.stage_line() == "Starting Ray … 0 s"
    console.end_stage()
    console.say("then")
    err = capsys.readouterr().err
    assert "Starting Ray … 0 s" in err
    assert err.endswith("\x1b[2Kthen\n")  # after its line was erased
    assert console.stage_line() == ""


def test_elsewhere_a_stage_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("starting Ray", "starting Ray", "writing the page"):
        console.stage(text)
    console.end_stage()
    assert capsys.readouterr().err == "Starting Ray …\nWriting the page …\n"


def test_lines_end_between_words_and_commands_stay_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_terminal(monkeypatch)
    console.note("the choice between the trials is 25.0 % and noisy.")
    console.say("Resume with:\n  serplatform search --resume --out runs/of-a-long-name")
    assert capsys.readouterr().err.splitlines() == [
        "Note: the choice between the trials is",
        "  25.0 % and noisy.",
        "Resume with:",
        "  serplatform search --resume --out runs/of-a-long-name",
    ]


def test_the_last_message_of_a_stop_is_not_drawn_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_terminal(monkeypatch)
    given: list[Callable[[], object]] = []
    monkeypatch.setattr(stopping, "on_end", lambda stop, *, at_once: given.append(stop))
    drawn = itertools.count()
    with console.redrawn(lambda: str(next(drawn))):
        time.sleep(0.4)
        given[0]()
        times = next(drawn)
        assert times > 1
        time.sleep(0.6)  # it would be drawn every quarter of a second
        assert next(drawn) == times + 1
