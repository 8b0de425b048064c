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

from serplatform.report.table_page import column_section

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
        section = column_section(outcome, column)
        console.print()
        console.print(Text(section["heading"], style="bold"))
        console.print(_table(section))
        if section["similarity"] is not None:
            console.print(_similarities(section["similarity"]))
        for note in section["notes"]:
            console.print(Text(note))
    console.print()
    console.print(Text(f"Selection: {outcome['selection']}."))
    console.print(Text(f"Measured: {outcome['statistics']}."))
    for choice in outcome["choices"]:
        console.print(Text(f"- {choice}"))
    return stream.getvalue().rstrip()


def _table(section: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    compared = section["compared"]
    shown = {"published": compared, "measured": True, "interval": section["numbers"]}
    shown["difference"] = section["differences"]
    kinds = [kind for kind, wanted in shown.items() if wanted]
    table.add_column("row")
    for title in section["metrics"]:
        titles = {"published": f"{title}\npublished", "interval": "95 % interval"}
        titles["measured"] = "measured" if compared else f"{title}\nmeasured"
        for kind in kinds:
            table.add_column(titles.get(kind, kind), justify="right")
    if section["numbers"]:
        table.add_column("seeds", justify="right")
    for row in section["rows"]:
        texts = [row["label"], *(cell[kind] for cell in row["cells"] for kind in kinds)]
        if section["numbers"]:
            texts.append(str(row["seeds"]))
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
