"""``serplatform reproduce TABLE``: a paper's table, published next to measured."""

from __future__ import annotations

import dataclasses
import io
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from serplatform import stopping
from serplatform.cli.answer import UNFOLDED
from serplatform.cli.options import AsJson, Resources, Seed, TimeBudget
from serplatform.cli.output import result
from serplatform.console import format_duration, note, parse_duration, say

if TYPE_CHECKING:
    from serplatform.artifacts.reproduced_table import ReproducedTable
    from serplatform.distributed.tune.placement import SearchLimits
    from serplatform.papers.paper_table import PaperTable
    from serplatform.reproduce.plan import ColumnPlan, ReproduceOptions


def command(
    table: Annotated[
        str | None,
        typer.Argument(
            metavar="[TABLE]",
            help="A table by name, or a YAML file; without it, the known ones are listed.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="A prepared dataset; decides which columns are trained. May be repeated."
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Minutes, not hours: small models, few epochs, one fold."),
    ] = False,
    out: Annotated[
        str, typer.Option(help="Directory of all tables and their trainings.")
    ] = "runs/reproduce",
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings of each row; default: the table's, 1 with --quick."),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Only these rows, by name, with commas between.")
    ] = None,
    stand_in: Annotated[
        str | None,
        typer.Option(
            metavar="PROTOCOL",
            help="Run the rows on --data under this protocol in place of the paper's.",
        ),
    ] = None,
    word_vectors: Annotated[
        Path | None, typer.Option(help="GloVe text file for the rows that read words.")
    ] = None,
    time_budget: TimeBudget = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume what --out holds, on the data that it names."),
    ] = False,
    *,
    resources: Resources,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Show a table or figure of the papers, with measured numbers next to the published ones.

    What is missing is trained: every row, with every seed, on the columns whose corpus --data
    holds. What --out holds already is not trained again, whichever table it was trained for, and
    what was interrupted is resumed. The table is written as table.csv, table.json and table.html.

    Examples:

        serplatform reproduce

        serplatform reproduce vrnn-table1 --data data/ravdess

        serplatform reproduce fgcme-table1 --data data/ravdess --quick

        serplatform reproduce moma-figures --data data/ravdess --quick

        serplatform reproduce sheffield-table1 --data data/ravdess --rows blstmatt,csa-30,syscomb
    """
    if table is None:
        _list(as_json=as_json)
        return
    from serplatform.datasets.dataset import Dataset
    from serplatform.distributed.tune.placement import check_machine
    from serplatform.reproduce.plan import (
        QUICK,
        ReproduceOptions,
        load_table,
        plan_table,
        tables_folder,
    )

    limits = dataclasses.replace(
        resources.limits(time.monotonic()),
        seconds=None if time_budget is None else parse_duration(time_budget),
    )
    check_machine(limits)
    chosen = load_table(table)
    if rows is not None:
        chosen = chosen.select([name.strip() for name in rows.split(",") if name.strip()])
    options = ReproduceOptions(
        out=tables_folder(out, chosen.name),
        seeds=seeds,
        seed=seed,
        quick=quick,
        stand_in=stand_in,
        word_vectors=word_vectors,
    )
    plans = plan_table(chosen, [Dataset.open(path) for path in data or ()], options, resume=resume)
    if quick:
        say(QUICK)
    stopping.on_stop(f"Interrupted. Resume with:\n  {stopping.command()}")
    status = _train(plans, options, limits)
    _show(chosen, plans, options, as_json=as_json)
    if status == "interrupted":
        raise KeyboardInterrupt
    if status == "time":
        spent = format_duration(time.monotonic() - limits.begun)
        say(f"The time budget is spent ({spent}). Resume with:\n  {stopping.command()}")


def _list(*, as_json: bool) -> None:
    from serplatform.reproduce.plan import load_table, table_names

    tables = [load_table(name) for name in table_names()]
    values = [
        {
            "table": t.name,
            "title": t.title,
            "paper": t.paper,
            "rows": list(t.rows),
            "seeds": t.seeds,
            "columns": [
                {"corpus": c.corpus, "protocol": c.protocol, "metrics": list(c.metrics)}
                for c in t.columns.values()
            ],
            "stand_ins": dict(t.stand_ins),
        }
        for t in tables
    ]
    width = max(len(t.name) for t in tables)
    lines = []
    for t in tables:
        corpora = " and ".join(f"{c.title} ({c.protocol})" for c in t.columns.values())
        ins = f"; stand-in: {', '.join(t.stand_ins)}" if t.stand_ins else ""
        lines.append(f"{t.name:<{width}}  {t.title}")
        count = f"{len(t.rows)} row{'s' if len(t.rows) > 1 else ''}"
        lines.append(f"{'':<{width}}  {count} on {corpora}{ins}")
    lines.append("Run one with: serplatform reproduce TABLE --data DATA")
    result("\n".join(lines), {"tables": values}, as_json=as_json)


def _train(plans: Sequence[ColumnPlan], options: ReproduceOptions, limits: SearchLimits) -> str:
    """Train what the columns lack; return ``complete``, ``time`` or ``interrupted``."""
    for plan in plans:
        if plan.dataset is None:
            continue
        if limits.seconds is not None and time.monotonic() - limits.begun >= limits.seconds:
            return "time"
        status = _train_column(plan, options, limits)
        if status != "complete":
            return status
    return "complete"


def _train_column(plan: ColumnPlan, options: ReproduceOptions, limits: SearchLimits) -> str:
    from serplatform.api.display import SearchDisplay
    from serplatform.distributed.search import search
    from serplatform.reproduce.plan import open_run
    from serplatform.studies.trial_list import TrialList, assign_numbers

    configurations = plan.configurations
    run = open_run(plan, options, ["serplatform", *sys.argv[1:]])
    numbers = assign_numbers(run, configurations)
    labels = dict(zip(numbers, (c.label for c in configurations), strict=True))
    trials = TrialList(run, numbers, labels)
    stand_in = " as a stand-in" if plan.column.stand_in else ""
    say(
        f"{plan.column.title}{stand_in}, {run.plan.protocol} ({len(run.plan.folds)} fold(s)): "
        f"{trials.total - trials.num_left} of {trials.total} trainings done; run directory "
        f"{run.directory.path}"
    )
    for text in run.description["notes"]:
        note(text)
    if not trials.num_left:
        return "complete"
    records = run.directory.records()
    display = SearchDisplay(
        budget=trials.total,
        deadline=None if limits.seconds is None else limits.begun + limits.seconds,
        records={n: records[n] for n in dict.fromkeys(numbers) if n in records},
        objective="uar",
    )
    with display:
        try:
            limits = dataclasses.replace(limits, trials=trials.total)
            return search(run, limits, display, trials).status
        except KeyboardInterrupt:
            return "interrupted"


def _show(
    table: PaperTable, plans: Sequence[ColumnPlan], options: ReproduceOptions, *, as_json: bool
) -> None:
    """Write table.csv, table.json and table.html, and print the table."""
    from serplatform.artifacts.files import write_json, write_text
    from serplatform.reproduce.outcome import assemble, to_csv
    from serplatform.reproduce.page import render_table

    outcome = assemble(table, plans, options, ["serplatform", *sys.argv[1:]])
    folder = options.out / (table.name + ("-quick" if options.quick else ""))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.csv", to_csv(outcome))
    write_json(folder / "table.json", outcome)
    write_text(folder / "table.html", render_table(outcome))
    files = {kind: str(folder / f"table.{kind}") for kind in ("csv", "json", "html")}
    text = f"{describe_table(outcome)}\nWrote {', '.join(files.values())}"
    result(text, outcome | {"files": files}, as_json=as_json)


def describe_table(outcome: ReproducedTable) -> str:
    """The whole table as text for a terminal."""
    from serplatform.reproduce.page import QUOTED, column_section

    stream = io.StringIO()
    terminal = sys.stdout.isatty()
    width = max(80, shutil.get_terminal_size().columns) if terminal else UNFOLDED
    console = Console(file=stream, width=width, force_terminal=False, highlight=False)
    console.print(Text(f"{outcome['table']}: {outcome['title']}", style="bold"))
    console.print(Text(outcome["paper"]))
    if outcome["quick_note"]:
        console.print(Text(outcome["quick_note"]))
    for column in outcome["columns"]:
        section = column_section(outcome, column)
        console.print()
        console.print(Text(section.heading, style="bold"))
        console.print(_grid(section.titles, section.rows))
        if section.similarity is not None:
            names, values = section.similarity["classes"], section.similarity["values"]
            lines = [
                [name, *("–" if value is None else f"{value:.3f}" for value in line)]
                for name, line in zip(names, values, strict=True)
            ]
            console.print(_grid(["absolute cosine", *names], lines))
        for table in section.tables:
            console.print(Text(table.caption))
            console.print(_grid(table.header, table.shown()))
        for text in [*section.shows, *section.notes]:
            console.print(Text(text))
    console.print()
    console.print(Text(f"Selection: {outcome['selection']}."))
    console.print(Text(f"Measured: {outcome['statistics']}."))
    for choice in outcome["choices"]:
        console.print(Text(f"- {choice}"))
    if quoted := outcome.get("quoted"):
        console.print(Text(f"{QUOTED}: {'; '.join(quoted)}."))
    return stream.getvalue().rstrip()


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, title in enumerate(titles):
        table.add_column(Text(title), justify="right" if place else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
