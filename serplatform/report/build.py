"""Collect figures into one self-contained HTML page that opens from disk, without a network."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serplatform import __version__, plugins
from serplatform.artifacts.files import write_text
from serplatform.errors import ArtifactError, BadInputError
from serplatform.report.data import NoDataError, ReportData, build_report_data
from serplatform.report.figures.base import (
    FIGURES,
    SECTIONS,
    Drawing,
    Palette,
    in_order,
)
from serplatform.report.load import load_source
from serplatform.report.narrative import build_narrative
from serplatform.report.wording import listing

if TYPE_CHECKING:
    import jinja2

#: Rows of a table that the page itself shows; the download has all.
SHOWN_ROWS = 60
#: the same of tables that can be sorted, where what is sought may be anywhere
SORTABLE_ROWS = 1000

#: Markup that figures may use in Plotly's texts; everything else is shown as it is written.
_ALLOWED_MARKUP = ("<br>", "<extra></extra>")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnFigure:
    """A figure on the page under its ``name``: its drawing, or the reason why it has none."""

    name: str
    title: str
    drawing: Drawing | None
    reason: str = ""


def build_report(source: Path, out: Path | None = None, *, test_values: bool = False) -> Path:
    """Write the page of a run or an ensemble.

    Args:
        source: a ``RUN`` or ``ENS`` directory.
        out: the HTML file; ``report.html`` in ``source`` by default.
        test_values: measure every trial alone on test rows, too.

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
    write_text(target, render(build_report_data(found, test_values=test_values)))
    return target


def draw_figures(report: ReportData) -> dict[str, list[DrawnFigure]]:
    """Compute and draw every registered figure, by section in order."""
    palette = Palette(architectures=report.architectures)
    figures = {name: FIGURES.get(name) for name in FIGURES.names()}
    for name, figure in figures.items():
        if figure.section not in SECTIONS:
            raise BadInputError(
                f"figure '{name}': its section '{figure.section}' is none of {listing([*SECTIONS])}"
            )

    def drawn(name: str) -> DrawnFigure:
        title = figures[name].title
        try:
            drawing = figures[name]().make(report, palette)
        except (NoDataError, ArtifactError) as error:
            return DrawnFigure(name=name, title=title, drawing=None, reason=str(error))
        return DrawnFigure(name=name, title=title, drawing=drawing)

    return {section: [drawn(n) for n in in_order(figures, section)] for section in SECTIONS}


def render(report: ReportData) -> str:
    """The page as HTML."""
    from markupsafe import Markup

    figures = draw_figures(report)
    figure_data = {
        figure.name: Markup(script_json(_figure_data(figure.drawing)))  # noqa: S704 - "<" is escaped
        for section in figures.values()
        for figure in section
        if figure.drawing is not None
    }
    scripts = [plotly_source(), template_text("page.js")]
    environment = template_environment()
    environment.filters["code"] = _code
    return environment.get_template("page.html").render(
        narrative=build_narrative(report),
        source=report.source,
        sections=[(name, heading, figures[name]) for name, heading in SECTIONS.items()],
        figure_data=figure_data,
        shown_rows={False: SHOWN_ROWS, True: SORTABLE_ROWS},
        version=__version__,
        style=Markup(template_text("page.css")),  # noqa: S704 - ours
        scripts=[Markup(text) for text in scripts],  # noqa: S704 - our own and Plotly's code
        policy=content_security_policy(scripts),
    )


def template_text(name: str) -> str:
    """A file of ``templates/``."""
    return (resources.files("serplatform.report") / "templates" / name).read_text("utf-8")


def template_environment() -> jinja2.Environment:
    """What fills the templates in: every value is escaped, a missing one is an error."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(template_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _code(text: str) -> Any:
    """Escape a sentence and set what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # an unpaired backtick is only a character
        return escape(text)
    joined = [Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts)]
    return Markup("").join(joined)


def plotly_source() -> str:
    """Plotly's own JavaScript, from the installed Python package.

    Read as a file: importing the package takes far longer than building the page.
    """
    text = (resources.files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")
    if "</script" in text.lower() or "<!--" in text:
        raise ValueError("plotly.min.js holds markup that would end its script element")
    return text


def content_security_policy(scripts: list[str]) -> str:
    """Allow these scripts only, by their hashes, and no request; Plotly styles attributes."""
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


def plot_text(value: Any) -> Any:
    """Escape every string of a Plotly specification, but for the markup figures use themselves.

    Plotly reads a subset of HTML in its texts, so a name must not look like any.

    Example:
        >>> plot_text({"text": ["<b>a & b</b><br>1"]})
        {'text': ['&lt;b&gt;a &amp; b&lt;/b&gt;<br>1']}
    """
    if isinstance(value, str):
        text = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        for markup in _ALLOWED_MARKUP:
            text = text.replace(markup.replace("<", "&lt;").replace(">", "&gt;"), markup)
        return text
    if isinstance(value, dict):
        return {key: plot_text(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plot_text(item) for item in value]
    return value


def _figure_data(drawing: Drawing) -> dict[str, Any]:
    """What the page's script needs of a figure."""
    return {
        "panels": [
            {"data": plot_text(p.data), "layout": plot_text(p.layout), "height": p.height}
            for p in drawing.panels
        ],
        "tables": [
            {
                "header": list(table.csv_header or table.header),
                "rows": [list(r) for r in table.rows],
            }
            for table in drawing.tables
        ],
    }
