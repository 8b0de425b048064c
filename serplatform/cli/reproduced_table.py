"""A reproduced table as text for a terminal."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from serplatform.report.table_page import (
    column_notes,
    difference_text,
    has_differences,
    has_numbers,
    heading,
    interval_text,
    measured_text,
    metric_title,
    published_text,
    row_notes,
    similarity_of,
)

#: of text that is not printed on a terminal
WIDTH = 140


def describe(outcome: Mapping[str, Any]) -> str:
    """The whole table in words and lines."""
    stream = io.StringIO()
    terminal = sys.stdout.isatty()
    width = max(80, shutil.get_terminal_size((WIDTH, 24)).columns) if terminal else WIDTH
    console = Console(file=stream, width=width, force_terminal=False, highlight=False)
    console.print(Text(f"{outcome['table']}: {outcome['title']}", style="bold"))
    console.print(Text(outcome["paper"]))
    if outcome["quick"]:
        console.print(Text(outcome["quick_note"]))
    for column in outcome["columns"]:
        console.print()
        console.print(Text(heading(outcome, column), style="bold"))
        console.print(_table(outcome, column))
        alike = similarity_of(outcome, column)
        if alike is not None:
            console.print(_similarities(alike))
        for note in [*row_notes(outcome, column), *column_notes(outcome, column)]:
            console.print(Text(note))
    console.print()
    console.print(Text(f"Selection: {outcome['selection']}."))
    console.print(Text(f"Measured: {outcome['statistics']}."))
    for choice in outcome["choices"]:
        console.print(Text(f"- {choice}"))
    return stream.getvalue().rstrip()


def _table(outcome: Mapping[str, Any], column: Mapping[str, Any]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    compared = not column["stand_in"]
    cells = [row["cells"][column["name"]] for row in outcome["rows"]]
    numbers = has_numbers(outcome, column)
    differences = has_differences(outcome, column)
    table.add_column("row")
    for metric in column["metrics"]:
        title = metric_title(metric)
        if compared:
            table.add_column(f"{title}\npublished", justify="right")
        table.add_column("measured" if compared else f"{title}\nmeasured", justify="right")
        if numbers:
            table.add_column("95 % interval", justify="right")
        if differences:
            table.add_column("difference", justify="right")
    if numbers:
        table.add_column("seeds", justify="right")
    for row, cell in zip(outcome["rows"], cells, strict=True):
        texts = [row["label"]]
        for metric in column["metrics"]:
            if compared:
                texts.append(published_text(cell, metric))
            texts.append(measured_text(cell, metric))
            if numbers:
                texts.append(interval_text(cell, metric))
            if differences:
                texts.append(difference_text(cell, metric))
        if numbers:
            texts.append(str(cell["seeds"] or ""))
        table.add_row(*(Text(text) for text in texts))
    return table


def _similarities(alike: Mapping[str, Any]) -> Table:
    """Absolute cosines of the mean samplings of two classes."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("absolute cosine")
    for name in alike["classes"]:
        table.add_column(name, justify="right")
    for name, line in zip(alike["classes"], alike["values"], strict=True):
        table.add_row(name, *("–" if value is None else f"{value:.3f}" for value in line))
    return table
