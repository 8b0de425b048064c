"""The same recordings under noise, through codecs, in rooms: what is lost against as they are."""

from __future__ import annotations

from serplatform.artifacts.evaluation import EvaluationRecord
from serplatform.report import charts
from serplatform.report.data import NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Palette
from serplatform.report.figures.evaluation import EvaluationFigure
from serplatform.report.systems import read_interval
from serplatform.report.wording import percent, points


@FIGURES.register("evaluation_robustness")
class EvaluationRobustness(EvaluationFigure):
    title = "On worse recordings"
    after = "evaluation_groups"

    def compute(self, report: ReportData) -> EvaluationRecord:
        if not report.evaluations[0]["robustness"]:
            raise NoDataError("not measured; `serplatform evaluate` with `--robustness` does")
        return super().compute(report)

    def draw(self, data: EvaluationRecord, palette: Palette) -> Drawing:
        rows, reading = data["robustness"], data["readings"][data["reading"]]
        clean, chance = read_interval(reading["metrics"]["uar"]), 100 * reading["chance_uar"]
        names = ["as they are", *(row["condition"] for row in rows)]
        uars = [clean, *(read_interval(row["uar"]) for row in rows)]
        lost = [read_interval(row["difference_to_clean"]) for row in rows]
        worst = min(rows, key=lambda row: row["difference_to_clean"]["value"])
        below = sum(one.high is not None and one.high < 0 for one in lost)
        height, mark = 110 + 24 * len(names), charts.nth_marker(0, 9)
        uar = charts.panel(
            [charts.interval_points("UAR", uars, range(len(uars)), mark)],
            charts.axis("UAR (%), 95 % interval", range=[-2, 102]),
            charts.rows_axis(names),
            title="UAR",
            legend=False,
            shapes=[charts.vertical(chance)],
            height=height,
        )
        difference = charts.panel(
            [charts.interval_points("difference", lost, range(1, len(names)), mark)],
            charts.axis("difference in points, 95 % interval"),
            charts.rows_axis(names),
            title="Against the same recordings as they are",
            legend=False,
            shapes=[charts.vertical(0)],
            height=height,
        )
        ends = ("low", "high")
        return Drawing(
            summary=(
                f"UAR {clean.in_percent()} on the recordings as they are ({data['reading']} "
                f"classes). The lowest against them is under {worst['condition']}: "
                f"{points(worst['difference_to_clean']['value'])} points, to "
                f"{percent(worst['uar']['value'])} %. {below} of {len(rows)} conditions are worse "
                "by an interval that excludes 0."
            ),
            panels=[uar, difference],
            tables=[
                charts.table(
                    "UAR under each condition",
                    [
                        *("condition", "utterances", "UAR", *ends),
                        *("difference", *(f"difference {end}" for end in ends), "p"),
                    ],
                    [
                        [
                            *(row["condition"], row["utterances"]),
                            *(*read_interval(row["uar"]).ends(), *one.ends(), one.p_value),
                        ]
                        for row, one in zip(rows, lost, strict=True)
                    ],
                )
            ],
            note=(
                "Each difference is to the same recordings as they are, its interval paired by "
                "speaker; the dotted lines are chance and no difference. Intervals hold for one "
                "condition each, not for all together."
            ),
        )
