"""Results by corpus of a joined dataset."""

from __future__ import annotations

from serplatform.artifacts.ensemble import SourceRow
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.sources import source_sentences, trained_on
from serplatform.report.wording import percent
from serplatform.statistics.intervals import Interval


@FIGURES.register("by_source")
class SourceFigure(Figure[list[SourceRow]]):
    title = "Trained on, tested on"
    section = "results"
    after = "gender"
    needs = (Need.ENSEMBLE,)

    def compute(self, report: ReportData) -> list[SourceRow]:
        found = report.ensemble.get("per_source")
        if not found:
            raise NoDataError("the dataset is not joined of several")
        return found

    def draw(self, data: list[SourceRow], palette: Palette) -> Drawing:
        rows = list(dict.fromkeys(map(trained_on, data)))
        columns = sorted({row["tested_on"] for row in data})
        cells = {(trained_on(row), row["tested_on"]): row for row in data}
        values: list[list[float | None]] = []
        texts: list[list[str]] = []
        for name in rows:
            found = [cells.get((name, column)) for column in columns]
            values.append([None if row is None else 100 * row["uar"]["value"] for row in found])
            texts.append([_cell(row) for row in found])
        plot = charts.heat_map(
            values,
            texts,
            rows=rows,
            columns=columns,
            low=0,
            high=100,
            height=170 + 60 * len(rows),
            title="UAR of the ensemble (%)",
            x="tested on",
            y="trained on",
        )
        table = charts.table(
            "UAR of the ensemble by corpus",
            [
                *("trained on", "tested on", "test utterances", "speakers"),
                *("UAR", "low", "high", "chance"),
            ],
            [
                [
                    *(trained_on(row), row["tested_on"], row["utterances"], row["speakers"]),
                    *Interval(**row["uar"]).ends(),
                    row["chance"],
                ]
                for row in data
            ],
        )
        return Drawing(
            summary=" ".join(source_sentences(data)),
            panels=[plot],
            tables=[table],
            note=(
                "A row is the corpora that models were trained and chosen on, a column the corpus "
                "that they were tested on; folds with the same training corpora are pooled."
            ),
        )


def _cell(row: SourceRow | None) -> str:
    """What stands in a cell."""
    if row is None:
        return ""
    low, high = row["uar"]["low"], row["uar"]["high"]
    ends = "" if low is None or high is None else f"<br>{percent(low, 0)}–{percent(high, 0)}"
    return f"{percent(row['uar']['value'])}{ends}"
