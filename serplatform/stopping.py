"""Requests to end this process, Ctrl-C, TERM and HUP, are handled here alone, in every phase.

A signal raises ``KeyboardInterrupt`` in the main thread, or asks what runs there to stop
(:func:`politely`). A thread sees it at once, also while the main thread waits in foreign code: it
acknowledges the signal, and ends the process itself at a second Ctrl-C or after :data:`PATIENCE`,
as a kill would. Every file is written so that this damages nothing, and Ray's processes end with
their driver. Code that starts work says by :func:`on_stop` what a stop records and prints.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from serplatform.errors import InterruptedRunError

#: exit code of a stopped command
CODE = InterruptedRunError.exit_code

#: seconds in which a command stops by itself; schedulers kill soon after their first signal
PATIENCE = 6.0

#: Seconds after which a signal is another one: GNU timeout sends each to its child and then to the
#: child's group, a shell that ends sends HUP after the terminal has.
ANOTHER = 0.4

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop:
    """What this process knows of its end."""

    def __init__(self) -> None:
        self.installed = False
        self.inside = False  # a call from Python
        self.at_once = False
        self.terminals: list[int] = []
        self.asked = False
        self.swallowed = False
        self.acknowledged = threading.Event()
        self.ends: list[Callable[[], object]] = []
        self.spoilers: list[Callable[[], object]] = []
        self.ask: Callable[[], None] | None = None
        self.doing = ""
        self.new_work()

    def new_work(self) -> None:
        self.code = CODE
        self.sentence: str | Callable[[], str] | None = None
        self.record: Callable[[], object] | None = None
        self.farewell = threading.Lock()
        self.told = threading.Event()


_stop = _Stop()


def fill_closed_streams() -> None:
    """Open closed standard streams on nothing; the next file would take their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number


def install() -> None:
    """Handle signals from now on; until :func:`begin`, one ends the process at once.

    A signal that is ignored (HUP under ``nohup``, INT of a script's background) stays so.
    """
    fill_closed_streams()
    _stop.at_once = True
    _stop.sentence = "Interrupted; nothing had begun."
    _stop.terminals = [number for number in (1, 2) if os.isatty(number)]
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    threading.Thread(target=_listen, args=(ours,), name="signals", daemon=True).start()
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)
    sys.unraisablehook = _raise_again
    _stop.installed = True


def is_command() -> bool:
    """Whether this process is a command, and no program of somebody else that calls us."""
    return _stop.installed


def is_asked() -> bool:
    """Whether the process was asked to end."""
    return _stop.asked


@contextlib.contextmanager
def interruptible(tell: Callable[[str], object]) -> Iterator[None]:
    """Meet Ctrl-C inside as a command does, in a program that calls us from Python.

    Work that can stops by itself at the first Ctrl-C; at a second, wherever it is. What a stop
    records and tells is seen to, and ``KeyboardInterrupt`` reaches the caller, whose own handler
    is in place again. Threads other than the main one meet no signals, and a command has
    handlers of its own: nothing is done for these.

    Args:
        tell: is given the sentence that says how to resume.
    """
    if _stop.installed or not _is_main_thread() or _stop.inside:
        yield
        return

    def handle(number: int, frame: object) -> None:
        again, _stop.asked = _stop.asked, True
        if again or _stop.ask is None:
            raise KeyboardInterrupt
        _stop.ask()

    begin()
    _stop.inside, _stop.sentence = True, "Interrupted."
    before = signal.getsignal(signal.SIGINT)
    ours = before is not None and before is not signal.SIG_IGN
    if ours:
        signal.signal(signal.SIGINT, handle)
    try:
        yield
    except BaseException as error:
        if not (_stop.asked or isinstance(error, (KeyboardInterrupt, InterruptedRunError))):
            raise
        farewell(tell)
        raise KeyboardInterrupt from error  # whatever a stop became on its way
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)
        _stop.asked = _stop.inside = False
        begin()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def begin() -> None:
    """Begin a command: from now on there may be something to clean up before the end."""
    _stop.new_work()
    _stop.at_once = False


def on_stop(
    sentence: str | Callable[[], str] | None = None, record: Callable[[], object] | None = None
) -> None:
    """Say what a stop prints and records from now on.

    Args:
        sentence: with the command that resumes, or what gives it then; None: as before.
        record: writes down that the work was stopped; None: as before.
    """
    if not _is_main_thread():
        return
    _stop.sentence = sentence or _stop.sentence
    _stop.record = record or _stop.record
    check()


def check() -> None:
    """Stop here where a stop was asked for and foreign code has swallowed the exception.

    Raises:
        KeyboardInterrupt: in the main thread, unless the stop is being reported already.
    """
    waiting = _stop.asked and _stop.ask is None and not _stop.farewell.locked()
    if waiting and _is_main_thread():
        raise KeyboardInterrupt


