"""Recall of each class with an interval, for each system."""

from __future__ import annotations

import dataclasses
import math

from serplatform.report.evidence import Evidence
from serplatform.report.figures.base import (
    FIGURES,
    Drawing,
    Figure,
    Ink,
    NoDataError,
    Panel,
    Table,
)
from serplatform.report.wording import percent, short
from serplatform.statistics.bootstrap import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassRecall:
    """One class of one system; ``utterances`` counts its test rows."""

    system: str
    emotion: str
    utterances: int
    recall: Interval


@FIGURES.register("class_recall")
class ClassRecallFigure(Figure[tuple[ClassRecall, ...]]):
    name = "class_recall"
    title = "Recall by class"
    section = "results"
    order = 30

    def compute(self, evidence: Evidence) -> tuple[ClassRecall, ...]:
        if not evidence.systems:
            raise NoDataError("no finished trial has test posteriors")
        return tuple(
            ClassRecall(
                system=system.label,
                emotion=name,
                utterances=int((system.test.truth == k).sum()),
                recall=system.recall[k],
            )
            for system in evidence.systems
            for k, name in enumerate(evidence.classes)
        )

    def draw(self, data: tuple[ClassRecall, ...], ink: Ink) -> Drawing:
        systems = list(dict.fromkeys(row.system for row in data))
        classes = list(dict.fromkeys(row.emotion for row in data))
        traces = []
        for i, system in enumerate(systems):
            rows = [row for row in data if row.system == system and row.utterances]
            shift = 0.0 if len(systems) == 1 else (i - (len(systems) - 1) / 2) * 0.26
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": system,
                    "x": [100 * row.recall.value for row in rows],
                    "y": [classes.index(row.emotion) + shift for row in rows],
                    "error_x": {
                        "type": "data",
                        "symmetric": False,
                        "array": [_reach(row.recall, up=True) for row in rows],
                        "arrayminus": [_reach(row.recall, up=False) for row in rows],
                        "color": ink.colour(system),
                        "thickness": 2,
                        "width": 0,
                    },
                    "marker": {
                        "color": ink.colour(system),
                        "symbol": ink.symbol(system),
                        "size": 10,
                    },
                    "text": [short(row.emotion) for row in rows],
                    "hovertemplate": "%{text}: %{x:.1f} %",
                }
            )
        first = [row for row in data if row.system == systems[0] and row.utterances]
        best = max(first, key=lambda row: row.recall.value)
        worst = min(first, key=lambda row: row.recall.value)
        return Drawing(
            summary=(
                f"{systems[0]}: {best.emotion} is recognised best "
                f"({percent(best.recall.value)} %), "
                f"{worst.emotion} worst ({percent(worst.recall.value)} %)."
            ),
            panels=[
                Panel(
                    data=traces,
                    layout={
                        "xaxis": {
                            "title": {"text": "recall (%), 95 % interval"},
                            "range": [-2, 102],
                        },
                        "yaxis": {
                            "tickvals": list(range(len(classes))),
                            "ticktext": [short(name) for name in classes],
                            "range": [len(classes) - 0.4, -0.6],
                            "automargin": True,
                            "zeroline": False,
                        },
                        "shapes": [
                            {
                                "type": "line",
                                "x0": 100 / len(classes),
                                "x1": 100 / len(classes),
                                "yref": "paper",
                                "y0": 0,
                                "y1": 1,
                                "line": {"color": "@muted", "dash": "dot", "width": 1},
                            }
                        ],
                        "annotations": [
                            {
                                "x": 100 / len(classes),
                                "y": 0,
                                "yref": "paper",
                                "yanchor": "bottom",
                                "xanchor": "left",
                                "text": "chance",
                                "showarrow": False,
                                "font": {"size": 11, "color": "@muted"},
                            }
                        ],
                    },
                    height=130 + 46 * len(classes),
                )
            ],
            tables=[
                Table(
                    caption="Recall by class",
                    header=["system", "class", "test utterances", "recall", "low", "high"],
                    rows=[
                        [
                            row.system,
                            row.emotion,
                            row.utterances,
                            None if math.isnan(row.recall.value) else row.recall.value,
                            row.recall.low,
                            row.recall.high,
                        ]
                        for row in data
                    ],
                )
            ],
            note="Intervals resample whole speakers; the dotted line is chance, 1/K.",
        )


def _reach(recall: Interval, *, up: bool) -> float:
    """Distance in percent from the value to one end of its interval; 0 where there is none."""
    end = recall.high if up else recall.low
    return 0.0 if end is None else max(0.0, 100 * abs(end - recall.value))
