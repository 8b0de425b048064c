"""The page's figures and tables for a paper: SVG, PDF or PNG files; LaTeX and Markdown."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from serplatform.artifacts.files import write_bytes, write_text
from serplatform.errors import BadInputError
from serplatform.report import charts
from serplatform.report.answer import Answer, find_answer
from serplatform.report.build import draw_figures
from serplatform.report.data import ReportData
from serplatform.report.figures.base import Drawing, Palette, Panel, Table
from serplatform.report.wording import METRICS, interval, listing, percent

#: width of a figure in mm, of one column and of both
COLUMN_MM, PAGE_MM = 88, 180
#: kinds of files
FORMATS = ("svg", "pdf", "png")

#: rows from which a table may be longer than a page
_LONG = 45
_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≠": r"$\neq$",
    "≤": r"$\leq$",
    "→": r"$\to$",
    "½": r"$\frac12$",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "’": "'",
    "…": r"\ldots{}",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperFigure:
    """A figure under its ``name`` on the page, with what its caption may say."""

    name: str
    title: str
    drawing: Drawing


def parse_formats(text: str) -> tuple[str, ...]:
    """Names of formats with commas between them.

    Example:
        >>> parse_formats("svg, pdf")
        ('svg', 'pdf')
    """
    given = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    unknown = [name for name in given if name not in FORMATS]
    if unknown or not given:
        named = listing(unknown) or "nothing"
        raise BadInputError(f"--format {text}: {named} is not one of {listing(FORMATS, 'or')}")
    return given


def paper_figures(report: ReportData) -> Iterator[PaperFigure]:
    """Every figure of the page that has something to show, the answer first."""
    answer = find_answer(report)
    if answer.rows:
        yield PaperFigure(name="answer", title="Test UAR", drawing=_answer(report, answer))
    for section in draw_figures(report).values():
        for figure in section:
            if figure.drawing is not None:
                yield PaperFigure(name=figure.name, title=figure.title, drawing=figure.drawing)


def _answer(report: ReportData, answer: Answer) -> Drawing:
    palette = Palette(architectures=report.architectures)
    places = range(len(answer.rows))
    traces = [
        charts.interval_points(r.label, [r.uar], [n], palette.marker(r.label, 9))
        for n, r in zip(places, answer.rows, strict=True)
    ]
    chance = 100 * answer.chance
    panel = charts.panel(
        traces,
        charts.axis("test UAR (%), 95 % interval"),
        charts.rows_axis([row.label for row in answer.rows]),
        height=80 + 44 * len(answer.rows),
        legend=False,
        shapes=[charts.vertical(chance)],
        notes=[charts.chance_note(chance)],
    )
    table = Table(
        caption="Test results, pooled over folds, with 95 % intervals",
        header=["system", "made of", "UAR (%)", "95 % interval", "Accuracy (%)"],
        rows=[[r.label, r.what, *r.uar.ends(), r.accuracy.value] for r in answer.rows],
        csv_header=["system", "made_of", "uar", "low", "high", "accuracy"],
        display=[
            [
                *(r.label, r.what, percent(r.uar.value), interval("uar", r.uar)),
                percent(r.accuracy.value),
            ]
            for r in answer.rows
        ],
    )
    note = f"{answer.headline}. {' '.join(map(str, answer.comparisons))}"
    return Drawing(
        summary=note.strip(),
        panels=[panel],
        tables=[table],
        note="Intervals are over speakers (jackknife, Student's t).",
        open_tables=True,
    )


def write_figures(figures: Sequence[PaperFigure], folder: Path, formats: Sequence[str]) -> int:
    """Write each panel in each format, and ``captions.md``; return the number of files.

    A panel is as wide as a column (88 mm), or as the page (180 mm) where it needs that.
    """
    from serplatform.report.drawing.panel import paper_file

    written, captions = 0, ["# Captions\n"]
    for figure in figures:
        names = _names(figure)
        for name, panel in zip(names, figure.drawing.panels, strict=True):
            for kind in formats:
                write_bytes(folder / f"{name}.{kind}", paper_file(panel, kind, _width(panel)))
                written += 1
            title = f"{figure.title}, {panel.title}" if panel.title else figure.title
            captions.append(
                f"**{name}**: {title}. {figure.drawing.summary} {figure.drawing.note}\n"
            )
    write_text(folder / "captions.md", "\n".join(captions))
    return written + 1


def _width(panel: Panel) -> float:
    wide = panel.layout.get("meta", {}).get("minWidth", 0) > 480 or panel.height > 600
    return PAGE_MM if wide else COLUMN_MM


def _names(figure: PaperFigure) -> list[str]:
    """Names of the files of a figure's panels, without ending."""
    if len(figure.drawing.panels) == 1:
        return [figure.name]
    firsts = [re.split("[:,]", panel.title)[0] for panel in figure.drawing.panels]
    titles = [re.sub(r"\W+", "-", first).strip("-")[:40] for first in firsts]
    unique = all(titles) and len(set(titles)) == len(titles)
    return [f"{figure.name}-{t if unique else n}" for n, t in enumerate(titles, start=1)]


