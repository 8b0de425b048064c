"""``serplatform report RUN|ENS``: the page."""

from __future__ import annotations

from typing import Annotated

import typer

from serplatform.cli.options import AsJson, TestValues
from serplatform.cli.output import result


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|ENS",
            help="What `search --out` or `ensemble --out` wrote, path or URI.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE.html",
            help="The page, path or URI; report.html in RUN|ENS by default.",
        ),
    ] = None,
    test_values: TestValues = False,
    as_json: AsJson = False,
) -> None:
    """Write the page of a run or an ensemble: one HTML file that needs no network.

    It states what was asked, on what data, the answer with its intervals, and what it may not
    be compared with; then results, members and search in interactive plots whose data can be
    downloaded.

    Examples:

        serplatform report runs/ravdess

        serplatform report ensembles/ravdess --out page.html
    """
    from serplatform.api.write import write_report

    name, size = write_report(source, out, test_values=test_values)
    result(
        f"Wrote {name} ({size / 1e6:.1f} MB); open it in a browser.",
        {"report": name, "bytes": size},
        as_json=as_json,
    )
