"""Scale a plot's axes to what was drawn, and add the lines and texts beside the traces."""

from __future__ import annotations

from serplatform.report.drawing.frame import DASHES, Axes, Drawn, Frame, plain_text, title_of
from serplatform.report.figures.base import Spec


class Plot(Frame):
    """One panel being drawn: its axes by the name that traces give them."""

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
        shown = given.get("visible", True) and given.get("showticklabels", True)
        if side == "x":
            shown = shown and axes is self._lowest()
        limits, set_limits, set_scale = (
            (axes.get_xlim, axes.set_xlim, axes.set_xscale)
            if side == "x"
            else (axes.get_ylim, axes.set_ylim, axes.set_yscale)
        )
        log = given.get("type") == "log"
        if log:
            set_scale("log")
            low, high = limits()
            subs = (1.0,) if high / max(low, 1e-300) > 100 else (1.0, 2.0, 5.0)
            axis.set_major_locator(ticker.LogLocator(subs=subs, numticks=8))
            axis.set_minor_locator(ticker.NullLocator())
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _thousands(value)))
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
        elif not log:
            found: ticker.Locator = ticker.MaxNLocator(
                given.get("nticks", 7 if side == "x" else 6),
                integer=self._counts(side),
                steps=[1, 2, 2.5, 5, 10],
            )
            if "dtick" in given:
                found = ticker.MultipleLocator(given["dtick"])
            axis.set_major_locator(found)
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _thousands(value)))
        self._ticks(axes, side, given, shown=bool(shown))

    def _counts(self, side: str) -> bool:
        """Whether all that is drawn along an axis are whole numbers."""
        values = [v for t in self.shown for v in (t.get(side) or ())]
        return bool(values) and all(v is None or isinstance(v, int) for v in values)

    def _ticks(self, axes: Axes, side: str, given: Spec, *, shown: bool) -> None:
        px, ink = self.scale, self.colour("@ink")
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
        drawn = given.get("showgrid", True) and given.get("visible", True)
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
        look = {
            "color": self.colour(line.get("color", "@rule")),
            "lw": self.scale * line.get("width", 1),
        }
        if shape["type"] == "line":
            look["ls"] = DASHES[line.get("dash", "solid")]
            if up:
                axes.axvline(shape["x0"], **look)
            elif across:
                axes.axhline(shape["y0"], **look)
            else:
                axes.plot([shape["x0"], shape["x1"]], [shape["y0"], shape["y1"]], **look)
            return
        size = shape["x1"] - shape["x0"], shape["y1"] - shape["y0"]
        axes.add_patch(
            Rectangle(
                (shape["x0"], shape["y0"]),
                *size,
                fc=self.colour(shape.get("fillcolor", "none")),
                ec=look["color"],
                lw=look["lw"],
                alpha=shape.get("opacity", 1),
                zorder=0.5,
            )
        )

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