def write_tables(figures: Sequence[PaperFigure], folder: Path) -> int:
    """Write each table as LaTeX (booktabs) and as Markdown; return the number of files."""
    written = 0
    for figure in figures:
        tables = figure.drawing.tables
        for number, table in enumerate(tables, start=1):
            name = f"{figure.name}-{number}" if len(tables) > 1 else figure.name
            caption = _caption(figure, table)
            write_text(folder / f"{name}.tex", latex_table(table, caption, f"tab:{name}"))
            write_text(folder / f"{name}.md", markdown_table(table, caption))
            written += 2
    return written


def _caption(figure: PaperFigure, table: Table) -> str:
    """What the rows are, and what the metrics mean that the table names."""
    words = " ".join([*table.header, *(row[0] for row in table.shown() if row)])
    named = [
        f"{m.title}: {m.definition}"
        for m in METRICS.values()
        if re.search(rf"(?<![\w-]){re.escape(m.title)}(?!\w)", words, flags=re.IGNORECASE)
        and not m.definition.startswith(m.title)
    ]
    said = [table.caption.rstrip("."), *named]
    said += [figure.drawing.note] if figure.drawing.open_tables else []
    return ". ".join(text.rstrip(".") for text in said if text) + "."


def latex(text: str) -> str:
    r"""A text in which LaTeX reads nothing but letters.

    Example:
        >>> print(latex("95 % of a_b & −0.5"))
        95 \% of a\_b \& $-$0.5
    """
    return "".join(_LATEX.get(char) or _greek(char) for char in text.replace("`", ""))


def _greek(char: str) -> str:
    """A Greek letter as a symbol; others as they are, which XeLaTeX and LuaLaTeX read."""
    name = unicodedata.name(char, "").removeprefix("GREEK SMALL LETTER ").lower()
    return f"$\\{name}$" if "α" <= char <= "ω" and name.isalpha() and char != "ο" else char


def latex_table(table: Table, caption: str, label: str) -> str:
    """A table of LaTeX's package booktabs; of longtable where it may not fit on a page."""
    numeric, rows = table.numeric(), table.shown()
    columns = "".join("r" if n else "l" for n in numeric)
    body = [
        r"\toprule",
        _latex_row(table.header),
        r"\midrule",
        *map(_latex_row, rows),
        r"\bottomrule",
    ]
    named = f"\\caption{{{latex(caption)}}}\n\\label{{{label}}}"
    if len(rows) > _LONG:
        packages, around = "booktabs,longtable", "longtable"
        lines = [f"\\begin{{longtable}}{{{columns}}}", f"{named}\\\\"]
    else:
        packages, around = "booktabs", "table"
        lines = [r"\begin{table}", r"\centering", named, f"\\begin{{tabular}}{{{columns}}}"]
        body.append(r"\end{tabular}")
    head = f"% \\usepackage{{{packages}}} \\usepackage[T1]{{fontenc}}"
    return "\n".join([head, *lines, *body, f"\\end{{{around}}}", ""])


def _latex_row(cells: Sequence[str]) -> str:
    texts = [latex(cell.replace("\n", " ")) for cell in cells]
    return " & ".join("{}" + t if t.startswith("[") else t for t in texts) + r" \\"


def markdown_table(table: Table, caption: str) -> str:
    """A table of Markdown, its caption above it."""

    def line(cells: Sequence[str]) -> str:
        texts = (
            cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in cells
        )
        return "| " + " | ".join(texts) + " |"

    rule = "| " + " | ".join("---:" if n else "---" for n in table.numeric()) + " |"
    return "\n".join([caption, "", line(table.header), rule, *map(line, table.shown()), ""])
