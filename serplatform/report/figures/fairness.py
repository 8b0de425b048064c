"""Recall by gender and by speaker, with a test of the largest gap."""

from __future__ import annotations

from collections.abc import Sequence

from serplatform.artifacts.evaluation import EvaluationRecord, FairnessRecord
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData, grouped
from serplatform.report.fairness import LEAST, fairness_on_test
from serplatform.report.figures.base import FIGURES, Cell, Drawing, Figure, Palette, Panel
from serplatform.report.figures.by_group import MAX_NAMED
from serplatform.report.figures.evaluation import EvaluationFigure
from serplatform.report.systems import read_interval
from serplatform.report.wording import p_value, percent, points

_DRAWN = {"gender": "permutations of whole speakers", "speaker": "permutations within classes"}
_GAP = ("groups", "class", "best", "worst", "gap", "p")


@FIGURES.register("fairness")
class FairnessFigure(Figure[tuple[str, Sequence[FairnessRecord]]]):
    title = "Who is understood worse"
    section = "results"
    after = "gender"
    needs = (Need.TESTED_SYSTEM,)

    def compute(self, report: ReportData) -> tuple[str, Sequence[FairnessRecord]]:
        if report.genders is None:
            raise NoDataError("not asked for; `serplatform report RUN --fairness` tests it")
        first = report.systems[0]
        return first.label, fairness_on_test(first.test, report.classes, report.genders)

    def draw(self, data: tuple[str, Sequence[FairnessRecord]], palette: Palette) -> Drawing:
        return draw_fairness(f"{data[0]}. ", data[1])


@FIGURES.register("evaluation_fairness")
class EvaluationFairness(EvaluationFigure):
    title = "Who is understood worse on the other dataset"
    after = "evaluation_robustness"

    def compute(self, report: ReportData) -> EvaluationRecord:
        if not report.evaluations[0]["fairness"]:
            raise NoDataError("not tested; `serplatform evaluate` with `--fairness` does")
        return super().compute(report)

    def draw(self, data: EvaluationRecord, palette: Palette) -> Drawing:
        return draw_fairness("", data["fairness"])


def draw_fairness(who: str, data: Sequence[FairnessRecord]) -> Drawing:
    """Both kinds of groups: genders with intervals, speakers as cells."""
    rows: list[list[Cell]] = [
        [one["kind"], r["group"], r["emotion"], r["utterances"], *read_interval(r["recall"]).ends()]
        for one in data
        for r in one["recalls"]
    ]
    gaps: list[list[Cell]] = [
        [one["kind"], g["emotion"], g["best"], g["worst"], g["value"], g["p_value"]]
        for one in data
        if (g := one["gap"]) is not None
    ]
    return Drawing(
        summary=who + " ".join(map(_sentence, data)),
        panels=[
            (_intervals if one["kind"] == "gender" else _cells)(one)
            for one in data
            if one["recalls"]
        ],
        tables=[
            charts.table(
                "Recall by gender and speaker",
                ["groups", "group", "class", "utterances", "recall", "low", "high"],
                rows,
            ),
            *([charts.table("Largest gap of a class's recall", _GAP, gaps)] if gaps else []),
        ],
        note=(
            "Intervals are over the speakers of a group; one speaker alone has none. Each draw of "
            "the test counts its own largest gap, so that p holds for all classes and groups "
            f"together. Groups of fewer than {LEAST} rows of a class are not compared in it."
        ),
    )


def _sentence(found: FairnessRecord) -> str:
    kind, gap = found["kind"], found["gap"]
    if not found["recalls"]:
        return f"The {kind} of the speakers is not known."
    if gap is None:
        return f"No gap by {kind}: fewer than two groups can be compared in a class."
    return (
        f"Largest gap by {kind}: {gap['emotion']}, {gap['best']} against {gap['worst']}, "
        f"{points(gap['value']).lstrip('+')} points of recall, {p_value(gap['p_value'])} "
        f"({_DRAWN[kind]})."
    )


def _intervals(found: FairnessRecord) -> Panel:
    classes = list(dict.fromkeys(row["emotion"] for row in found["recalls"]))
    groups = grouped(found["recalls"], lambda row: row["group"])
    return charts.panel(
        [
            charts.interval_points(
                group,
                [read_interval(row["recall"]) for row in rows],
                [classes.index(r["emotion"]) + charts.row_offset(n, len(groups)) for r in rows],
                charts.nth_marker(n, 9),
            )
            for n, (group, rows) in enumerate(groups.items())
        ],
        charts.axis("recall (%), 95 % interval", range=[-2, 102]),
        charts.rows_axis(classes),
        title=f"By {found['kind']}",
        height=130 + 46 * len(classes),
    )


def _cells(found: FairnessRecord) -> Panel:
    classes = list(dict.fromkeys(row["emotion"] for row in found["recalls"]))
    cells = {(row["group"], row["emotion"]): row for row in found["recalls"]}
    groups = list(dict.fromkeys(row["group"] for row in found["recalls"]))[:MAX_NAMED]
    table = [[cells.get((group, name)) for name in classes] for group in groups]
    return charts.heat_map(
        [[None if c is None else 100 * c["recall"]["value"] for c in row] for row in table],
        [["" if c is None else percent(c["recall"]["value"], 0) for c in row] for row in table],
        rows=groups,
        columns=classes,
        low=0,
        high=100,
        height=140 + 26 * len(groups),
        title=f"By {found['kind']}: recall (%)",
        y=found["kind"],
        angle=-40 if len(classes) > 4 else 0,
    )
