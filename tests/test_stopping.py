"""Signals in every phase of a command, met by programs that are stopped from outside."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from serplatform import stopping
from serplatform.cli.main import run

#: a command: what it records, and what it does until it is stopped
PROGRAM = """
import os, sys, threading, time
from serplatform import stopping
stopping.install()
stopping.PATIENCE = 1.5
{before}
stopping.begin()
stopping.on_stop("go on so", lambda: open(sys.argv[1], "w").write("interrupted"))
stopping.on_end(lambda: print("put away", file=sys.stderr, flush=True))
code = 0
try:
    {body}
except KeyboardInterrupt:
    code = 130
    stopping.farewell(lambda sentence: print(sentence, file=sys.stderr, flush=True))
stopping.leave(code)
"""
READY = "print('ready', flush=True); "
WAITS = READY + "time.sleep(60)"
#: as foreign code that does not return, and takes no notice of signals
DEAF = (
    "import ctypes, signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); "
    + READY
    + "ctypes.CDLL(None).sleep(60)"
)


@pytest.fixture
def begin(tmp_path) -> Callable[..., subprocess.Popen[str]]:
    """A function that starts a program in a group of its own and waits until it is ready."""

    def start(body: str = WAITS, before: str = "", **streams: object) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", PROGRAM.format(body=body, before=before)]
        process = subprocess.Popen(
            [*words, str(tmp_path / "status")],
            text=True,
            start_new_session=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )
        if process.stdout is not None:
            assert process.stdout.readline() == "ready\n"
        return process

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_is_acknowledged_recorded_and_ends_with_130(begin, tmp_path, number):
    process = begin()
    os.killpg(process.pid, number)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert told.splitlines() == ["Stopping ... (again to end at once)", "go on so", "put away"]
    assert (tmp_path / "status").read_text() == "interrupted"


def test_the_same_signal_twice_at_a_time_is_one(begin):
    """GNU timeout sends it to its child, and then to the child's group."""
    process = begin("stopping.on_stop('slow', lambda: time.sleep(0.8)); " + WAITS)
    for _ in range(3):
        os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert told.splitlines()[1:] == ["slow", "put away"]


def test_a_second_ctrl_c_ends_at_once(begin, tmp_path):
    slow = READY + "\n    try: time.sleep(60)\n    finally: time.sleep(60)"
    process = begin(slow, before="stopping.PATIENCE = 50")
    os.kill(process.pid, signal.SIGINT)
    time.sleep(stopping.ANOTHER + 0.5)
    begun = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert time.monotonic() - begun < 5
    assert process.returncode == 130
    assert "go on so" in told
    assert (tmp_path / "status").read_text() == "interrupted"


def test_code_that_takes_no_notice_does_not_hold_the_end_up(begin, tmp_path):
    process = begin(DEAF)
    os.kill(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert told.splitlines() == ["Stopping ... (again to end at once)", "go on so", "put away"]
    assert (tmp_path / "status").read_text() == "interrupted"


def test_an_exception_swallowed_by_foreign_code_comes_again(begin):
    swallows = READY + "\n    try: time.sleep(60)\n    except BaseException: pass\n    "
    process = begin(swallows + "stopping.on_stop('again')")
    os.kill(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "again" in told


def test_work_that_asks_for_it_is_stopped_politely(begin):
    body = (
        "asked = threading.Event()\n    with stopping.politely(asked.set):\n        "
        + READY
        + "print(asked.wait(30), file=sys.stderr)\n    raise KeyboardInterrupt"
    )
    process = begin(body)
    os.kill(process.pid, signal.SIGHUP)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert set(told.splitlines()[:2]) == {"True", "Stopping ... (again to end at once)"}
    assert told.splitlines()[2:] == ["go on so", "put away"]


def test_before_anything_began_a_signal_ends_at_once(begin, tmp_path):
    process = begin(before=WAITS)
    os.kill(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert told == "Interrupted; nothing had begun.\n"
    assert not (tmp_path / "status").exists()


def test_a_signal_after_all_is_done_changes_nothing(begin):
    at_exit = "lambda: (print('ready', flush=True), time.sleep(1))"
    process = begin(f"import atexit; atexit.register({at_exit})")
    os.kill(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (0, "")


def ignore_hangups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_a_signal_that_is_ignored_stays_so(begin):
    """``nohup``"""
    process = begin(READY + "time.sleep(1)", preexec_fn=ignore_hangups)
    os.kill(process.pid, signal.SIGHUP)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (0, "")


def test_a_terminal_that_closes_does_not_keep_the_stop_from_its_end(begin, tmp_path):
    ours, theirs = pty.openpty()
    process = begin(stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    content = b""
    while b"ready" not in content:
        assert select.select([ours], [], [], 30)[0]
        content += os.read(ours, 1000)
    os.close(ours)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(timeout=20) == 130
    assert (tmp_path / "status").read_text() == "interrupted"


def test_a_child_that_is_forked_does_not_stop_its_parent(begin):
    forks = (
        "child = os.fork()\n    if child == 0: time.sleep(60)\n    "
        "import signal; time.sleep(0.3); os.kill(child, signal.SIGTERM)\n    "
        + READY
        + "print(os.WTERMSIG(os.waitpid(child, 0)[1]), file=sys.stderr)"
    )
    process = begin(forks)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (0, f"{int(signal.SIGTERM)}\n")


def test_an_interrupted_command_says_how_to_begin_again(monkeypatch, capsys):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("serplatform.report.build.build_report", stop)
    monkeypatch.setattr(sys, "argv", ["serplatform", "report", "s3://key:word@lab/run"])
    monkeypatch.setattr("serplatform.api.write.open_copy", stop)
    assert run(["report", "s3://key:word@lab/run"]) == 130
    told = capsys.readouterr().err
    assert told == "Interrupted. Begin again with:\n  serplatform report 's3://***@lab/run'\n"
