"""What is told on stderr, and where."""

from __future__ import annotations

import sys
import types

import pytest

from serplatform import console


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
