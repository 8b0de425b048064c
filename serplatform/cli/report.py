"""``serplatform report RUN|ENS``: the page."""

from __future__ import annotations

from typing import Annotated

import typer

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
    from serplatform.storage.destination import check_file
    from serplatform.storage.mirror import open_copy, publish, shown
    from serplatform.storage.outgoing import written_file

    if out is not None:
        check_file(out, what="an HTML page")
    path = open_copy(source)
    if out is None and path.is_dir():
        check_file(path / "report.html", what="an HTML page")
    with written_file(path / "report.html" if out is None else out) as target:
        page = build_report(path, target)
        size = page.stat().st_size
    publish(path)
    name = shown(page) if out is None else out
    result(
        f"Wrote {name} ({size / 1e6:.1f} MB); open it in a browser.",
        {"report": name, "bytes": size},
        as_json=as_json,
    )
