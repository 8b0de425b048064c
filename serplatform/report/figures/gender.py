"""Test metrics of each gender's speakers."""

from __future__ import annotations

import dataclasses

from serplatform.report.evidence import LABELS, Evidence
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError
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
    name = "gender"
    title = "By gender of the speaker"
    section = "results"
    order = 45

    def compute(self, evidence: Evidence) -> tuple[GenderMetrics, ...]:
        ensemble = evidence.source.ensemble
        if ensemble is None:
            raise NoDataError("the breakdown is made with an ensemble, and this run has none")
        found = ensemble.info.get("per_gender", [])
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

    def draw(self, data: tuple[GenderMetrics, ...], ink: Ink) -> Drawing:
        first = [row for row in data if row.system == data[0].system]
        said = [f"{percent(row.uar)} % for {row.gender} speakers" for row in first]
        return Drawing(
            summary=f"{data[0].system}: UAR {listing(said)}.",
            tables=[
                charts.table(
                    "Test metrics by gender",
                    data,
                    {
                        "gender": lambda r: r.gender,
                        "system": lambda r: r.system,
                        "test utterances": (lambda r: r.utterances, "{:,}".format),
                        "UAR (%)": (lambda r: r.uar, percent),
                        "accuracy (%)": (lambda r: r.accuracy, percent),
                    },
                )
            ],
            open_tables=True,
            note="Gender as the corpus gives it. A difference is not tested here.",
        )
