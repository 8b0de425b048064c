"""Lay a plot out: margins, axes, legend; then scale it to what was drawn, with lines and texts.

Sizes are in pixels of the page, where a text is 11 or 12 high; ``scale`` makes points of them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from serplatform.report.drawing.colours import PageColours, PaperColours
from serplatform.report.figures.base import Panel, Spec

#: Matplotlib's
Axes = Any

SYMBOLS = {"circle": "o", "diamond": "D", "square": "s", "triangle-up": "^", "cross": "P"}
SYMBOLS |= {"star": "*", "x": "X", "x-thin": "x", "pentagon": "p", "line-ns": "|"}
DASHES: dict[str, Any] = {"solid": "-", "dash": (0, (5, 3)), "dot": (0, (1.2, 2))}
DASHES |= {"dashdot": (0, (5, 2, 1.2, 2)), "longdash": (0, (9, 3))}
DASHES |= {"longdashdot": (0, (9, 2, 1.2, 2))}


@dataclasses.dataclass(kw_only=True)
class Drawn:
    """A panel's figure of ``width`` by ``height`` pixels; texts to points by their group's id.

    ``frame`` is the share of the width where the x axis starts, and where it ends.
    """

    canvas: Any
    width: float
    height: float
    frame: tuple[float, float] = (0, 1)
    limits: tuple[float, float] = (0, 1)
    titles: dict[str, list[str]] = dataclasses.field(default_factory=dict)


class Plot:
    """One panel being drawn: its axes by the name that traces give them."""

    def __init__(
        self, panel: Panel, colours: PageColours | PaperColours, width: float, scale: float
    ) -> None:
        from matplotlib.figure import Figure as Canvas

        self.panel, self.colour, self.scale = panel, colours, scale
        self.layout: Mapping[str, Any] = panel.layout
        size = width * scale / 72, panel.height * scale / 72
        self.drawn = Drawn(
            canvas=Canvas(figsize=size, dpi=72), width=width, height=float(panel.height)
        )
        self.drawn.canvas.patch.set_visible(False)
        self.x: Spec = dict(self.layout.get("xaxis", {}))
        self.y = {
            key.replace("axis", ""): dict(value)
            for key, value in self.layout.items()
            if re.fullmatch(r"yaxis\d*", key)
        } or {"y": {}}
        self.axes: dict[str, Axes] = {}
        self.levels: dict[str, list[Any]] = {"x": [], "y": []}
        self.shown = [t for t in panel.data if t.get("visible", True) is True]
        self._find_levels(self.shown)
        self._frame(self._entries(self.shown))

    def _find_levels(self, traces: Sequence[Spec]) -> None:
        """Names of the axes of categories, in the order that is asked for or in which they come."""
        for side, axis in (("x", self.x), ("y", self.y["y"])):
            given = list(axis.get("categoryarray", ()))
            values = [v for t in traces for v in t.get(side) or ()]
            if axis.get("type") == "category" or any(isinstance(v, str) for v in values):
                self.levels[side] = list(dict.fromkeys([*given, *values]))
                ticks = axis.get("tickvals", self.levels[side])
                axis.setdefault("ticktext", [str(name) for name in ticks])
                axis["tickvals"] = self.places(side, ticks)
        for axis in (self.x, *self.y.values()):
            if "tickvals" in axis:
                axis.setdefault("ticktext", [f"{value:g}" for value in axis["tickvals"]])
        rows = [t for t in traces if t["type"] == "box" and t.get("y") is None]
        if rows:
            names = [t.get("name", "") for t in rows]
            ends = [-0.5, len(names) - 0.5]
            self.y["y"].update(tickvals=list(range(len(names))), ticktext=names, range=ends)

    def places(self, side: str, values: Sequence[Any]) -> list[float]:
        levels = self.levels[side]
        found = [levels.index(v) if levels and v is not None else v for v in values]
        return [math.nan if v is None else float(v) for v in found]

    def _entries(self, traces: Sequence[Spec]) -> list[Spec]:
        if self.layout.get("showlegend") is False:
            return []
        named = [t for t in traces if t.get("showlegend", True) and t["type"] in ("scatter", "box")]
        named = [t for t in named if t.get("name")]
        if any(t["type"] == "box" and t.get("y") is None for t in named):
            return []
        return named if len(named) > 1 or self.layout.get("showlegend") else []

    def _frame(self, entries: Sequence[Spec]) -> None:
        """Lay the axes and the legend out."""
        width, height = self.drawn.width, self.drawn.height
        left = max(self._room(axis) for axis in self.y.values())
        margin = self.layout.get("margin", {})
        right = max(12, margin.get("r", 0) if margin.get("r", 0) < 60 else 12)
        top, bottom = 10.0, 10.0
        labels = 0.0 if self.x.get("showticklabels", True) is False else self._depth(width - left)
        if self.x.get("side") == "top":
            top += labels
        else:
            bottom += labels
        bottom += 20 if title_of(self.x) else 0
        if entries:
            top += self._legend(entries, left, width - left)
        self.drawn.frame = left / width, 1 - right / width
        tall = height - top - bottom
        for key, axis in self.y.items():
            low, high = axis.get("domain", (0, 1))
            box = (left / width, (bottom + low * tall) / height)
            size = (1 - (left + right) / width, max(0.001, (high - low) * tall / height))
            first = next(iter(self.axes.values()), None)
            self.axes[key] = self.drawn.canvas.add_axes((*box, *size), sharex=first)
            self.axes[key].patch.set_visible(False)

    def _wide(self, text: str, size: float) -> float:
        return 0.56 * size * max(map(len, text.split("\n")), default=0)

    def _room(self, axis: Spec) -> float:
        if axis.get("visible") is False:
            return 24
        size = axis.get("tickfont", {}).get("size", 11)
        texts = [plain_text(t) for t in axis.get("ticktext", ["0.00"])]
        widest = max([self._wide(text, size) for text in texts], default=0.0)
        if axis.get("showticklabels", True) is False:
            widest = 0
        return 14 + widest + (18 if title_of(axis) else 0)

    def _depth(self, across: float) -> float:
        """Pixels that the names below (or above) the plot take."""
        size = self.x.get("tickfont", {}).get("size", 11)
        texts = self.x.get("ticktext")
        if not texts:
            return 22
        self._thin(across)
        texts = [plain_text(t) for t in self.x["ticktext"]]
        widest = max(self._wide(text, size) for text in texts)
        if "tickangle" not in self.x and widest > across / len(texts) - 4:
            self.x["tickangle"] = -40
        angle = math.radians(abs(self.x.get("tickangle") or 0))
        lines = max(text.count("\n") + 1 for text in texts)
        return 10 + widest * math.sin(angle) + 1.25 * size * lines * math.cos(angle)

    def _thin(self, across: float) -> None:
        """Leave names out where they would stand on each other."""
        room = max(2, int(across / (15 if self.x.get("tickangle") else 34)))
        every = -(-len(self.x["tickvals"]) // room)
        for key in ("tickvals", "ticktext"):
            self.x[key] = list(self.x[key])[::every]

    def _legend(self, entries: Sequence[Spec], left: float, across: float) -> float:
        from matplotlib.lines import Line2D

        size = self.layout.get("legend", {}).get("font", {}).get("size", 11)
        widest = max(self._wide(plain_text(t["name"]), size) for t in entries) + 40
        columns = max(1, min(len(entries), int(across / widest)))
        handles = []
        for trace in entries:
            strokes = self.stroke(trace) if "lines" in trace.get("mode", "") else {"ls": "none"}
            if trace.get("fill"):
                strokes |= {"lw": self.scale * 7}
            if "marker" in trace:
                symbol = trace["marker"].get("symbol", "circle")
                strokes |= self.face(trace, symbol if isinstance(symbol, str) else symbol[0], 7)
            handles.append(Line2D([], [], alpha=trace.get("opacity"), **strokes))
        legend = self.drawn.canvas.legend(
            handles,
            [plain_text(t["name"]) for t in entries],
            loc="upper left",
            bbox_to_anchor=((left - 6) / self.drawn.width, 1.0),
            ncols=columns,
            frameon=False,
            fontsize=self.scale * size,
            labelcolor=self.colour("@ink"),
            handlelength=2.2,
            borderpad=0.2,
            labelspacing=0.35,
            columnspacing=1.2,
        )
        legend.set_in_layout(False)
        return 8 + 1.55 * size * -(-len(entries) // columns)

    def stroke(self, trace: Spec) -> dict[str, Any]:
        line = trace.get("line", {})
        return {
            "color": self.colour(line.get("color", trace.get("marker", {}).get("color", "@ink"))),
            "lw": self.scale * line.get("width", 2),
            "ls": DASHES[line.get("dash", "solid")],
        }

    def face(self, trace: Spec, symbol: str, size: float) -> dict[str, Any]:
        marker = trace.get("marker", {})
        colour = self.colour(marker.get("color", trace.get("line", {}).get("color", "@ink")))
        kind = symbol.removesuffix("-open")
        hollow = kind != symbol
        return {
            "marker": SYMBOLS[kind],
            "ms": self.scale * size * (0.86 if kind == "diamond" else 1),
            "mfc": "none" if hollow else colour,
            "mec": colour,
            "mew": self.scale * (1.4 if hollow else marker.get("line", {}).get("width", 0)),
        }

    def group(self, titles: list[str]) -> str | None:
        """An id of a group, in which each point has a title."""
        if not any(titles):
            return None
        name = f"t{len(self.drawn.titles)}"
        self.drawn.titles[name] = titles
        return name

    def finish(self) -> Drawn:
        """Scale the axes to what was drawn, and add what stands beside the traces."""
        for key, axes in self.axes.items():
            self._scale(axes, "x", self.x)
            self._scale(axes, "y", self.y[key])
        for shape in self.layout.get("shapes", ()):
            self._shape(shape)
        for text in self.layout.get("annotations", ()):
            self._note(text)
        self.drawn.limits = self._lowest().get_xlim()
        return self.drawn

    def _lowest(self) -> Axes:
        return min(self.axes.values(), key=lambda a: a.get_position().y0)

    def _scale(self, axes: Axes, side: str, given: Spec) -> None:
        from matplotlib import ticker

        axis = axes.xaxis if side == "x" else axes.yaxis
        limits, set_limits = getattr(axes, f"get_{side}lim"), getattr(axes, f"set_{side}lim")
        log = given.get("type") == "log"
        if log:
            getattr(axes, f"set_{side}scale")("log")
            low, high = limits()
            subs = (1.0,) if high / max(low, 1e-300) > 100 else (1.0, 2.0, 5.0)
            axis.set_major_locator(ticker.LogLocator(subs=subs, numticks=8))
            axis.set_minor_locator(ticker.NullLocator())
        if "range" in given and None not in given["range"]:
            low, high = given["range"]
            set_limits(*((10**low, 10**high) if log else (low, high)))
        elif self.levels.get(side) and (side == "x" or axes is self.axes["y"]):
            set_limits(-0.5, len(self.levels[side]) - 0.5)
        elif given.get("rangemode") == "tozero":
            set_limits(0, None)
        if given.get("autorange") == "reversed":
            set_limits(*limits()[::-1])
        if "tickvals" in given:
            axis.set_major_locator(ticker.FixedLocator(list(given["tickvals"])))
            axis.set_major_formatter(
                ticker.FixedFormatter([plain_text(t) for t in given["ticktext"]])
            )
        else:
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _thousands(value)))
            if "dtick" in given and not log:
                axis.set_major_locator(ticker.MultipleLocator(given["dtick"]))
            elif not log:
                values = [v for t in self.shown for v in (t.get(side) or ())]
                counts = bool(values) and all(v is None or isinstance(v, int) for v in values)
                most = given.get("nticks", 7 if side == "x" else 6)
                steps = [1, 2, 2.5, 5, 10]
                axis.set_major_locator(ticker.MaxNLocator(most, integer=counts, steps=steps))
        self._ticks(axes, side, given)

    def _ticks(self, axes: Axes, side: str, given: Spec) -> None:
        px, ink = self.scale, self.colour("@ink")
        drawn = given.get("visible", True)
        shown = drawn and given.get("showticklabels", True)
        if side == "x":
            shown = shown and axes is self._lowest()
        size = given.get("tickfont", {}).get("size", 11)
        above = side == "x" and given.get("side") == "top"
        label = {"labelbottom": shown and not above, "labeltop": shown and above}
        axes.tick_params(
            side,
            length=0,
            pad=px * 5,
            labelsize=px * size,
            labelcolor=ink,
            labelrotation=-(given.get("tickangle") or 0),
            **(label if side == "x" else {"labelleft": shown}),
        )
        if side == "x" and given.get("tickangle"):
            for text in axes.get_xticklabels():
                text.set(ha="right", rotation_mode="anchor")
        drawn = given.get("showgrid", True) and drawn
        colour = self.colour(given.get("gridcolor", "@grid"))
        axes.grid(bool(drawn), axis=side, **({"color": colour, "lw": px} if drawn else {}))
        axes.set_axisbelow(True)
        for place, spine in axes.spines.items():
            wanted = place == ("bottom" if side == "x" else "left")
            if wanted or place in ("top", "right"):
                spine.set_visible(wanted and given.get("zeroline", True) and bool(drawn))
                spine.set(color=self.colour("@rule"), linewidth=px)
        if title_of(given) and (side == "y" or shown):
            name = axes.set_xlabel if side == "x" else axes.set_ylabel
            name(title_of(given), fontsize=px * 12, color=ink, labelpad=px * 5)

    def _shape(self, shape: Spec) -> None:
        from matplotlib.patches import Rectangle

        across, up = shape.get("xref", "x") == "paper", shape.get("yref", "y") == "paper"
        axes = self.axes[shape.get("yref", "y")] if not up else next(iter(self.axes.values()))
        line = shape.get("line", {})
        colour, width = self.colour(line.get("color", "@rule")), self.scale * line.get("width", 1)
        look = {"color": colour, "lw": width, "ls": DASHES[line.get("dash", "solid")]}
        if shape["type"] != "line":
            corner, fill = (shape["x0"], shape["y0"]), self.colour(shape.get("fillcolor", "none"))
            size = shape["x1"] - shape["x0"], shape["y1"] - shape["y0"]
            box = Rectangle(corner, *size, fc=fill, ec=colour, lw=width, zorder=0.5)
            box.set_alpha(shape.get("opacity", 1))
            axes.add_patch(box)
        elif up:
            axes.axvline(shape["x0"], **look)
        elif across:
            axes.axhline(shape["y0"], **look)
        else:
            axes.plot([shape["x0"], shape["x1"]], [shape["y0"], shape["y1"]], **look)

    def _note(self, note: Spec) -> None:
        axes = self.axes[note["yref"] if note.get("yref", "paper") in self.axes else "y"]
        px, font = self.scale, note.get("font", {})
        turned = {"left": "left", "right": "right"}.get(note.get("xanchor", ""), "center")
        raised = {"top": "top", "bottom": "bottom"}.get(note.get("yanchor", ""), "center")
        back = note.get("bgcolor")
        axes.annotate(
            plain_text(note["text"]),
            (note["x"], note["y"]),
            xycoords=(
                "axes fraction" if note.get("xref") == "paper" else "data",
                "axes fraction" if note.get("yref") == "paper" else "data",
            ),
            xytext=(px * note.get("xshift", 0), px * note.get("yshift", 0)),
            textcoords="offset points",
            ha=turned,
            va=raised,
            fontsize=px * font.get("size", 11),
            color=self.colour(font.get("color", "@ink")),
            annotation_clip=False,
            bbox={"fc": self.colour(back), "ec": "none", "pad": px * 1.5} if back else None,
        )


def title_of(axis: Spec) -> str:
    title = axis.get("title", {})
    return plain_text(title.get("text", "") if isinstance(title, Mapping) else title)


def plain_text(value: Any) -> str:
    return str(value).replace("<br>", "\n")


def _thousands(value: float) -> str:
    """A number at an axis.

    Example:
        >>> [_thousands(v) for v in (0.05, 20.0, 1500, 2e6, -3.0)]
        ['0.05', '20', '1.5k', '2M', '−3']
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}".replace("-", "−")
    return f"{value:.6g}".replace("-", "−")
