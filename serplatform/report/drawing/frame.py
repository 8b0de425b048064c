"""Lay a plot out: what its traces are called, margins, axes, legend.

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


class Frame:
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
                look = self.marker({**trace["marker"], "size": 7}, trace)
                symbol = trace["marker"].get("symbol", "circle")
                symbol = symbol if isinstance(symbol, str) else symbol[0]
                strokes |= self.face(symbol, look[0], look[2], 7)
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

    def marker(self, marker: Spec, trace: Spec) -> tuple[str, float, float]:
        own = trace.get("line", {}).get("color", "@ink")
        colour = self.colour(marker.get("color", own))
        edge = self.scale * marker.get("line", {}).get("width", 0)
        return colour, marker.get("opacity", 1.0), edge

    def face(self, symbol: str, colour: str, edge: float, size: float) -> dict[str, Any]:
        kind = symbol.removesuffix("-open")
        hollow = kind != symbol
        return {
            "marker": SYMBOLS[kind],
            "ms": self.scale * size * (0.86 if kind == "diamond" else 1),
            "mfc": "none" if hollow else colour,
            "mec": colour,
            "mew": self.scale * 1.4 if hollow else edge,
        }

    def group(self, titles: list[str]) -> str | None:
        """An id of a group, in which each point has a title."""
        if not any(titles):
            return None
        name = f"t{len(self.drawn.titles)}"
        self.drawn.titles[name] = titles
        return name


def title_of(axis: Spec) -> str:
    title = axis.get("title", {})
    return plain_text(title.get("text", "") if isinstance(title, Mapping) else title)


def plain_text(value: Any) -> str:
    return str(value).replace("<br>", "\n")
