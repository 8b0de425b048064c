"""Confidence against accuracy, and what is gained where the ensemble may say “not sure”."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from serplatform.artifacts.ensemble import RejectionRecord, WishRecord
from serplatform.metrics import ECE_BINS, ReliabilityBin, reliability_bins
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette, Table
from serplatform.report.wording import decimal, listing, percent
from serplatform.statistics.calibrated_ece import CalibratedEce, calibrated_ece
from serplatform.statistics.intervals import speaker_sums


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reliability:
    """Bins that hold utterances, those of ``ece``, which is as in the metrics table; ``calibrated``
    is what perfect calibration would give."""

    system: str
    bins: tuple[ReliabilityBin, ...]
    ece: float
    calibrated: CalibratedEce | None

    def __str__(self) -> str:
        leans = "overconfident" if self.gap > 0 else "underconfident"
        found = f"{leans} by {percent(abs(self.gap))} points on average, ECE {decimal(self.ece)}"
        if self.calibrated is not None:
            found += (
                f" (perfect calibration would give about {decimal(self.calibrated.mean)} here, "
                f"at most {decimal(self.calibrated.high)} in 95 of 100 corpora)"
            )
        return f"{self.system}: {found}"

    @property
    def gap(self) -> float:
        """Mean confidence minus accuracy."""
        return sum(b.count * (b.confidence - b.accuracy) for b in self.bins) / sum(
            b.count for b in self.bins
        )


@FIGURES.register("reliability")
class ReliabilityFigure(Figure[tuple[Reliability, ...]]):
    title = "Reliability of the posteriors"
    section = "results"
    after = "gender"
    needs = (Need.TESTED_SYSTEM,)

    def compute(self, report: ReportData) -> tuple[Reliability, ...]:
        return tuple(
            Reliability(
                system=system.label,
                bins=tuple(reliability_bins(system.test.truth, system.test.values)),
                ece=system.pooled["ece"].value,
                calibrated=calibrated_ece(
                    speaker_sums(
                        system.test.truth, system.test.values, system.test.speaker_ids.tolist()
                    )
                ),
            )
            for system in report.systems
        )

    def draw(self, data: tuple[Reliability, ...], palette: Palette) -> Drawing:
        largest = max(b.count for entry in data for b in entry.bins)
        traces = [charts.line("perfect calibration", [0, 1], [0, 1], charts.DOTTED)]
        for entry in data:
            sizes = [round(5 + 13 * (b.count / largest) ** 0.5, 1) for b in entry.bins]
            traces.append(
                charts.line(
                    entry.system,
                    [b.confidence for b in entry.bins],
                    [b.accuracy for b in entry.bins],
                    {"color": palette.colour(entry.system), "width": 1.2},
                    marker=palette.marker(entry.system, sizes),
                    texts=[f"{b.count} utterances" for b in entry.bins],
                    hover="confidence %{x:.2f}, accuracy %{y:.2f}<br>%{text}",
                )
            )
        plot = charts.panel(
            traces,
            charts.axis("mean confidence of the bin", range=[0, 1.02]),
            charts.axis("accuracy of the bin", range=[0, 1.04]),
            height=420,
            square=True,
        )
        table = charts.table(
            "Bins of confidence",
            ["system", "above", "up to", "utterances", "mean confidence", "accuracy"],
            [[entry.system, *dataclasses.astuple(b)] for entry in data for b in entry.bins],
        )
        return Drawing(
            summary=f"{listing([str(entry) for entry in data], 'and')}.",
            panels=[plot],
            tables=[table],
            note=(
                f"Test rows in the {ECE_BINS} bins of equal width that the ECE is measured in; a "
                "marker's area grows with its utterances."
            ),
        )


@FIGURES.register("rejection")
class RejectionFigure(Figure[RejectionRecord]):
    title = "Rejecting uncertain answers"
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
                {"color": palette.colour("Ensemble"), "width": 2},
                texts=[f"threshold {t:.3f}" for t, _, _ in curve],
                hover=f"{hover}<br>%{{text}}",
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
                    hover=hover,
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
        plot = charts.panel(
            traces,
            charts.axis("answered (%)", range=[0, 102]),
            "accuracy of those answered (%)",
            height=340,
        )
        return Drawing(
            summary=summary,
            panels=[plot],
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
