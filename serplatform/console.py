"""What a user is told while work goes on, on stderr: sentences, stages, progress, durations.

A command tells everything. A call from Python tells it on a terminal and in a notebook, unless it
is asked to be quiet; see :func:`telling`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from serplatform import stopping
from serplatform.errors import BadInputError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

#: a note of more characters is told by its first sentence; so is one whose sentence is longer
_LONGEST_NOTE = 200


class _Console:
    """The state of stderr: whether it is written to, the width of a line left open, what is being
    done now and since when, when it was last written to, and what is redrawn there."""

    silent = False
    open_line = 0
    stage = ""
    stage_begun = 0.0
    last_line = float("-inf")
    live: Live | None = None
    spinner: contextlib.ExitStack | None = None


_console = _Console()


def in_notebook() -> bool:
    """Whether this is a notebook's kernel, which shows stderr below the cell."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def is_live() -> bool:
    """Whether messages go to a terminal on which lines can be redrawn."""
    dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    return _is_terminal() and not dumb and not _console.silent


@contextlib.contextmanager
def telling(quiet: bool | None) -> Iterator[None]:
    """Tell what happens inside, or nothing.

    Args:
        quiet: tell nothing; None: unless stderr is a terminal or this is a notebook.
    """
    before = _console.silent
    seen = in_notebook() or _is_terminal()
    _console.silent = not seen if quiet is None else quiet
    try:
        yield
    finally:
        end_stage()
        _end_line()
        _console.silent = before


def say(text: str) -> None:
    """Tell the user something that is not the result, unless the command was asked to stop.

    On a terminal lines end between words; one that begins with two spaces is a command, to be
    copied whole.
    """
    stopping.check()
    if not _console.silent:
        _end_line()
        _write("\n".join(map(_folded, text.splitlines())) if _is_terminal() else text)


def note(text: str) -> None:
    """Tell a note of a run: a long one by its first sentence, since the page has the whole."""
    say(f"Note: {shortened(text)}")


def shortened(text: str) -> str:
    """A note as the terminal has it.

    Example:
        >>> shortened("It is short. It stays.")
        'It is short. It stays.'
        >>> shortened("It is long. " + 200 * "X")
        'It is long. (more on the page)'
    """
    if len(text) <= _LONGEST_NOTE:
        return text
    first = re.split(r"(?<!e\.g\.)(?<!i\.e\.)(?<=[.:;])\s+(?=[A-Z])", text, maxsplit=1)[0]
    return f"{textwrap.shorten(first, _LONGEST_NOTE, placeholder=' …')} (more on the page)"


def stage(text: str) -> None:
    """Tell what is done from now on, for example "starting Ray", until the next stage.

    On a terminal it is a line with the seconds so far, which :func:`end_stage` takes away.
    """
    stopping.check()
    text = text[:1].upper() + text[1:]
    if _console.silent or text == _console.stage:
        return
    _console.stage, _console.stage_begun = text, time.monotonic()
    if not is_live():
        say(f"{text} …")
    elif _console.live is None:
        from rich.spinner import Spinner

        ascii_only = not (sys.stderr.encoding or "").lower().startswith("utf")
        spinner = Spinner("line" if ascii_only else "dots")

        def render() -> RenderableType:
            spinner.update(text=stage_line())
            return spinner

        spinning = contextlib.ExitStack()
        spinning.enter_context(redrawn(render, transient=True))
        _console.spinner = spinning


def stage_line() -> str:
    """What is being done now and for how long; empty where nothing is told."""
    seconds = time.monotonic() - _console.stage_begun
    return f"{_console.stage} … {format_duration(seconds)}" if _console.stage else ""


def end_stage() -> None:
    """What :func:`stage` told is done; what comes next is told otherwise."""
    _console.stage = ""
    _end_spinner()


def _end_spinner() -> None:
    if _console.spinner is not None:
        spinner, _console.spinner = _console.spinner, None
        spinner.close()


