"""Accuracy of the answers given when the ensemble may say "not sure"."""

from __future__ import annotations

import dataclasses

from serplatform.report import charts
from serplatform.report.data import ReportData
from serplatform.report.figures.base import (
    FIGURES,
    Drawing,
    Figure,
    Need,
    NoDataError,
    Palette,
    Table,
)
from serplatform.report.wording import percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class RejectionCurve:
    """Test rows, pooled over folds.

    Attributes:
        curve: (threshold, coverage, accuracy of those answered), by coverage.
        coverage: at the thresholds that the folds' dev rows chose.
        accuracy: of those answered at these thresholds; None when none was.
        accuracy_of_all: when every utterance is answered.
        error_share: error aimed at on dev rows, relative to answering everything.
        targets: (what was asked of dev rows, folds that could reach it, coverage and accuracy on
            test rows); empty where the ensemble has none.
    """

    curve: tuple[tuple[float, float, float], ...]
    coverage: float
    accuracy: float | None
    accuracy_of_all: float
    error_share: float
    targets: tuple[tuple[str, int, float, float | None], ...] = ()


@FIGURES.register("rejection")
class RejectionFigure(Figure[RejectionCurve]):
    title = "Saying “not sure”"
    section = "results"
    after = "reliability"
    needs = (Need.ENSEMBLE,)

    def compute(self, report: ReportData) -> RejectionCurve:
        found = report.ensemble.get("rejection")
        if not found:
            raise NoDataError("the ensemble has no rejection threshold")
        columns, test = found["curve"], found["test"]
        curve = zip(columns["threshold"], columns["coverage"], columns["accuracy"], strict=True)
        return RejectionCurve(
            curve=tuple(
                sorted(
                    ((t, c, a) for t, c, a in curve if a is not None),
                    key=lambda point: point[1],
                )
            ),
            coverage=test["coverage"],
            accuracy=test["accuracy"],
            accuracy_of_all=test["accuracy_without_rejection"],
            error_share=found["error_share"],
            targets=tuple(
                (
                    f"{w['kind']} {percent(w['value'], 0)} %",
                    w["folds_granted"],
                    w["test"]["coverage"],
                    w["test"]["accuracy"],
                )
                for w in found.get("wishes", ())
            ),
        )

    def draw(self, data: RejectionCurve, palette: Palette) -> Drawing:
        hover = "%{x:.0f} % answered, %{y:.1f} % right"
        traces = [
            charts.line(
                "ensemble",
                [100 * c for _, c, _ in data.curve],
                [100 * a for _, _, a in data.curve],
                {"color": palette.colour("Ensemble"), "width": 2},
                texts=[f"threshold {t:.3f}" for t, _, _ in data.curve],
                hover=f"{hover}<br>%{{text}}<extra></extra>",
            )
        ]
        if data.accuracy is not None:
            traces.append(
                charts.points(
                    "thresholds from dev rows",
                    [100 * data.coverage],
                    [100 * data.accuracy],
                    {"color": "@ink", "symbol": "x", "size": 10},
                    hover=f"{hover}<extra></extra>",
                )
            )
        by_threshold = charts.table(
            "Coverage and accuracy by threshold",
            ["threshold", "coverage", "accuracy"],
            data.curve,
        )
        return Drawing(
            summary=(
                "At the thresholds that dev rows chose, the ensemble answers "
                f"{percent(data.coverage)} % of the test utterances and is right on "
                f"{percent(data.accuracy)} % of those, against {percent(data.accuracy_of_all)} % "
                "of all."
                if data.accuracy is not None
                else "At the thresholds that dev rows chose, the ensemble answers no test "
                "utterance."
            ),
            panels=[
                charts.panel(
                    traces,
                    charts.axis("answered (%)", range=[0, 102]),
                    "accuracy of those answered (%)",
                    height=340,
                )
            ],
            tables=[_targets(data), by_threshold] if data.targets else [by_threshold],
            note=(
                "Each fold's threshold is the lowest that brings the error on its calibrated dev "
                f"posteriors to {percent(data.error_share, 0)} % of what it is without rejection. "
                "Dev rows also chose members and epochs, so what is asked of them is not quite "
                "reached on test rows: the table shows both."
            ),
        )


def _targets(data: RejectionCurve) -> Table:
    return charts.table(
        "Asked of each fold's dev rows, and reached on its test rows",
        {
            "asked of dev rows": None,
            "folds that could": None,
            "test answered (%)": percent,
            "test right (%)": percent,
        },
        data.targets,
        csv_header=["asked_of_dev", "folds_granted", "test_coverage", "test_accuracy"],
    )
