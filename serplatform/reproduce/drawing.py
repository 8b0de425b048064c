"""Pictures of a reproduced figure as SVG, without scripts: attention curves and embeddings.

Colours are those of the page (``page.css``), for light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from serplatform.artifacts.reproduced_table import CurvePicture, PointPicture

_WIDTH, _PLOT, _TRACK = 720, 120, 22
_LEFT, _TOP = 34, 22
_MARKS = ("circle", "square", "diamond", "up", "cross", "down", "plus", "bar")
#: of each mark: a path about its middle
_PATHS = {
    "circle": "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "square": "m-3.5-3.5h7v7h-7z",
    "diamond": "m0-5l5 5l-5 5l-5-5z",
    "up": "m0-5l4.5 8h-9z",
    "down": "m0 5l4.5-8h-9z",
    "cross": "m-4-4l8 8m0-8l-8 8",
    "plus": "m-5 0h10m-5-5v10",
    "bar": "m-5-1.5h10v3h-10z",
}


def curve_svg(found: CurvePicture) -> Markup:
    """Attention over time, 1 where it is even, above the words and phones; vowels are shaded."""
    scale = (_WIDTH - _LEFT - 8) / max(found["seconds"], 1e-9)
    top = max([2.0, *(max(curve["times_even"], default=0.0) for curve in found["curves"])])
    bottom = _TOP + _PLOT

    def x(seconds: float) -> float:
        return round(_LEFT + seconds * scale, 1)

    def y(value: float) -> float:
        return round(bottom - value / top * _PLOT, 1)

    parts = []
    for label, start, end, kind in found["phones"]:
        if kind == "vowel":
            parts.append(_rect(x(start), _TOP, x(end) - x(start), _PLOT, 0.16))
        parts.append(_text(x((start + end) / 2), bottom + 2 * _TRACK - 8, label, 9))
    for label, start, end in found["words"]:
        parts.append(_rect(x(start), bottom + 3, x(end) - x(start), _TRACK - 6, 0.1))
        parts.append(_text(x((start + end) / 2), bottom + _TRACK - 8, label, 11))
    parts.append(_line(_LEFT, y(1), _WIDTH - 8, y(1), "muted", dash="2 3"))
    parts.append(_line(_LEFT, bottom, _WIDTH - 8, bottom, "rule"))
    parts += [_text(_LEFT - 12, y(value) + 4, f"{value:.3g}", 10) for value in (1, top)]
    for place, curve in enumerate(found["curves"]):
        points = " ".join(
            f"{x(t)},{y(v)}" for t, v in zip(curve["starts"], curve["times_even"], strict=True)
        )
        parts.append(_polyline(points, place))
    step = 0.5 if found["seconds"] < 6 else 2.0
    for tick in range(int(found["seconds"] / step) + 1):
        at = x(tick * step)
        parts.append(_text(at, bottom + 3 * _TRACK - 12, f"{tick * step:g} s", 10, "muted"))
    maps = ", ".join(curve["map"] for curve in found["curves"])
    title = f"{found['title']} ({found['utterance_id']}, taken for {found['prediction']}; {maps})"
    return _svg(title, _WIDTH, bottom + 3 * _TRACK, parts)


def points_svg(found: PointPicture, title: str) -> Markup:
    """Utterances in the plane, a colour and a mark for each class."""
    size, margin = 360, 14
    points = found["points"]
    ends = [[f(point[axis] for point in points) for f in (min, max)] for axis in (0, 1)]
    scale = (size - 2 * margin) / max(*(high - low for low, high in ends), 1e-9)
    middle = [(low + high) / 2 for low, high in ends]
    parts = []
    for x, y, label in points:
        at = (size / 2 + (x - middle[0]) * scale, _TOP + size / 2 - (y - middle[1]) * scale)
        parts.append(_mark(*at, label))
    for place, name in enumerate(found["classes"]):
        at = (margin + 90 * (place % 4), size + _TOP + 14 + 18 * (place // 4))
        parts += [_mark(*at, place), _text(at[0] + 10, at[1] + 4, name, 11, anchor="start")]
    height = size + _TOP + 14 + 18 * (-(-len(found["classes"]) // 4))
    return _svg(f"{title}: {found['method']}, {len(points)} utterances", size, height, parts)


def _svg(title: str, width: int, height: int, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{0}" viewBox="0 0 {1} {2}"'
        ' width="{1}" height="{2}" font-family="inherit"><text x="0" y="14" font-size="12"'
        ' fill="var(--ink)">{0}</text>{3}</svg>'
    ).format(title, width, height, Markup("").join(parts))


def _text(
    x: float, y: float, text: str, size: int, colour: str = "ink", *, anchor: str = "middle"
) -> Markup:
    return Markup(
        '<text x="{:.1f}" y="{:.1f}" font-size="{}" fill="var(--{})" text-anchor="{}">{}</text>'
    ).format(x, y, size, colour, anchor, text)


def _rect(x: float, y: float, width: float, height: float, opacity: float) -> Markup:
    return Markup(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="var(--series-2)"'
        ' fill-opacity="{}"/>'
    ).format(x, y, max(width, 0.0), height, opacity)


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, *, dash: str = "") -> Markup:
    return Markup(
        '<path d="M{:.1f} {:.1f}L{:.1f} {:.1f}" stroke="var(--{})" stroke-dasharray="{}"/>'
    ).format(x0, y0, x1, y1, colour, dash)


def _polyline(points: str, place: int) -> Markup:
    return Markup(
        '<polyline points="{}" fill="none" stroke="var(--series-{})" stroke-width="1.6"/>'
    ).format(points, place % 8 + 1)


def _mark(x: float, y: float, place: int) -> Markup:
    return Markup(
        '<path d="M{:.1f} {:.1f}{}" fill="var(--series-{})" fill-opacity=".6"'
        ' stroke="var(--series-{})"/>'
    ).format(x, y, _PATHS[_MARKS[place % 8]], place % 8 + 1, place % 8 + 1)
