"""Collect figures into one self-contained HTML page that opens from disk, without a network."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serplatform import __version__, plugins
from serplatform.artifacts.files import write_text
from serplatform.errors import ArtifactError, BadInputError
from serplatform.report.data import NoDataError, ReportData, build_report_data
from serplatform.report.extras import Extras, with_extras
from serplatform.report.figures.base import FIGURES, SECTIONS, Drawing, Palette, in_order
from serplatform.report.load import load_source
from serplatform.report.narrative import build_narrative
from serplatform.report.wording import listing

if TYPE_CHECKING:
    import jinja2

EVALUATION = "evaluation"
#: Rows of a table that the page itself shows; the download has all.
SHOWN_ROWS = 60
#: the same of tables that can be sorted, where what is sought may be anywhere
SORTABLE_ROWS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A panel as the page shows it, ``width`` pixels wide at its natural size.

    ``frame`` says where the x axis starts and ends, in shares of the width, and at what values.
    """

    title: str
    svg: str
    width: int
    frame: str
    audio: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnFigure:
    """A figure on the page under its ``name``: its drawing, or the reason why it has none."""

    name: str
    title: str
    drawing: Drawing | None
    reason: str = ""
    printed: bool = True

    @functools.cached_property
    def pictures(self) -> list[Picture]:
        """Its panels."""
        return [] if self.drawing is None else list(_pictures(self.name, self.drawing))

    @functools.cached_property
    def tables(self) -> str:
        """What the page's script offers to download."""
        from markupsafe import Markup

        tables = [] if self.drawing is None else self.drawing.tables
        given = [
            {"header": list(t.csv_header or t.header), "rows": [list(r) for r in t.rows]}
            for t in tables
        ]
        return Markup(script_json(given))  # noqa: S704 - "<" is escaped


def _pictures(name: str, drawing: Drawing) -> Iterator[Picture]:
    from markupsafe import Markup

    from serplatform.report.drawing.panel import page_picture, page_width

    paired = len(drawing.panels) > 1 and not drawing.wide
    for number, panel in enumerate(drawing.panels):
        width = page_width(panel, paired=paired)
        svg, drawn = page_picture(panel, width, f"{name}-{number}")
        yield Picture(
            title=panel.title,
            svg=Markup(svg),  # noqa: S704 - Matplotlib escapes its texts
            width=width,
            frame=" ".join(f"{value:.5g}" for value in (*drawn.frame, *drawn.limits)),
            audio=panel.audio,
        )


def build_report(
    source: Path,
    out: Path | None = None,
    *,
    test_values: bool = False,
    extras: Extras | None = None,
) -> Path:
    """Write the page of a run or an ensemble.

    Args:
        source: a ``RUN`` or ``ENS`` directory.
        out: the HTML file; ``report.html`` in ``source`` by default.
        test_values: measure every trial alone on test rows, too.
        extras: what the page shows on request.

    Returns:
        the file written.

    Raises:
        BadInputError: ``source`` is neither, or ``out`` is a directory or has no parent.
        ArtifactError: a file of ``source`` is missing or damaged.
    """
    target = source / "report.html" if out is None else out
    if target.is_dir():
        raise BadInputError(f"{target}: is a directory; give the page's file, e.g. report.html")
    found = load_source(source)
    for run in found.runs:
        plugins.restore(run.path, run.info)
    write_text(
        target, render(with_extras(build_report_data(found, test_values=test_values), extras))
    )
    return target


def draw_figures(report: ReportData) -> dict[str, list[DrawnFigure]]:
    """Compute and draw every registered figure, by section in order; each evaluation is one."""
    palette = Palette(architectures=report.architectures)
    figures = {name: FIGURES.get(name) for name in FIGURES.names()}
    for name, figure in figures.items():
        if figure.section not in SECTIONS:
            raise BadInputError(
                f"figure '{name}': its section '{figure.section}' is none of {listing([*SECTIONS])}"
            )

    def drawn(name: str, report: ReportData = report) -> DrawnFigure:
        title = figures[name].title
        try:
            drawing = figures[name]().make(report, palette)
        except (NoDataError, ArtifactError) as error:
            return DrawnFigure(name=name, title=title, drawing=None, reason=str(error))
        printed = figures[name].printed
        return DrawnFigure(name=name, title=title, drawing=drawing, printed=printed)

    own = {s: [drawn(n) for n in in_order(figures, s)] for s in SECTIONS if s != EVALUATION}
    for number, one in enumerate(report.evaluations, start=1):
        of = dataclasses.replace(report, evaluations=(one,))
        own[f"dataset-{number}"] = [
            dataclasses.replace(drawn(n, of), name=n if number == 1 else f"{n}-dataset-{number}")
            for n in in_order(figures, EVALUATION)
        ]
    return own


def section_headings(report: ReportData) -> dict[str, str]:
    """Headings of the sections that :func:`draw_figures` gives."""
    own = {name: heading for name, heading in SECTIONS.items() if name != EVALUATION}
    others = enumerate(report.evaluations, start=1)
    return own | {
        f"dataset-{n}": f"{SECTIONS[EVALUATION]}: {Path(one['data']).name or one['data_title']}"
        for n, one in others
    }


def render(report: ReportData) -> str:
    """The page as HTML."""
    figures = draw_figures(report)
    return fill_template(
        "page.html",
        narrative=build_narrative(report),
        source=report.source,
        sections=[
            (name, heading, figures[name]) for name, heading in section_headings(report).items()
        ],
        shown_rows={False: SHOWN_ROWS, True: SORTABLE_ROWS},
    )


def fill_template(name: str, **values: Any) -> str:
    """A page of ``templates/`` with the style and the script that pages share."""
    from markupsafe import Markup

    script = template_text("page.js")
    return (
        template_environment()
        .get_template(name)
        .render(
            version=__version__,
            style=Markup(template_text("page.css")),  # noqa: S704 - ours
            script=Markup(script),  # noqa: S704 - ours
            policy=content_security_policy([script]),
            **values,
        )
    )


def template_text(name: str) -> str:
    """A file of ``templates/``."""
    return (resources.files("serplatform.report") / "templates" / name).read_text("utf-8")


def template_environment() -> jinja2.Environment:
    """What fills the templates in: every value is escaped, a missing one is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(template_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    return environment


def _code(text: str) -> Any:
    """Escape a sentence and set what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # an unpaired backtick is only a character
        return escape(text)
    joined = [Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts)]
    return Markup("").join(joined)


def content_security_policy(scripts: list[str]) -> str:
    """Allow these scripts only, by their hashes, and no request."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; media-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def script_json(value: Any) -> str:
    """JSON that may stand in a script element: no character can end or open markup.

    Example:
        >>> print(script_json({"name": "</script>"}))
        {"name":"\\u003c/script\\u003e"}
    """
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _finite(value: Any) -> Any:
    """Numbers to 8 significant digits; null for what JSON does not have."""
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (str, int)) or value is None:
        return value
    return _finite(value.item())  # a NumPy scalar
