"""Recall of each class with an interval, for each system."""

from __future__ import annotations

import dataclasses

from serplatform.report import charts
from serplatform.report.data import Need, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Spec
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
    title = "Recall by class"
    section = "results"
    after = "confusion_matrix"
    needs = (Need.TESTED_SYSTEM,)

    def compute(self, report: ReportData) -> tuple[ClassRecall, ...]:
        return tuple(
            ClassRecall(
                system=system.label,
                emotion=name,
                utterances=int((system.test.truth == k).sum()),
                recall=system.recall[k],
            )
            for system in report.systems
            for k, name in enumerate(report.classes)
        )

    def draw(self, data: tuple[ClassRecall, ...], palette: Palette) -> Drawing:
        systems = list(dict.fromkeys(row.system for row in data))
        classes = list(dict.fromkeys(row.emotion for row in data))
        tested = {s: [r for r in data if r.system == s and r.utterances] for s in systems}
        traces = [
            charts.interval_points(
                system,
                [row.recall for row in rows],
                [classes.index(row.emotion) + charts.row_offset(i, len(systems)) for row in rows],
                palette.marker(system, 10),
                texts=[short(row.emotion) for row in rows],
                hover="%{text}: %{x:.1f} %",
            )
            for i, (system, rows) in enumerate(tested.items())
        ]
        best = max(tested[systems[0]], key=lambda row: row.recall.value)
        worst = min(tested[systems[0]], key=lambda row: row.recall.value)
        chance = 100 / len(classes)
        low: Spec = {"yref": "paper", "yanchor": "bottom", "xanchor": "left"}
        return Drawing(
            summary=(
                f"{systems[0]}: {best.emotion} is recognised best "
                f"({percent(best.recall.value)} %), "
                f"{worst.emotion} worst ({percent(worst.recall.value)} %)."
            ),
            panels=[
                charts.panel(
                    traces,
                    charts.axis("recall (%), 95 % interval", range=[-2, 102]),
                    charts.rows_axis(classes),
                    shapes=[charts.vertical(chance)],
                    notes=[charts.note(chance, 0, "chance", color="@muted", **low)],
                    height=130 + 46 * len(classes),
                )
            ],
            tables=[
                charts.table(
                    "Recall by class",
                    ["system", "class", "test utterances", "recall", "low", "high"],
                    [
                        [r.system, r.emotion, r.utterances, *r.recall.ends()]
                        if r.utterances
                        else [r.system, r.emotion, 0, None, None, None]
                        for r in data
                    ],
                )
            ],
            note="Intervals resample whole speakers; the dotted line is chance, 1/K.",
        )
