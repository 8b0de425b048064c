"""``serplatform runs [DIR]``: what has been searched and combined, and how to go on."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from serplatform.cli.options import AsJson
from serplatform.cli.output import result
from serplatform.console import format_duration, percent

if TYPE_CHECKING:
    from serplatform.api.runs import RunRow

_NAMED = 3  # architectures that are listed by name


def command(
    directory: Annotated[
        str, typer.Argument(metavar="[DIR]", help="Where they lie, path or URI.")
    ] = "runs",
    as_json: AsJson = False,
) -> None:
    """List the runs and ensembles below a directory, newest first.

    Examples:

        serplatform runs

        serplatform runs experiments --json
    """
    from serplatform.api.runs import list_runs

    rows = list_runs(directory)
    text = "\n".join(map(describe, rows)) or f"No run and no ensemble lies below {directory}."
    result(text, {"runs": rows}, as_json=as_json)


def describe(row: RunRow) -> str:
    """A run in some lines."""
    age = ""
    if row["time"] is not None:
        moment = datetime.datetime.fromisoformat(row["time"])
        passed = max(0.0, (datetime.datetime.now(datetime.UTC) - moment).total_seconds())
        days = int(passed // 86400)
        age = f", {f'{days} d' if days else format_duration(passed)} ago"
    lines = [f"{row['path']}: {' '.join(filter(None, [row['kind'], row['status']]))}{age}"]
    if row["fault"] is not None:
        return f"{lines[0]}\n    {row['fault']}"
    names = row["architectures"]
    systems = ", ".join(names) if len(names) <= _NAMED else f"{len(names)} systems"
    lines.append(f"    {row['data']}, {row['protocol']}; {systems}")
    named = ("trained", "pruned", "failed", "cut_off")
    counts = [f"{row[name]} {name.replace('_', ' ')}" for name in named if row[name]]  # type: ignore[literal-required]
    asked = "" if row["asked"] is None else f"{row['asked']} asked: "
    lines.append(f"    {asked}{', '.join(counts) or 'none has ended'}")
    numbers = []
    if row["best_dev"] is not None:
        from serplatform.report.wording import in_percent

        metric, value = row["metric"], row["best_dev"]
        shown = percent(value) if in_percent(metric) else f"{value:.3f}"
        numbers.append(f"best dev {'UAR' if metric == 'uar' else metric} {shown}")
    if row["test_uar"] is not None:
        interval = ""
        if row["low"] is not None and row["high"] is not None:
            interval = f" ({100 * row['low']:.1f}–{100 * row['high']:.1f})"
        from serplatform.artifacts.looks import LookCount

        count = None if row["look"] is None else LookCount(row["look"], row["looks"] or row["look"])
        look = "" if count is None else f", {count.short}"
        numbers.append(f"test UAR of the ensemble {percent(row['test_uar'])}{interval}{look}")
    if row["sealed"] and numbers:
        from serplatform.artifacts.looks import SEALED

        numbers.append(SEALED)
    if numbers and row["chance"] is not None:
        lines.append(f"    {', '.join(numbers)}, chance {percent(row['chance'])}")
    return "\n".join([*lines, *([f"    {row['next']}"] if row["next"] else [])])
