"""Recall of each class with an interval, for each system."""

from __future__ import annotations

import dataclasses
from math import isnan

from serplatform.report.evidence import Evidence
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel
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
                charts.markers(
                    system,
                    [100 * row.recall.value for row in rows],
                    [classes.index(row.emotion) + shift for row in rows],
                    error_x=charts.whiskers([row.recall for row in rows], ink.colour(system)),
                    marker=ink.marker(system, 10),
                    text=[short(row.emotion) for row in rows],
                    hovertemplate="%{text}: %{x:.1f} %",
                )
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
                        "xaxis": charts.axis("recall (%), 95 % interval", range=[-2, 102]),
                        "yaxis": charts.rows_axis([short(name) for name in classes]),
                        "shapes": [charts.upright(100 / len(classes))],
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
                charts.table(
                    "Recall by class",
                    data,
                    {
                        "system": lambda r: r.system,
                        "class": lambda r: r.emotion,
                        "test utterances": lambda r: r.utterances,
                        "recall": lambda r: None if isnan(r.recall.value) else r.recall.value,
                        "low": lambda r: r.recall.low,
                        "high": lambda r: r.recall.high,
                    },
                )
            ],
            note="Intervals resample whole speakers; the dotted line is chance, 1/K.",
        )
