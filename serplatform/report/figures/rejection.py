"""Accuracy of the answers given when the ensemble may say "not sure"."""

from __future__ import annotations

import dataclasses

from serplatform.report.evidence import Evidence
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel, Table
from serplatform.report.wording import percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rejection:
    """Test rows, pooled over folds.

    Attributes:
        curve: (threshold, coverage, accuracy of those answered), by coverage.
        coverage: at the thresholds that the folds' dev rows chose.
        accuracy: of those answered at these thresholds; None when none was.
        accuracy_of_all: when every utterance is answered.
        error_share: error aimed at on dev rows, relative to answering everything.
        wishes: (what was asked of dev rows, folds that could grant it, coverage and accuracy on
            test rows); empty where the ensemble has none.
    """

    curve: tuple[tuple[float, float, float], ...]
    coverage: float
    accuracy: float | None
    accuracy_of_all: float
    error_share: float
    wishes: tuple[tuple[str, int, float, float | None], ...] = ()


@FIGURES.register("rejection")
class RejectionFigure(Figure[Rejection]):
    name = "rejection"
    title = "Saying “not sure”"
    section = "results"
    order = 60

    def compute(self, evidence: Evidence) -> Rejection:
        ensemble = evidence.source.ensemble
        if ensemble is None:
            raise NoDataError("thresholds are fitted for an ensemble, and this run has none")
        found = ensemble.info.get("rejection")
        if not found:
            raise NoDataError("the ensemble has no rejection threshold")
        columns = found["curve"]
        curve = zip(columns["threshold"], columns["coverage"], columns["accuracy"], strict=True)
        test = found["test"]
        return Rejection(
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
            wishes=tuple(
                (
                    f"{w['kind']} {percent(w['value'], 0)} %",
                    w["folds_granted"],
                    w["test"]["coverage"],
                    w["test"]["accuracy"],
                )
                for w in found.get("wishes", ())
            ),
        )

    def draw(self, data: Rejection, ink: Ink) -> Drawing:
        said = (
            "At the thresholds that dev rows chose, the ensemble answers "
            f"{percent(data.coverage)} % of the test utterances and is right on "
            f"{percent(data.accuracy)} % of those, against {percent(data.accuracy_of_all)} % "
            "of all."
            if data.accuracy is not None
            else "At the thresholds that dev rows chose, the ensemble answers no test utterance."
        )
        hover = "%{x:.0f} % answered, %{y:.1f} % right"
        traces = [
            charts.line(
                "ensemble",
                [100 * c for _, c, _ in data.curve],
                [100 * a for _, _, a in data.curve],
                text=[f"threshold {t:.3f}" for t, _, _ in data.curve],
                hovertemplate=f"{hover}<br>%{{text}}<extra></extra>",
                line={"color": ink.colour("Ensemble"), "width": 2},
            )
        ]
        if data.accuracy is not None:
            traces.append(
                charts.markers(
                    "thresholds from dev rows",
                    [100 * data.coverage],
                    [100 * data.accuracy],
                    hovertemplate=f"{hover}<extra></extra>",
                    marker={"color": "@ink", "symbol": "x", "size": 10},
                )
            )
        return Drawing(
            summary=said,
            panels=[
                Panel(
                    data=traces,
                    layout={
                        "xaxis": charts.axis("answered (%)", range=[0, 102]),
                        "yaxis": charts.axis("accuracy of those answered (%)"),
                    },
                    height=340,
                )
            ],
            tables=[
                *([_wishes(data)] if data.wishes else []),
                Table(
                    caption="Coverage and accuracy by threshold",
                    header=["threshold", "coverage", "accuracy"],
                    rows=[list(point) for point in data.curve],
                ),
            ],
            note=(
                "Each fold's threshold is the lowest that brings the error on its calibrated dev "
                f"posteriors to {percent(data.error_share, 0)} % of what it is without rejection. "
                "Dev rows also chose members and epochs, so what is asked of them is not quite "
                "reached on test rows: the table shows both."
            ),
        )


def _wishes(data: Rejection) -> Table:
    return Table(
        caption="Asked of each fold's dev rows, and reached on its test rows",
        header=["asked of dev rows", "folds that could", "test answered (%)", "test right (%)"],
        rows=[list(row) for row in data.wishes],
        display=[
            [asked, str(folds), percent(coverage), percent(accuracy)]
            for asked, folds, coverage, accuracy in data.wishes
        ],
        csv_header=["asked_of_dev", "folds_granted", "test_coverage", "test_accuracy"],
    )
