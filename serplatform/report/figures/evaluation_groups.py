"""UAR by gender and by speaker on another dataset."""

from __future__ import annotations

from collections.abc import Sequence

from serplatform.artifacts.evaluation import EvaluationRecord, GroupRecord
from serplatform.report import charts
from serplatform.report.figures.base import FIGURES, Drawing, Palette, Panel, Table
from serplatform.report.figures.by_group import MAX_NAMED
from serplatform.report.figures.evaluation import EvaluationFigure
from serplatform.report.systems import read_interval
from serplatform.report.wording import p_value, percent, points


@FIGURES.register("evaluation_groups")
class EvaluationGroups(EvaluationFigure):
    title = "By gender and speaker on the other dataset"
    after = "evaluation_confusion"

    def draw(self, data: EvaluationRecord, palette: Palette) -> Drawing:
        speakers = sorted(data["by_speaker"], key=lambda row: row["uar"]["value"])
        groups = {"gender": data["by_gender"], "speaker": speakers}
        worst, best = speakers[0], speakers[-1]
        said = [
            f"Speakers: from {percent(worst['uar']['value'])} % ({worst['name']}) to "
            f"{percent(best['uar']['value'])} % ({best['name']})."
        ]
        for row in data["gender_differences"]:
            found = read_interval(row["uar"])
            ends = found.bounds(points, " to ")
            told = "" if found.p_value is None else f"{ends}, {p_value(found.p_value)}"
            said.append(
                f"{row['one']} − {row['other']}: {points(found.value)} points of UAR{told}."
            )
        return Drawing(
            summary=" ".join(said),
            panels=[_panel(kind, rows[:MAX_NAMED]) for kind, rows in groups.items() if rows],
            tables=[_table(kind, rows) for kind, rows in groups.items() if rows],
            note=(
                "UAR over the classes that a group has; intervals are over its speakers, so one "
                "speaker has none. Differences: Welch's t over speakers."
            ),
        )


def _panel(kind: str, rows: Sequence[GroupRecord]) -> Panel:
    return charts.panel(
        [
            charts.interval_points(
                "UAR",
                [read_interval(row["uar"]) for row in rows],
                range(len(rows)),
                charts.nth_marker(0, 9),
                texts=[row["name"] for row in rows],
                hover="%{text}: %{x:.1f} %",
            )
        ],
        charts.axis("UAR (%), 95 % interval", range=[-2, 102]),
        charts.rows_axis([row["name"] for row in rows]),
        title=f"By {kind}",
        legend=False,
        height=100 + 24 * len(rows),
    )


def _table(kind: str, rows: Sequence[GroupRecord]) -> Table:
    return charts.table(
        f"Results by {kind}",
        [kind, "speakers", "utterances", "UAR", "low", "high", "accuracy"],
        [
            [
                *(row["name"], row["speakers"], row["utterances"]),
                *read_interval(row["uar"]).ends(),
                row["accuracy"]["value"],
            ]
            for row in rows
        ],
    )
