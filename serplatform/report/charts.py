"""What figures draw with: traces, axes, reference lines, panels and tables, in Plotly's words.

Colours are tokens of the page (:mod:`serplatform.report.figures.base`); further keywords are
Plotly's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from serplatform.report.figures.base import SERIES, SYMBOLS, Cell, Panel, Spec, Table, cell_text
from serplatform.report.wording import short
from serplatform.statistics.intervals import Interval

#: An axis of names: nothing but them.
BARE: Spec = {"showgrid": False, "zeroline": False}
DOTTED: Spec = {"color": "@muted", "dash": "dot", "width": 1}
#: Fractions are drawn in percent.
PERCENT = 100.0
#: values that a box needs
FEWEST_IN_BOX = 5


def percents(values: Iterable[float | None]) -> list[float | None]:
    """Fractions in percent; None stays."""
    return [None if value is None else PERCENT * value for value in values]


def marker(
    color: str | None,
    symbol: str | Sequence[str],
    size: float | Sequence[float],
    *,
    edge: float | None = None,
) -> Spec:
    """How points are drawn, each or all; ``edge`` is the width of their outline in pixels.

    Without a colour they take their line's.
    """
    colours = {} if color is None else {"color": color}
    outline = {} if edge is None else {"line": {"width": edge}}
    return {"symbol": symbol, "size": size, **colours, **outline}


def nth_marker(place: int, size: float) -> Spec:
    """The marker of the one at ``place`` among what is not an architecture or a system."""
    return marker(SERIES[place % len(SERIES)], SYMBOLS[place % len(SYMBOLS)], size)


def _trace(kind: str, name: str, texts: Iterable[Any] | None, hover: str) -> Spec:
    said = {"hovertemplate": hover} if hover else {}
    return {"type": kind, "name": name, **({} if texts is None else {"text": list(texts)}), **said}


def points(
    name: str,
    x: Iterable[Any],
    y: Iterable[Any],
    marker: Spec,
    *,
    texts: Iterable[Any] | None = None,
    hover: str = "",
) -> Spec:
    """Markers alone; ``hover`` is Plotly's template, empty for points without a text."""
    found = _trace("scatter", name, texts, hover)
    return {**found, "mode": "markers", "x": list(x), "y": list(y), "marker": marker}


def line(
    name: str,
    x: Iterable[Any],
    y: Iterable[Any],
    stroke: Spec,
    *,
    marker: Spec | None = None,
    texts: Iterable[Any] | None = None,
    hover: str = "",
    **more: Any,
) -> Spec:
    """A line, with markers where one is given."""
    found = _trace("scatter", name, texts, hover)
    found |= {"x": list(x), "y": list(y), "line": stroke, **more}
    if marker is None:
        return {**found, "mode": "lines"}
    return {**found, "mode": "lines+markers", "marker": marker}


def steps(name: str, x: Iterable[Any], y: Iterable[Any], **stroke: Any) -> Spec:
    """The best so far: a line in steps that says nothing when pointed at."""
    return line(name, x, y, {"shape": "hv", "color": "@ink", **stroke})


def boxes(
    name: str,
    x: Iterable[Any],
    y: Iterable[Any] | None,
    marker: Spec,
    texts: Iterable[Any],
    hover: str,
) -> Spec:
    """Boxes that show each of their values, which stand alone where they are few.

    Without ``y`` one box along x.
    """
    values, up = list(x), {} if y is None else {"y": list(y)}
    line = {"width": int(len(values) >= FEWEST_IN_BOX), "color": marker["color"]}
    found = _trace("box", name, texts, hover)
    return {**found, **up, "x": values, "line": line, "marker": marker}


def bars(names: Sequence[str], values: Sequence[float], stds: Sequence[float], color: str) -> Spec:
    """Horizontal bars with ± one standard deviation each."""
    return {
        "type": "bar",
        "orientation": "h",
        "y": list(names),
        "x": list(values),
        "error_x": {"array": list(stds), "color": "@ink", "thickness": 1, "width": 3},
        "marker": {"color": color},
    }