@contextlib.contextmanager
def redrawn(render: Callable[[], RenderableType], *, transient: bool = False) -> Iterator[None]:
    """Draw on the terminal, again and again, what ``render`` gives, below all that is told.

    Args:
        render: gives what is to be seen now, with :func:`stage_line` somewhere in it.
        transient: take it away at the end.
    """
    from rich.console import Console
    from rich.live import Live

    _end_spinner()  # its stage goes on, shown by `render`
    live = Live(
        console=Console(stderr=True),
        get_renderable=render,
        refresh_per_second=4,
        transient=transient,
        redirect_stdout=False,
    )

    def stop_drawing() -> None:  # the main thread may be anywhere
        stopper = threading.Thread(target=live.stop, daemon=True)
        stopper.start()
        stopper.join(0.5)  # a terminal that is held writes nothing

    stopping.on_end(stop_drawing, at_once=True)
    with live:
        _console.live = live
        try:
            yield
        finally:
            _console.live = None
            stopping.not_on_end(stop_drawing)


def progress(text: str) -> None:
    """Tell how far the work is: in a notebook in place of what was told last."""
    if _console.silent:
        return
    end = "\n"
    if in_notebook():
        width, _console.open_line = _console.open_line, len(text)
        text, end = f"\r{text:<{width}}", ""
    _write(text, end)


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _folded(line: str) -> str:
    """A line of at most the terminal's width, unless a single word or a command is longer."""
    if line.startswith("  "):
        return line
    return textwrap.fill(
        line.replace(" %", "\u00a0%"),  # which textwrap does not take for a space
        max(20, shutil.get_terminal_size().columns - 1),
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\u00a0%", " %")


def last_line() -> float:
    """``time.monotonic()`` when something was told last; minus infinity before that."""
    return _console.last_line


def _write(text: str, end: str = "\n") -> None:
    _console.last_line = time.monotonic()
    if _console.live is not None:
        from rich.text import Text

        _console.live.console.print(Text(text), soft_wrap=True)
    elif sys.stderr is not None:
        with contextlib.suppress(OSError):  # nobody reads it
            print(text + end, end="", file=sys.stderr, flush=True)  # noqa: T201 - threads tell, too


def _end_line() -> None:
    if _console.open_line:
        _console.open_line = 0
        _write("")


class Pace:
    """Says when it is time for the next line of progress.

    Args:
        seconds: between two lines at least.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = float("-inf")

    def is_due(self, *, at_end: bool = False) -> bool:
        """Whether a line may be told now; the last one always may."""
        due = at_end or time.monotonic() - self._last >= self._seconds
        if due:
            self._last = time.monotonic()
        return due


def parse_duration(text: str) -> float:
    """Read ``90``, ``90s``, ``15m``, ``2h`` or ``1h30m`` as seconds.

    Raises:
        BadInputError: it is none of these, or not positive.

    Example:
        >>> parse_duration("1h30m")
        5400.0
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text)
    parts = [float(part) if part else 0.0 for part in match.groups()] if match and text else [0.0]
    seconds = sum(p * f for p, f in zip(parts, (3600.0, 60.0, 1.0), strict=False))
    if seconds <= 0:
        raise BadInputError(f"'{text}' is not a duration; write e.g. 90s, 15m, 2h or 1h30m")
    return seconds


def parse_timeout(text: str | None) -> float | None:
    """Seconds that an epoch may take: a duration, 0 for `never`, None where nothing is said."""
    if text is None:
        return None
    return 0.0 if text == "never" else parse_duration(text)


def percent(value: float) -> str:
    """Write a proportion for people.

    Example:
        >>> percent(0.5238)
        '52.4 %'
    """
    return f"{100 * value:.1f} %"


def format_duration(seconds: float) -> str:
    """Write seconds for people.

    Example:
        >>> format_duration(8), format_duration(95), format_duration(3720)
        ('8 s', '1 min 35 s', '1 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
