"""Test metrics of each gender's speakers."""

from __future__ import annotations

from serplatform.artifacts.ensemble import GenderRow
from serplatform.report import charts
from serplatform.report.data import LABELS, Need, NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.wording import listing, percent


@FIGURES.register("gender")
class GenderFigure(Figure[list[GenderRow]]):
    title = "By gender of the speaker"
    section = "results"
    after = "speaker_accuracy"
    needs = (Need.ENSEMBLE,)

    def compute(self, report: ReportData) -> list[GenderRow]:
        found = report.ensemble.get("per_gender")
        if not found:
            raise NoDataError("the corpus does not give the speakers' gender, or is not at hand")
        return found

    def draw(self, data: list[GenderRow], palette: Palette) -> Drawing:
        rows = [
            (row["gender"], LABELS[key], row["utterances"], metrics["uar"], metrics["accuracy"])
            for row in data
            for key, metrics in (
                ("ensemble", row.get("ensemble")),
                ("single", row.get("best_single")),
            )
            if metrics is not None
        ]
        first = rows[0][1]
        said = [
            f"{percent(uar)} % for {gender} speakers"
            for gender, label, _, uar, _ in rows
            if label == first
        ]
        return Drawing(
            summary=f"{first}: UAR {listing(said)}.",
            tables=[
                charts.table(
                    "Test metrics by gender",
                    {
                        "gender": None,
                        "system": None,
                        "test utterances": "{:,}".format,
                        "UAR (%)": percent,
                        "accuracy (%)": percent,
                    },
                    rows,
                )
            ],
            open_tables=True,
            note="Gender as the corpus gives it. A difference is not tested here.",
        )