def interval_points(
    name: str,
    found: Sequence[Interval],
    rows: Iterable[float],
    marker: Spec,
    *,
    texts: Iterable[Any] | None = None,
    hover: str = "",
    scale: float = PERCENT,
    widest: float = math.inf,
) -> Spec:
    """Values along x, each on its row, with bars to the ends of their intervals.

    ``scale`` is the axis's; values beyond ``widest`` are drawn there.
    """

    def reach(value: float, end: float | None, sign: int) -> float:
        if end is None or not math.isfinite(end):
            return 0.0
        return scale * max(0.0, sign * (min(end, widest) - min(value, widest)))

    x = [scale * min(interval.value, widest) for interval in found]
    whiskers = {
        "array": [reach(i.value, i.high, 1) for i in found],
        "arrayminus": [reach(i.value, i.low, -1) for i in found],
        "color": marker["color"],
        "thickness": 2,
        "width": 0,
    }
    return {**points(name, x, rows, marker, texts=texts, hover=hover), "error_x": whiskers}


def axis(title: str = "", names: Sequence[str] | None = None, **more: Any) -> Spec:
    """An axis with its title; of names, the first at 0 and each a step further."""
    titled = {"title": {"text": title}} if title else {}
    named = {} if names is None else {"tickvals": list(range(len(names))), "ticktext": list(names)}
    return {**titled, **named, **more}


def rows_axis(names: Sequence[str], *, limit: int = 28) -> Spec:
    """A y axis with a row for each name, the first on top; longer names are cut."""
    ends, texts = [len(names) - 0.4, -0.6], [short(name, limit) for name in names]
    return axis("", texts, range=ends, zeroline=False)


def ends(found: Interval | None) -> tuple[float | None, ...]:
    """Value, lower and upper end, for three cells of a table; empty where there is none."""
    return (None, None, None) if found is None else found.ends()


def row_offset(place: int, count: int) -> float:
    """How far the trace at ``place`` of ``count`` is moved from the middle of a row."""
    return (place - (count - 1) / 2) * 0.26


def vertical(x: float) -> Spec:
    """A dotted line from the bottom of the plot to its top."""
    return {"type": "line", "x0": x, "yref": "paper", "line": DOTTED}


def horizontal(y: float, axis_name: str = "y") -> Spec:
    """A dotted line from the left of the plot to its right."""
    return {"type": "line", "xref": "paper", "yref": axis_name, "y0": y, "line": DOTTED}


def rectangle(
    x: tuple[float, float], y: tuple[float, float], axis_name: str, *, filled: bool
) -> Spec:
    """A span on a track, behind what is drawn there."""
    return {
        "type": "rect",
        "x0": x[0],
        "x1": x[1],
        "yref": axis_name,
        "y0": y[0],
        "y1": y[1],
        "line": {"color": "@rule", "width": 1},
        "fillcolor": "@series-2" if filled else "@wash",
        "opacity": 0.35 if filled else 1,
    }


def note(
    x: float, y: float, text: str, *, color: str = "@ink", size: int = 11, **more: Any
) -> Spec:
    """A text in the plot."""
    return {"x": x, "y": y, "text": text, "font": {"size": size, "color": color}, **more}


def chance_note(x: float, **more: Any) -> Spec:
    """What names the line of chance, at the bottom of the plot."""
    return note(x, 0, "chance", yref="paper", yanchor="bottom", color="@muted", **more)


def words(x: Sequence[float], y: float, texts: Sequence[str], axis_name: str, size: int) -> Spec:
    """Texts along a track."""
    return {
        "type": "scatter",
        "mode": "text",
        "x": list(x),
        "y": [y] * len(x),
        "yaxis": axis_name,
        "text": list(texts),
        "textfont": {"size": size},
    }


def picture(cells: Sequence[Sequence[float]], start: float, step: float) -> Spec:
    """A spectrogram or a track, lowest row first; the first column's centre is at ``start``."""
    return {"type": "heatmap", "z": cells, "x0": start, "dx": step, "y0": 0, "dy": 1}


