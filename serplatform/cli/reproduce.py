"""``serplatform reproduce TABLE``: a paper's table, published beside measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serplatform import stopping
from serplatform.cli.options import (
    Address,
    AsJson,
    Concurrent,
    GpusPerTrial,
    Seed,
    TimeBudget,
    Workers,
)
from serplatform.cli.output import format_duration, parse_duration, result, say
from serplatform.errors import BadInputError

if TYPE_CHECKING:
    from serplatform.reproduce.plan import Wishes, Work


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
        typer.Option("--resume", help="Go on with what --out holds, on the data that it names."),
    ] = False,
    workers: Workers = 1,
    gpus_per_trial: GpusPerTrial = None,
    concurrent: Concurrent = None,
    seed: Seed = 0,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Show a table of the papers with measured numbers beside the published ones.

    What is missing is trained: every row, with every seed, on the columns whose corpus --data
    holds. What --out holds already is not trained again, whichever table it was trained for, and
    what was interrupted goes on. The table is written as table.csv, table.json and table.html.

    Examples:

        serplatform reproduce

        serplatform reproduce vrnn-table1 --data data/ravdess

        serplatform reproduce fgcme-table1 --data data/ravdess --quick

        serplatform reproduce sheffield-table1 --data data/ravdess --rows blstmatt,csa-30,syscomb
    """
    from serplatform.reproduce.table import load_table

    if table is None:
        _list(as_json=as_json)
        return
    begun = time.monotonic()
    seconds = parse_duration(time_budget) if time_budget is not None else None
    chosen = load_table(table)
    if rows is not None:
        chosen = chosen.select([name.strip() for name in rows.split(",") if name.strip()])
    from serplatform.datasets.dataset import Dataset
    from serplatform.reproduce.plan import Wishes, plan_table, tables_folder

    folder = tables_folder(out, chosen.name)
    if word_vectors is not None and not word_vectors.is_file():
        raise BadInputError(f"--word-vectors {word_vectors}: no such file")
    wishes = Wishes(
        out=folder,
        seeds=seeds,
        seed=seed,
        quick=quick,
        stand_in=stand_in,
        word_vectors=word_vectors,
    )
    datasets = [Dataset.open(path) for path in data or ()]
    works = plan_table(chosen, datasets, wishes, resume=resume)
    if resume and not any(work.dataset for work in works):
        raise BadInputError(
            f"--resume: {out} holds no trainings of {chosen.name} whose data is still there; give "
            "--data"
        )
    if quick:
        from serplatform.reproduce.plan import QUICK

        say(QUICK)
    stopping.on_stop(f"Interrupted. Go on with:\n  {stopping.command()}")
    status = "complete"
    for work in works:
        if work.dataset is None or status != "complete":
            continue
        if seconds is not None and time.monotonic() - begun >= seconds:
            status = "time"
            continue
        status = _train(
            work,
            wishes,
            begun=begun,
            seconds=seconds,
            workers=workers,
            gpus_per_trial=gpus_per_trial,
            concurrent=concurrent,
            address=address,
        )
    _show(chosen, works, wishes, as_json=as_json)
    if status == "interrupted":
        raise KeyboardInterrupt
    if status == "time":
        spent = format_duration(time.monotonic() - begun)
        say(f"The time budget is spent ({spent}). Go on with:\n  {stopping.command()}")


def _list(*, as_json: bool) -> None:
    from serplatform.reproduce.table import load_table, table_names

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


def _train(
    work: Work, wishes: Wishes, *, begun: float, seconds: float | None, **limits: Any
) -> str:
    """Train what a column lacks; return ``complete``, ``time`` or ``interrupted``."""
    from serplatform.api.search_display import SearchDisplay
    from serplatform.distributed.search import SearchLimits, search
    from serplatform.reproduce.plan import open_run
    from serplatform.search.trial_list import TrialList, assign_numbers

    configurations = work.configurations
    run = open_run(work, wishes, ["serplatform", *sys.argv[1:]])
    numbers = assign_numbers(run, configurations)
    labels = dict(zip(numbers, (c.label for c in configurations), strict=True))
    roster = TrialList(run, numbers, labels)
    stand_in = " as a stand-in" if work.column.stand_in else ""
    say(
        f"{work.column.title}{stand_in}, {run.plan.protocol} ({len(run.plan.folds)} fold(s)): "
        f"{roster.total - roster.num_left} of {roster.total} trainings done; run directory "
        f"{run.directory.path}"
    )
    for note in run.description["notes"]:
        say(f"Note: {note}")
    if not roster.num_left:
        return "complete"
    records = run.directory.records()
    display = SearchDisplay(
        budget=roster.total,
        deadline=None if seconds is None else begun + seconds,
        records={n: records[n] for n in dict.fromkeys(numbers) if n in records},
        objective="uar",
    )
    with display:
        try:
            outcome = search(
                run,
                SearchLimits(trials=roster.total, seconds=seconds, begun=begun, **limits),
                display,
                roster,
            )
        except KeyboardInterrupt:
            return "interrupted"
    return str(outcome.status)


def _show(table: Any, works: Sequence[Work], wishes: Wishes, *, as_json: bool) -> None:
    """Write table.csv, table.json and table.html, and print the table."""
    from serplatform.artifacts.files import write_json, write_text
    from serplatform.cli.reproduced_table import describe
    from serplatform.report.table_page import render_table
    from serplatform.reproduce.outcome import assemble, to_csv

    outcome = assemble(table, works, wishes, ["serplatform", *sys.argv[1:]])
    folder = wishes.out / (table.name + ("-quick" if wishes.quick else ""))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.csv", to_csv(outcome))
    write_json(folder / "table.json", outcome)
    write_text(folder / "table.html", render_table(outcome))
    files = {kind: str(folder / f"table.{kind}") for kind in ("csv", "json", "html")}
    text = f"{describe(outcome)}\nWrote {', '.join(files.values())}"
    result(text, outcome | {"files": files}, as_json=as_json)
