"""What a user is told while work goes on, on stderr: sentences, progress, durations.

A command tells everything. A call from Python tells it on a terminal and in a notebook, unless it
is asked to be quiet; see :func:`telling`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator

from serplatform import stopping
from serplatform.errors import BadInputError


class _Console:
    """The state of stderr: whether it is written to, and the width of a line left open."""

    silent = False
    open_line = 0


_console = _Console()


def in_notebook() -> bool:
    """Whether this is a notebook's kernel, which shows stderr below the cell."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def is_live() -> bool:
    """Whether messages go to a terminal on which lines can be redrawn."""
    dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    seen = sys.stderr is not None and sys.stderr.isatty()
    return seen and not dumb and not _console.silent


@contextlib.contextmanager
def telling(quiet: bool | None) -> Iterator[None]:
    """Tell what happens inside, or nothing.

    Args:
        quiet: tell nothing; None: unless stderr is a terminal or this is a notebook.
    """
    before = _console.silent
    seen = in_notebook() or (sys.stderr is not None and sys.stderr.isatty())
    _console.silent = not seen if quiet is None else quiet
    try:
        yield
    finally:
        _end_line()
        _console.silent = before


def say(text: str) -> None:
    """Tell the user something that is not the result, unless the command was asked to stop."""
    stopping.check()
    if not _console.silent:
        _end_line()
        _write(text)


def progress(text: str) -> None:
    """Tell how far the work is: in a notebook in place of what was told last."""
    if _console.silent:
        return
    end = "\n"
    if in_notebook():
        width, _console.open_line = _console.open_line, len(text)
        text, end = f"\r{text:<{width}}", ""
    _write(text, end)


def _write(text: str, end: str = "\n") -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # nobody reads it
            print(text, end=end, file=sys.stderr, flush=True)  # noqa: T201


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
