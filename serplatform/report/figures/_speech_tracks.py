"""Words, phones and spectrogram as Plotly draws them under each other on one axis of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def picture(
    cells: npt.NDArray[np.uint8] | None, start: float, shift: float
) -> list[dict[str, Any]]:
    """A spectrogram, (M, T), whose first cell's centre is at ``start`` seconds."""
    if cells is None:
        return []
    return [
        {
            "type": "heatmap",
            "z": cells.tolist(),
            "x0": start,
            "dx": shift,
            "y0": 0,
            "dy": 1,
            "colorscale": "@sequential",
            "showscale": False,
            "hoverinfo": "skip",
        }
    ]


def labels(
    words: Sequence[tuple[str, float, float]], phones: Sequence[tuple[str, float, float, str]]
) -> list[dict[str, Any]]:
    """Words and phones as texts in the middle of their spans."""
    traces = []
    for height, size, spans in (
        (1.5, 12, [span[:3] for span in words]),
        (0.5, 10, [span[:3] for span in phones]),
    ):
        if not spans:
            continue
        traces.append(
            {
                "type": "scatter",
                "mode": "text",
                "x": [(start + end) / 2 for _, start, end in spans],
                "y": [height] * len(spans),
                "yaxis": "y3",
                "text": [label for label, _, _ in spans],
                "textfont": {"size": size, "color": "@ink"},
                "hoverinfo": "skip",
                "showlegend": False,
                "cliponaxis": True,
            }
        )
    return traces


def rectangles(
    words: Sequence[tuple[str, float, float]], phones: Sequence[tuple[str, float, float, str]]
) -> list[dict[str, Any]]:
    """Spans of words and phones; vowels are filled."""
    found = [(1.05, 1.95, start, end, False) for _, start, end in words]
    found += [(0.05, 0.95, start, end, sort == "vowel") for _, start, end, sort in phones]
    return [
        {
            "type": "rect",
            "layer": "below",
            "x0": start,
            "x1": end,
            "yref": "y3",
            "y0": low,
            "y1": high,
            "line": {"color": "@rule", "width": 1},
            "fillcolor": "@series-2" if vowel else "@wash",
            "opacity": 0.35 if vowel else 1,
        }
        for low, high, start, end, vowel in found
    ]
