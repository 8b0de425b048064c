"""Accuracy of the answers given when the ensemble may say "not sure"."""

from __future__ import annotations

from collections.abc import Sequence

from serplatform.artifacts.ensemble import RejectionRecord, WishRecord
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Table
from serplatform.report.wording import percent


@FIGURES.register("rejection")
class RejectionFigure(Figure[RejectionRecord]):
    title = "Saying “not sure”"
    section = "results"
    after = "reliability"
    needs = (Need.ENSEMBLE,)

    def compute(self, report: ReportData) -> RejectionRecord:
        found = report.ensemble.get("rejection")
        if not found:
            raise NoDataError("the ensemble has no rejection threshold")
        return found

    def draw(self, data: RejectionRecord, palette: Palette) -> Drawing:
        curve, test, targets = answered_curve(data), data["test"], data.get("wishes", [])
        hover = "%{x:.0f} % answered, %{y:.1f} % right"
        traces = [
            charts.line(
                "ensemble",
                [100 * c for _, c, _ in curve],
                [100 * a for _, _, a in curve],
                charts.stroke(palette.colour("Ensemble"), width=2),
                texts=[f"threshold {t:.3f}" for t, _, _ in curve],
                hover=f"{hover}<br>%{{text}}<extra></extra>",
            )
        ]
        at = "At the thresholds that dev rows chose, the ensemble answers"
        summary = f"{at} no test utterance."
        if test["accuracy"] is not None:
            traces.append(
                charts.points(
                    "thresholds from dev rows",
                    [100 * test["coverage"]],
                    [100 * test["accuracy"]],
                    charts.marker("@ink", "x", 10),
                    hover=f"{hover}<extra></extra>",
                )
            )
            summary = (
                f"{at} {percent(test['coverage'])} % of the test utterances and is right on "
                f"{percent(test['accuracy'])} % of those, against "
                f"{percent(test['accuracy_without_rejection'])} % of all."
            )
        share = percent(data["error_share"], 0)
        by_threshold = charts.table(
            "Coverage and accuracy by threshold", ["threshold", "coverage", "accuracy"], curve
        )
        return Drawing(
            summary=summary,
            panels=[
                charts.panel(
                    traces,
                    charts.axis("answered (%)", range=[0, 102]),
                    "accuracy of those answered (%)",
                    height=340,
                )
            ],
            tables=[_targets(targets), by_threshold] if targets else [by_threshold],
            note=(
                "Each fold's threshold is the lowest that brings the error on its calibrated dev "
                f"posteriors to {share} % of what it is without rejection. "
                "Dev rows also chose members and epochs, so what is asked of them is not quite "
                "reached on test rows: the table shows both."
            ),
        )


def answered_curve(data: RejectionRecord) -> list[tuple[float, float, float]]:
    """(threshold, coverage, accuracy of those answered), by coverage."""
    curve = data["curve"]
    rows = zip(curve["threshold"], curve["coverage"], curve["accuracy"], strict=True)
    return sorted(((t, c, a) for t, c, a in rows if a is not None), key=lambda row: row[1])


def _targets(targets: Sequence[WishRecord]) -> Table:
    return charts.table(
        "Asked of each fold's dev rows, and reached on its test rows",
        {
            "asked of dev rows": None,
            "folds that could": None,
            "test answered (%)": percent,
            "test right (%)": percent,
        },
        [
            [
                f"{target['kind']} {percent(target['value'], 0)} %",
                target["folds_granted"],
                target["test"]["coverage"],
                target["test"]["accuracy"],
            ]
            for target in targets
        ],
        csv_header=["asked_of_dev", "folds_granted", "test_coverage", "test_accuracy"],
    )