@contextlib.contextmanager
def recording(record: Callable[[], object]) -> Iterator[None]:
    """Have a stop that cannot wait record this, unless the code inside has done so itself."""
    if not _is_main_thread():
        yield
        return
    before, _stop.record = _stop.record, record
    try:
        yield
    finally:
        _stop.record = before


@contextlib.contextmanager
def politely(ask: Callable[[], None], doing: str = "") -> Iterator[None]:
    """Have ``ask`` called by a signal, instead of an exception anywhere in what runs inside.

    Args:
        ask: asks the work inside to stop.
        doing: what the work then does, which the user is told at once.
    """
    if not _is_main_thread():
        yield
        return
    _stop.ask, _stop.doing = ask, doing
    try:
        if _stop.asked:
            ask()
        yield
    finally:
        _stop.ask, _stop.doing = None, ""


def farewell(tell: Callable[[str], object]) -> None:
    """Record the stop and report it, once."""
    if not _stop.farewell.acquire(blocking=False):
        _stop.told.wait(2.0)
        return
    if _stop.installed and _stop.asked:
        _stop.acknowledged.wait(1.0)  # first things first, and a closed terminal is let go of
    try:
        if _stop.record is not None:
            with contextlib.suppress(OSError):  # what stopped the work may stop this too
                _stop.record()
        with contextlib.suppress(OSError):  # nobody reads it
            sentence = _stop.sentence() if callable(_stop.sentence) else _stop.sentence
            tell(sentence or f"Interrupted. Begin again with:\n  {command()}")
    finally:
        _stop.told.set()


def on_end(put_away: Callable[[], object], *, at_once: bool = False) -> None:
    """Have something cleaned up before a stop ends the process; Python's ``atexit`` and the end of
    its interpreter would take too long.

    Args:
        put_away: cleans up.
        at_once: before the last message, which it would spoil.
    """
    (_stop.spoilers if at_once else _stop.ends).append(put_away)


def not_on_end(put_away: Callable[[], object]) -> None:
    """Take back what was given to :func:`on_end`: it is put away already."""
    for given in (_stop.spoilers, _stop.ends):
        with contextlib.suppress(ValueError):
            given.remove(put_away)


def leave(code: int) -> NoReturn:
    """End the process, when nothing is left to do; signals no longer change its exit code."""
    was_asked, _stop.asked = _stop.asked, True
    _stop.code = code
    _stop.told.set()
    _stop.farewell.acquire(blocking=False)
    if was_asked:
        _end_at_once()
    # As Python ends, but for its last step: threads that libraries began in C++ abort the process
    # where they meet an interpreter that is being taken down.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
            if stream is not None:
                stream.flush()
    os._exit(code)


def command() -> str:
    """The command line of this process, without secrets."""
    from serplatform.storage.location import redact

    return shlex.join(["serplatform", *map(redact, sys.argv[1:])])


def _handle(number: int, frame: object) -> None:
    """In the main thread, between two steps of the interpreter."""
    if _stop.at_once:
        _end_at_once()
    if _stop.asked and not _stop.swallowed:
        return  # it is stopping already
    _stop.asked, _stop.swallowed = True, False
    if _stop.ask is None:
        raise KeyboardInterrupt
    _stop.ask()


def _raise_again(lost: sys.UnraisableHookArgs) -> None:
    """Where a signal's exception fell into a finalizer, which lets none out, raise it once more."""
    if not _stop.asked or not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    _stop.swallowed = True
    timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()


def _listen(pipe: int) -> None:
    """Read the numbers of the signals as they come, in a thread of its own."""
    first: float | None = None
    while True:
        for number in os.read(pipe, 64):
            if number not in _SIGNALS:
                continue
            if first is None:
                first = time.monotonic()
                _let_go_of_closed_terminals()
                if _stop.at_once:
                    _end_at_once()
                timer = threading.Timer(PATIENCE, _end_at_once)
                timer.daemon = True
                timer.start()
                if not _stop.told.is_set():
                    _acknowledge()
                _stop.acknowledged.set()
            elif number == signal.SIGINT and time.monotonic() - first > ANOTHER:
                _end_at_once()


def _end_at_once() -> NoReturn:
    """End this process as a kill would, after its last message."""
    try:
        for put_away in list(_stop.spoilers):
            put_away()
        farewell(lambda sentence: os.write(2, f"{sentence}\n".encode()))
        for put_away in _stop.ends:
            put_away()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    finally:
        os._exit(_stop.code)


def _acknowledge() -> None:
    try:
        if sys.stderr is not None:  # a live display takes its place there
            text = f"Stopping ... {_stop.doing} (again to end at once)".replace("  ", " ")
            print(text, file=sys.stderr, flush=True)  # noqa: T201
    except OSError:  # nobody reads it: what else is said must not stop the stop
        _to_nowhere(2)


def _let_go_of_closed_terminals() -> None:
    for number in _stop.terminals:
        if not os.isatty(number):
            _to_nowhere(number)


def _to_nowhere(number: int) -> None:
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


def _forget() -> None:
    """A fork of this process handles signals as Python does."""
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_DFL)
