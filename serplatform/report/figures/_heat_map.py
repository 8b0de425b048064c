"""A heat map with a text in each cell, as the figures with matrices draw it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def heat_map(
    values: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    *,
    low: float,
    high: float,
    text_size: int = 11,
) -> dict[str, Any]:
    """A Plotly trace over cell numbers; Plotly picks a readable colour for each text.

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
