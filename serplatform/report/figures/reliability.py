"""Confidence against accuracy: is a posterior of 0.8 right eight times in ten?"""

from __future__ import annotations

import dataclasses

from serplatform.metrics import ECE_BINS, ReliabilityBin, reliability_bins
from serplatform.report import charts
from serplatform.report.data import Need, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.wording import decimal, listing, percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reliability:
    """Bins that hold utterances, those of ``ece``, which is as in the metrics table."""

    system: str
    bins: tuple[ReliabilityBin, ...]
    ece: float

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
            )
            for system in report.systems
        )

    def draw(self, data: tuple[Reliability, ...], palette: Palette) -> Drawing:
        largest = max(b.count for entry in data for b in entry.bins)
        traces = [charts.line("perfect calibration", [0, 1], [0, 1], charts.DOTTED, hover=None)]
        for entry in data:
            sizes = [round(5 + 13 * (b.count / largest) ** 0.5, 1) for b in entry.bins]
            traces.append(
                charts.line(
                    entry.system,
                    [b.confidence for b in entry.bins],
                    [b.accuracy for b in entry.bins],
                    charts.stroke(palette.colour(entry.system), width=1.2),
                    marker=palette.marker(entry.system, sizes),
                    texts=[f"{b.count} utterances" for b in entry.bins],
                    hover="confidence %{x:.2f}, accuracy %{y:.2f}<br>%{text}",
                )
            )
        sentences = [
            f"{entry.system}: {'overconfident' if entry.gap > 0 else 'underconfident'} by "
            f"{percent(abs(entry.gap))} points on average, ECE {decimal(entry.ece)}"
            for entry in data
        ]
        return Drawing(
            summary=f"{listing(sentences, 'and')}.",
            panels=[
                charts.panel(
                    traces,
                    charts.axis("mean confidence of the bin", range=[0, 1.02]),
                    charts.axis("accuracy of the bin", range=[0, 1.04]),
                    height=420,
                    square=True,
                )
            ],
            tables=[
                charts.table(
                    "Bins of confidence",
                    ["system", "above", "up to", "utterances", "mean confidence", "accuracy"],
                    [[entry.system, *dataclasses.astuple(b)] for entry in data for b in entry.bins],
                )
            ],
            note=(
                f"Test rows in the {ECE_BINS} bins of equal width that the ECE is measured in; a "
                "marker's area grows with its utterances."
            ),
        )
