"""What the figures draw again and again: traces, axes, lines and tables.

Traces and axes are Plotly's JSON; ``more`` are further keys of it, in the order written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from serplatform.report.figures.base import Cell, Table, cell_text
from serplatform.statistics.bootstrap import Interval

T = TypeVar("T")
Spec = dict[str, Any]

#: An axis of names: nothing but them.
BARE: Spec = {"showgrid": False, "zeroline": False}
#: A box that shows each of its values.
BOX: Spec = {"boxpoints": "all", "jitter": 0.4, "pointpos": 0, "fillcolor": "rgba(0,0,0,0)"}
DOTTED: Spec = {"color": "@muted", "dash": "dot", "width": 1}


def scatter(mode: str, name: str, x: Iterable[Any], y: Iterable[Any], **more: Any) -> Spec:
    """Points, lines or both."""
    return {"type": "scatter", "mode": mode, "name": name, "x": list(x), "y": list(y), **more}


def markers(name: str, x: Iterable[Any], y: Iterable[Any], **more: Any) -> Spec:
    """Markers alone."""
    return scatter("markers", name, x, y, **more)


def line(name: str, x: Iterable[Any], y: Iterable[Any], **more: Any) -> Spec:
    """A line without markers."""
    return scatter("lines", name, x, y, **more)


def steps(name: str, x: Iterable[Any], y: Iterable[Any], **stroke: Any) -> Spec:
    """The best so far: a line in steps that says nothing when pointed at."""
    return line(name, x, y, line={"shape": "hv", "color": "@ink", **stroke}, hoverinfo="skip")


def whiskers(
    found: Sequence[Interval], colour: str, *, scale: float = 100.0, widest: float = math.inf
) -> Spec:
    """Bars along x from each value to the ends of its interval; none where there is no interval.

    Args:
        found: one a point.
        colour: token.
        scale: of the axis.
        widest: values beyond are drawn there.
    """

    def reach(value: float, end: float | None, sign: int) -> float:
        if end is None or not math.isfinite(end):
            return 0.0
        return scale * max(0.0, sign * (min(end, widest) - min(value, widest)))

    return {
        "type": "data",
        "symmetric": False,
        "array": [reach(i.value, i.high, 1) for i in found],
        "arrayminus": [reach(i.value, i.low, -1) for i in found],
        "color": colour,
        "thickness": 2,
        "width": 0,
    }


def heat_map(
    values: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    *,
    low: float,
    high: float,
    text_size: int = 11,
) -> Spec:
    """A trace over cell numbers; Plotly picks a readable colour for each text.

    Args:
        values: rows from top to bottom, None for an empty cell.
        texts: the same shape.
        low: value of the scale's first colour.
        high: value of its last.
        text_size: pixels.
    """
    return {
        "type": "heatmap",
        "z": [list(row) for row in values],
        "x": list(range(len(values[0]))),
        "y": list(range(len(values))),
        "zmin": low,
        "zmax": high,
        "colorscale": "@sequential",
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hoverinfo": "skip",
        "text": [list(row) for row in texts],
        "texttemplate": "%{text}",
        "textfont": {"size": text_size},
    }


def axis(title: str = "", names: Sequence[str] | None = None, **more: Any) -> Spec:
    """An axis with its title; of names, the first at 0 and each a step further."""
    titled = {"title": {"text": title}} if title else {}
    named = {} if names is None else {"tickvals": list(range(len(names))), "ticktext": list(names)}
    return {**titled, **named, **more}


def rows_axis(names: Sequence[str]) -> Spec:
    """A y axis with a row for each name, the first on top."""
    ends = [len(names) - 0.4, -0.6]
    return axis("", names, range=ends, automargin=True, zeroline=False)


def upright(x: float) -> Spec:
    """A dotted line from the bottom of the plot to its top."""
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": DOTTED}


def table(
    caption: str,
    items: Iterable[T],
    columns: Mapping[str, Callable[[T], Cell] | tuple[Callable[[T], Cell], Callable[[Any], str]]],
    csv: Mapping[str, Callable[[T], Cell]] | None = None,
    **options: Any,
) -> Table:
    """A row for each item.

    Args:
        caption: what the rows are.
        items: of the rows.
        columns: name to what gives an item's value, and where the page is to show it in another
            way than numbers are shown, what makes a text of the value.
        csv: columns of the download, where they are others.
        **options: of :class:`Table`.
    """
    items = list(items)
    pairs = [c if isinstance(c, tuple) else (c, cell_text) for c in columns.values()]
    values = [[get(item) for get, _ in pairs] for item in items]
    if csv is not None:
        options["csv_header"] = list(csv)
    return Table(
        caption=caption,
        header=list(columns),
        rows=values if csv is None else [[get(i) for get in csv.values()] for i in items],
        display=[[show(v) for (_, show), v in zip(pairs, row, strict=True)] for row in values],
        **options,
    )


def ends(name: str, get: Callable[[T], Interval]) -> dict[str, Callable[[T], Cell]]:
    """Columns of an interval: its value, its low and its high end."""
    return {
        name: lambda item: get(item).value,
        f"{name} low": lambda item: get(item).low,
        f"{name} high": lambda item: get(item).high,
    }
