"""``serplatform report RUN|ENS``: the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serplatform.cli.output import result


def command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|ENS",
            help="What `search --out` or `ensemble --out` wrote.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE.html", help="The page; report.html in RUN|ENS by default."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on the last line.")
    ] = False,
) -> None:
    """Write the page of a run or an ensemble: one HTML file that needs no network.

    It states what was asked, on what data, the answer with its intervals, and what it may not
    be compared with; then results, members and search in interactive plots whose data can be
    downloaded.

    Examples:

        serplatform report runs/ravdess

        serplatform report ensembles/ravdess --out page.html
    """
    from serplatform.report.build import build_report

    page = build_report(source, out)
    size = page.stat().st_size
    result(
        f"Wrote {page} ({size / 1e6:.1f} MB); open it in a browser.",
        {"report": str(page), "bytes": size},
        as_json=as_json,
    )
