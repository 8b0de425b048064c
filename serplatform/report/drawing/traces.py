"""Draw traces into a plot: points and lines, bars, boxes, heat maps."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.report.drawing.colours import light_colours
from serplatform.report.drawing.plot import Axes, Plot, plain_text
from serplatform.report.figures.base import Spec

#: cells from which a heat map becomes a picture of its own
MOST_CELLS = 600


def scatter(plot: Plot, axes: Axes, trace: Spec) -> None:
    x, y = plot.places("x", trace["x"]), plot.places("y", trace["y"])
    mode = trace.get("mode", "lines")
    alpha = trace.get("opacity")
    if mode == "text":
        look = trace.get("textfont", {})
        for at, height, text in zip(x, y, trace["text"], strict=True):
            axes.text(
                *(at, height, plain_text(text)),
                fontsize=plot.scale * look.get("size", 11),
                color=plot.colour(look.get("color", "@ink")),
                ha="center",
                va="center",
                clip_on=True,
            )
        return
    if trace.get("fill") == "toself":
        axes.fill(x, y, color=plot.stroke(trace)["color"], alpha=alpha, lw=0)
        return
    _whiskers(plot, axes, x, y, trace)
    if "lines" in mode:
        points = list(zip(x, y, strict=True))
        if trace.get("connectgaps"):
            points = [p for p in points if not math.isnan(p[1])]
        step = "steps-post" if trace.get("line", {}).get("shape") == "hv" else "default"
        group = plot.group([str(trace.get("name", ""))])
        lines = zip(*points, strict=True) if points else ([], [])
        axes.plot(*lines, drawstyle=step, alpha=alpha, gid=group, **plot.stroke(trace))
    if "markers" in mode:
        _points(plot, axes, x, y, trace, _hovers(trace))


def _points(
    plot: Plot, axes: Axes, x: Sequence[float], y: Sequence[float], trace: Spec, hovers: list[str]
) -> None:
    marker = trace.get("marker", {})
    sizes, symbols = marker.get("size", 6), marker.get("symbol", "circle")
    groups: dict[tuple[str, float], list[int]] = {}
    for n, (at, height) in enumerate(zip(x, y, strict=True)):
        if not (math.isnan(at) or math.isnan(height)):
            symbol = symbols if isinstance(symbols, str) else symbols[n]
            size = float(sizes) if isinstance(sizes, (int, float)) else float(sizes[n])
            groups.setdefault((symbol, size), []).append(n)
    for (symbol, size), places in groups.items():
        axes.plot(
            [x[n] for n in places],
            [y[n] for n in places],
            ls="none",
            alpha=marker.get("opacity", 1.0) * (trace.get("opacity") or 1),
            gid=plot.group([hovers[n] for n in places] if hovers else []),
            clip_on=False,
            zorder=3,
            **plot.face(trace, symbol, size),
        )


def _hovers(trace: Spec) -> list[str]:
    template = trace.get("hovertemplate")
    if not template:
        return []
    texts = trace.get("text")
    found = []
    for n, (x, y) in enumerate(zip(trace["x"], trace["y"], strict=True)):
        values = {"x": x, "y": y, "text": "" if texts is None else texts[n]}
        found.append(_fill(template, values))
    return found


def _whiskers(plot: Plot, axes: Axes, x: Sequence[float], y: Sequence[float], trace: Spec) -> None:
    for side in ("x", "y"):
        if error := trace.get(f"error_{side}"):
            reach = [error.get("arrayminus", error["array"]), error["array"]]
            colour = error.get("color", trace.get("marker", {}).get("color", "@ink"))
            axes.errorbar(
                x,
                y,
                **{f"{side}err": np.array(reach, dtype=float)},
                fmt="none",
                ecolor=plot.colour(colour),
                elinewidth=plot.scale * error.get("thickness", 1.5),
                capsize=plot.scale * error.get("width", 2),
            )


def bar(plot: Plot, axes: Axes, trace: Spec) -> None:
    colour = plot.colour(trace["marker"]["color"])
    x, y = plot.places("x", trace["x"]), plot.places("y", trace["y"])
    if trace.get("orientation") == "h":
        axes.barh(y, x, 0.72, color=colour)
    else:
        axes.bar(x, y, 0.72, color=colour)
    _whiskers(plot, axes, x, y, trace)


def box(plot: Plot, axes: Axes, trace: Spec) -> None:
    boxes = [t for t in plot.shown if t["type"] == "box"]
    place, count = boxes.index(trace), len(boxes)
    marker, line = trace["marker"], trace["line"]
    colour = plot.colour(line["color"])
    lying = trace.get("y") is None
    # Boxes of one category stand beside each other.
    grouped = not lying and plot.layout.get("boxmode") == "group"
    width = 0.7 / count if grouped else 0.6
    offset = (place - (count - 1) / 2) * 0.78 / count if grouped else 0.0
    values = plot.places("x" if lying else "y", trace["x"] if lying else trace["y"])
    at = [float(place)] * len(values) if lying else plot.places("x", trace["x"])
    by_place: dict[float, list[float]] = {}
    for where, value in zip(at, values, strict=True):
        by_place.setdefault(where, []).append(value)
    look = {"color": colour, "lw": plot.scale * line["width"]}
    if line["width"]:
        axes.boxplot(
            [np.array(v)[~np.isnan(v)] for v in by_place.values()],
            positions=[p + offset for p in by_place],
            widths=width,
            orientation="horizontal" if lying else "vertical",
            showfliers=False,
            manage_ticks=False,
            **{f"{part}props": look for part in ("box", "whisker", "cap", "median")},
        )
    spread = [((0.5 + n * 0.618034) % 1.0 - 0.5) * width * 0.6 for n in range(len(values))]
    beside = [where + offset + s for where, s in zip(at, spread, strict=True)]
    hovers = _hovers({**trace, "y": trace["x"] if lying else trace["y"]})
    _points(
        plot, axes, *((values, beside) if lying else (beside, values)), {"marker": marker}, hovers
    )


def heatmap(plot: Plot, axes: Axes, trace: Spec) -> None:
    from matplotlib.patches import Rectangle

    z = np.array([[math.nan if v is None else v for v in row] for row in trace["z"]], dtype=float)
    x, y = (
        plot.places(side, trace[side])
        if trace.get(side) is not None
        else [trace[f"{side}0"] + n * trace[f"d{side}"] for n in range(size)]
        for side, size in (("x", z.shape[1]), ("y", z.shape[0]))
    )
    known = z[np.isfinite(z)]
    low = trace.get("zmin", known.min() if known.size else 0.0)
    high = trace.get("zmax", known.max() if known.size else 1.0)
    shares = (z - low) / ((high - low) or 1.0)
    steps = [(at[-1] - at[0]) / max(1, len(at) - 1) or 1.0 for at in (x, y)]
    ends = [(at[0] - s / 2, at[-1] + s / 2) for at, s in zip((x, y), steps, strict=True)]
    if z.size > MOST_CELLS:
        _picture(axes, shares, (*ends[0], *ends[1]))
        return
    filled = 0.96 if trace.get("xgap") else 1.0
    wide, tall = (step * filled for step in steps)
    texts, size = trace.get("text"), trace.get("textfont", {}).get("size", 11)
    for (row, column), share in np.ndenumerate(shares):
        if math.isfinite(share):
            corner = x[column] - wide / 2, y[row] - tall / 2
            axes.add_patch(Rectangle(corner, wide, tall, lw=0, fc=plot.colour.cell(share)))
        if text := plain_text(texts[row][column]) if texts is not None else "":
            dark = math.isfinite(share) and share > 0.62
            axes.text(
                *(x[column], y[row], text),
                ha="center",
                va="center",
                fontsize=plot.scale * size,
                color=plot.colour("@paper" if dark else "@ink"),
            )
    axes.set_xlim(*ends[0])
    axes.set_ylim(*ends[1])


def _picture(axes: Axes, shares: DoubleArray, extent: tuple[float, ...]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = [light_colours()[f"sequential-{n}"] for n in range(5)]
    axes.imshow(
        shares,
        cmap=LinearSegmentedColormap.from_list("sequential", colours),
        vmin=0,
        vmax=1,
        origin="lower",
        aspect="auto",
        interpolation="none",
        extent=extent,
    )


def _fill(template: str, values: Mapping[str, Any]) -> str:
    """A template of a text at a point, filled in.

    Example:
        >>> _fill("%{text}<br>%{x:.1f} s<extra></extra>", {"text": "a", "x": 1.25})
        'a, 1.2 s'
    """

    def one(found: re.Match[str]) -> str:
        value = values.get(found[1])
        if value is None:
            return "–"
        return format(value, found[2]) if found[2] and not isinstance(value, str) else str(value)

    text = re.sub(r"%\{(\w+):?([^}]*)\}", one, template.partition("<extra>")[0])
    return text.replace("<br>", ", ")


#: what draws a trace, by its type
KINDS = {"scatter": scatter, "bar": bar, "box": box, "heatmap": heatmap}
