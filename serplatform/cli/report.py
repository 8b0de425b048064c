"""``serplatform report RUN|ENS...``: the page, its figures and tables; runs compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypedDict

import typer

from serplatform.cli.options import AsJson, TestValues
from serplatform.cli.output import result
from serplatform.errors import BadInputError


class Asked(TypedDict):
    """What page, figures and tables show on request."""

    test_values: bool
    evaluations: Sequence[str]
    fairness: bool


def command(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|ENS...",
            help="What `search --out` or `ensemble --out` wrote, path or URI; several are "
            "compared.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE.html",
            help="The page, path or URI; report.html in a single RUN|ENS by default.",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures", metavar="DIR", help="Write every figure for a paper, 88 or 180 mm wide."
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option("--format", metavar="LIST", help="Of the figures: svg, pdf, png."),
    ] = "svg,pdf",
    tables: Annotated[
        Path | None,
        typer.Option(
            "--tables", metavar="DIR", help="Write every table as LaTeX (booktabs) and Markdown."
        ),
    ] = None,
    evaluation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.json",
            help="What `evaluate --out` wrote of this run or ensemble: a section of the page. May "
            "be repeated.",
        ),
    ] = None,
    fairness: Annotated[
        bool,
        typer.Option(
            "--fairness",
            help="Recall on test rows by gender and speaker, and the largest gap with a "
            "permutation test.",
        ),
    ] = False,
    test_values: TestValues = False,
    as_json: AsJson = False,
) -> None:
    """Write the page of a run or an ensemble: one HTML file that needs no network.

    It opens with the answer and its interval, the trials by rank, and which emotions are confused;
    results, members, search and limits follow in sections that open. With `--figures` or `--tables`
    these are written for a paper instead, and the page only with `--out`. Several runs are
    compared on one page, and tested against each other where their test rows are the same.

    Examples:

        serplatform report runs/ravdess

        serplatform report runs/ravdess --figures paper/figures --tables paper/tables

        serplatform report runs/ravdess --evaluation emodb.json --fairness

        serplatform report runs/first runs/second --out compare.html
    """
    from serplatform.api.write import write_comparison, write_paper, write_report

    if len(sources) > 1:
        if out is None or figures or tables or test_values or evaluation or fairness:
            raise BadInputError(
                "several runs are compared on a page of their own: give --out FILE.html, and none "
                "of --figures, --tables, --evaluation, --fairness and --test-values"
            )
        pairs = write_comparison(sources, out)
        text = "\n".join([*pairs, f"Wrote {out}; open it in a browser."])
        result(text, {"report": out, "pairs": pairs}, as_json=as_json)
        return
    (source,) = sources
    asked: Asked = {
        "test_values": test_values,
        "evaluations": evaluation or (),
        "fairness": fairness,
    }
    told: list[str] = []
    values: dict[str, object] = {}
    if figures is not None or tables is not None:
        values["paper"] = written = write_paper(source, figures, tables, formats=formats, **asked)
        told += [f"Wrote {count} files into {folder}." for folder, count in written.items()]
    if out is not None or not told:
        name, size = write_report(source, out, **asked)
        told.append(f"Wrote {name} ({max(size / 1e6, 0.1):.1f} MB); open it in a browser.")
        told += _without_result(source)
        values |= {"report": name, "bytes": size}
    result("\n".join(told), values, as_json=as_json)


def _without_result(source: str) -> list[str]:
    """What to do where a page shows no result, because no trial of the run has ended."""
    from serplatform.api.runs import list_runs

    rows = list_runs(source)
    if not rows or any(row["best_dev"] is not None or row["test_uar"] is not None for row in rows):
        return []
    return [
        f"No trial of it has ended, so the page shows no result; go on with\n  {rows[0]['next']}"
    ]
