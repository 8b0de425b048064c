"""The answer of a search, a training or an ensemble, as a terminal shows it."""

from __future__ import annotations

import io
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serplatform.report.answer import Answer

#: ranks of the leaderboard that are shown, besides the best of each architecture
MOST_RANKS = 5
#: columns of a table that is not shown on a terminal: no line of it is folded
UNFOLDED = 100_000


def describe_answer(answer: Answer) -> str:
    """The headline, the systems, what they mean, what became of the trials, the leaderboard."""
    from serplatform.report.leaderboard import BY_SPEAKER, first_shown
    from serplatform.report.wording import duration, percent_sign, whole

    lines = [answer.headline]
    if answer.rows:
        rows = [(r.label, r.uar.in_percent(), r.what) for r in answer.rows]
        look = "" if answer.look is None else f", {answer.look.short}"
        lines.append(grid(("", f"test UAR, 95 % by speaker{look}", ""), rows, left=(0, 1, 2)))
    lines += map(wrapped, [*answer.sentences, *answer.caveats, *map(str, answer.trials)])
    if answer.leaderboard:
        several = len({r.run for r in answer.leaderboard}) > 1
        tested = any(r.test for r in answer.leaderboard)
        titles = ("rank", "trial", "architecture", "dev UAR", *["test UAR"] * tested)
        board = [
            (
                str(r.rank),
                str(r.trial),
                r.name + (f" ({r.run})" if several else ""),
                percent_sign(r.dev),
                *[r.test.in_percent() if r.test else "–"] * tested,
                duration(r.seconds),
                whole(r.num_parameters),
            )
            for r in first_shown(answer.leaderboard, MOST_RANKS)
        ]
        lines.append(wrapped("Leaderboard: ranks are by dev rows alone."))
        lines.append(grid((*titles, "training", "parameters"), board, left=(2,)))
        if answer.speaker_needs:
            told = any(answer.speaker_needs in text for text in answer.caveats)
            lines.append(wrapped(BY_SPEAKER.format("see above." if told else answer.speaker_needs)))
        if len(board) < len(answer.leaderboard):
            lines.append(f"{len(answer.leaderboard) - len(board)} more are in the report.")
    return "\n".join(lines)


def wrapped(text: str) -> str:
    """Text wrapped at words where a terminal shows it."""
    if not sys.stdout.isatty():
        return text
    return textwrap.fill(text, shutil.get_terminal_size().columns, break_on_hyphens=False)


def grid(titles: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = ()) -> str:
    """A table: ruled on a terminal, in plain columns elsewhere; numbers flush right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False)
    for place, title in enumerate(titles):
        table.add_column(Text(title), justify="left" if place in left else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    width = shutil.get_terminal_size().columns if terminal else UNFOLDED
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=terminal).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines() if line.strip())