def panel(
    data: Sequence[Spec],
    x: Spec | str,
    y: Spec | str,
    *,
    title: str = "",
    height: int = 360,
    legend: bool | None = None,
    shapes: Sequence[Spec] = (),
    notes: Sequence[Spec] = (),
    min_width: float = 0,
    square: bool = False,
    audio: str = "",
    **more: Any,
) -> Panel:
    """A plot; ``x`` and ``y`` are axes or their titles, ``more`` is of Plotly's layout.

    A plot narrower than ``min_width`` pixels scrolls sideways.
    """
    layout: Spec = {
        "xaxis": axis(x) if isinstance(x, str) else x,
        "yaxis": axis(y) if isinstance(y, str) else y,
        **more,
    }
    if legend is not None:
        layout["showlegend"] = legend
    meta: Spec = {"minWidth": min_width} if min_width else {}
    meta |= {"square": True} if square else {}
    given = {"shapes": shapes, "annotations": notes, "meta": meta}
    layout |= {key: value for key, value in given.items() if value}
    return Panel(title=title, data=data, layout=layout, height=height, audio=audio)


def heat_map(
    values: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    low: float,
    high: float,
    height: int,
    title: str = "",
    x: str = "",
    y: str = "",
    angle: float | None = None,
    text_size: int = 11,
    min_width: int = 0,
    square: bool = False,
) -> Panel:
    """A plot of cells with a text in each; it is dark on light cells and light on dark ones.

    ``values`` are rows from top to bottom, None for an empty cell; ``low`` and ``high`` are the
    ends of the colour scale, ``angle`` is that of the columns' names in degrees.
    """
    cells = {
        "type": "heatmap",
        "z": [list(row) for row in values],
        "x": list(range(len(columns))),
        "y": list(range(len(rows))),
        "zmin": low,
        "zmax": high,
        "xgap": 2,
        "text": [list(row) for row in texts],
        "textfont": {"size": text_size},
    }
    turned = {} if angle is None else {"tickangle": angle}
    across = axis(x, [short(name) for name in columns], **turned, **BARE)
    down = axis(y, [short(name) for name in rows], autorange="reversed", **BARE)
    return panel(
        [cells], across, down, title=title, height=height, min_width=min_width, square=square
    )


def class_cells(classes: Sequence[str]) -> Spec:
    """Settings of a heat map of classes against classes."""
    size = len(classes)
    angle, text_size = -40 if size > 4 else 0, 11 if size <= 8 else 9
    return {"rows": classes, "columns": classes, "angle": angle, "text_size": text_size}


def table(
    caption: str,
    columns: Sequence[str] | Mapping[str, Callable[[Any], str] | None],
    rows: Iterable[Sequence[Cell]],
    *,
    csv_header: Sequence[str] = (),
    sortable: bool = False,
) -> Table:
    """A table whose page shows the values that its download has.

    A column may bring what makes a text of its values, None for the usual one; ``csv_header``
    names the columns in the download, where they are others.
    """
    rows = [list(row) for row in rows]
    given = columns.values() if isinstance(columns, Mapping) else [None] * len(columns)
    show = [text or cell_text for text in given]
    return Table(
        caption=caption,
        header=list(columns),
        rows=rows,
        display=[[text(cell) for text, cell in zip(show, row, strict=True)] for row in rows],
        csv_header=csv_header,
        sortable=sortable,
    )


def matrix_table(
    caption: str,
    corner: str,
    columns: Sequence[str],
    rows: Sequence[str],
    values: Iterable[Sequence[Cell]],
    show: Callable[[Any], str] = cell_text,
) -> Table:
    """A table with a name before each row of values."""
    named = list(zip(rows, values, strict=True))
    return Table(
        caption=caption,
        header=[corner, *columns],
        rows=[[name, *row] for name, row in named],
        display=[[name, *map(show, row)] for name, row in named],
    )
