"""Test metrics of each gender's speakers."""

from __future__ import annotations

import dataclasses

from serplatform.report import charts
from serplatform.report.data import LABELS, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Need, NoDataError, Palette
from serplatform.report.wording import listing, percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenderMetrics:
    """One gender and system; ``utterances`` counts the test rows."""

    gender: str
    system: str
    utterances: int
    uar: float
    accuracy: float


@FIGURES.register("gender")
class GenderFigure(Figure[tuple[GenderMetrics, ...]]):
    title = "By gender of the speaker"
    section = "results"
    after = "speaker_accuracy"
    needs = (Need.ENSEMBLE,)

    def compute(self, report: ReportData) -> tuple[GenderMetrics, ...]:
        found = report.ensemble.get("per_gender", [])
        if not found:
            raise NoDataError("the corpus does not give the speakers' gender, or is not at hand")
        return tuple(
            GenderMetrics(
                gender=row["gender"],
                system=LABELS[key],
                utterances=row["utterances"],
                uar=metrics["uar"],
                accuracy=metrics["accuracy"],
            )
            for row in found
            for key, metrics in (
                ("ensemble", row.get("ensemble")),
                ("single", row.get("best_single")),
            )
            if metrics is not None
        )

    def draw(self, data: tuple[GenderMetrics, ...], palette: Palette) -> Drawing:
        first = [row for row in data if row.system == data[0].system]
        said = [f"{percent(row.uar)} % for {row.gender} speakers" for row in first]
        return Drawing(
            summary=f"{data[0].system}: UAR {listing(said)}.",
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
                    map(dataclasses.astuple, data),
                )
            ],
            open_tables=True,
            note="Gender as the corpus gives it. A difference is not tested here.",
        )
