"""A panel as a picture: SVG of the page, whose texts and colours are its own, or a paper's file."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from typing import Any

from serplatform.errors import BadInputError
from serplatform.report.drawing.colours import PageColours, PaperColours
from serplatform.report.drawing.plot import Drawn, Plot
from serplatform.report.drawing.traces import KINDS
from serplatform.report.figures.base import Panel

#: points of a paper to a pixel of the page: a text of 11 pixels becomes one of 7.3 points
PAPER_SCALE = 0.66
_POINTS_OF_MM = 72 / 25.4
#: pixels of the page that a panel is drawn over: beside another, alone
PAIRED, ALONE = 400, 480

_SVG = "http://www.w3.org/2000/svg"
_FONTS = ["Helvetica", "Arial", "Liberation Sans", "Noto Sans", "DejaVu Sans", "Noto Sans CJK JP"]
_SETTINGS = {
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": _FONTS,
    "pdf.fonttype": 42,
}


def draw_panel(
    panel: Panel, colours: PageColours | PaperColours, width: float, scale: float = 1.0
) -> Drawn:
    """Draw a panel ``width`` pixels wide; ``scale`` is that of a pixel, in points."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        plot = Plot(panel, colours, width, scale)
        for trace in plot.shown:
            if trace["type"] not in KINDS:
                raise BadInputError(
                    f"a figure's trace of type '{trace['type']}' cannot be drawn; known: "
                    f"{', '.join(KINDS)}"
                )
            KINDS[trace["type"]](plot, plot.axes[trace.get("yaxis", "y")], trace)
        return plot.finish()


def page_picture(panel: Panel, width: float, name: str) -> tuple[str, Drawn]:
    """A panel as an SVG element; ``name`` keeps the ids of the page's pictures apart."""
    colours = PageColours()
    drawn = draw_panel(panel, colours, width)
    root = ElementTree.fromstring(_svg(drawn, name))  # noqa: S314 - Matplotlib wrote it
    _clean(root, drawn.titles)
    ElementTree.register_namespace("", _SVG)
    text = ElementTree.tostring(root, encoding="unicode")
    # HTML knows the names of SVG by itself.
    text = re.sub(r' xmlns(?::\w+)?="[^"]*"', "", text)
    return colours.resolve(re.sub(r">\s+<", "><", text)), drawn


def paper_file(panel: Panel, kind: str, width: float) -> bytes:
    """A panel as an SVG, PDF or PNG file, ``width`` mm wide, its texts as shapes or with fonts."""
    pixels = width * _POINTS_OF_MM / PAPER_SCALE
    if panel.layout.get("meta", {}).get("square"):
        pixels = min(pixels, panel.height + 60)
    drawn, found = draw_panel(panel, PaperColours(), pixels, PAPER_SCALE), io.BytesIO()
    _save(drawn, found, kind, {"svg.fonttype": "path", "svg.hashsalt": "serplatform"})
    return found.getvalue()


def _svg(drawn: Drawn, name: str) -> str:
    found = io.StringIO()
    _save(drawn, found, "svg", {"svg.fonttype": "none", "svg.hashsalt": name})
    return re.sub(r"\bxlink:href", "href", "<svg" + found.getvalue().partition("<svg")[2])


def _save(drawn: Drawn, file: Any, kind: str, settings: dict[str, Any]) -> None:
    import matplotlib

    unknown = {"svg": ("Date", "Creator", "Format", "Type"), "pdf": ("CreationDate",)}
    with matplotlib.rc_context({**_SETTINGS, **settings}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        drawn.canvas.savefig(
            file,
            format=kind,
            dpi=300 if kind == "png" else 72,
            metadata=dict.fromkeys(unknown.get(kind, ())),
        )


def _clean(root: Any, titles: dict[str, list[str]]) -> None:
    """Take out what a page has no use for, and put in what points say when pointed at."""
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{{{_SVG}}}metadata":
                parent.remove(child)
    linked = r"(?:url\(|^)#([\w.-]+)"
    used = {
        found
        for element in root.iter()
        for value in element.attrib.values()
        for found in re.findall(linked, value)
    }
    for element in root.iter():
        if (name := element.attrib.get("id")) in titles:
            _put_titles(element, titles[name])
        if name not in used:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            if key in ("d", "x", "y", "transform", "points"):
                element.attrib[key] = re.sub(r"(\.\d\d)\d+", r"\1", value)
            if key == "style":
                font = r"font: (?:\w+ )*([\d.]+)px [^;]*"
                element.attrib[key] = re.sub(font, r"font-size: \1px", value)


def _put_titles(group: Any, titles: list[str]) -> None:
    marks = [e for e in group.iter() if e.tag == f"{{{_SVG}}}use"]
    whole = [group] if len(titles) == 1 and not marks else marks
    if len(whole) == len(titles):  # a point beyond the plot has no mark
        for mark, text in zip(whole, titles, strict=True):
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = text
            mark.insert(0, title)


def page_width(panel: Panel, *, paired: bool) -> int:
    """Pixels of the page that a panel is drawn over."""
    meta = panel.layout.get("meta", {})
    width = max(PAIRED if paired else ALONE, round(meta.get("minWidth", 0)))
    return min(width, panel.height + 60) if meta.get("square") else width
