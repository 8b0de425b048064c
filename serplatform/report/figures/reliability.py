"""Confidence against accuracy: is a posterior of 0.8 right eight times in ten?"""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.report.evidence import Evidence
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel
from serplatform.report.load import Posteriors
from serplatform.report.wording import decimal, listing, percent

#: Equal widths over [0, 1], so that bins are comparable between systems.
NUM_BINS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bin:
    """Utterances whose confidence is in (low, high]; ``confidence`` is their mean."""

    low: float
    high: float
    utterances: int
    confidence: float
    accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reliability:
    """Bins that hold utterances; ``ece`` as in the metrics table."""

    system: str
    bins: tuple[Bin, ...]
    ece: float


def reliability_bins(test: Posteriors) -> tuple[Bin, ...]:
    """Bin rows by their largest posterior; empty bins are left out."""
    confidence = test.values.max(axis=1)
    right = test.prediction == test.truth
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, NUM_BINS - 1)
    return tuple(
        Bin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            utterances=int((place == b).sum()),
            confidence=float(confidence[place == b].mean()),
            accuracy=float(right[place == b].mean()),
        )
        for b in range(NUM_BINS)
        if (place == b).any()
    )


@FIGURES.register("reliability")
class ReliabilityFigure(Figure[tuple[Reliability, ...]]):
    name = "reliability"
    title = "Reliability of the posteriors"
    section = "results"
    order = 50

    def compute(self, evidence: Evidence) -> tuple[Reliability, ...]:
        if not evidence.systems:
            raise NoDataError("no finished trial has test posteriors")
        return tuple(
            Reliability(
                system=system.label,
                bins=reliability_bins(system.test),
                ece=system.pooled["ece"].value,
            )
            for system in evidence.systems
        )

    def draw(self, data: tuple[Reliability, ...], ink: Ink) -> Drawing:
        largest = max(b.utterances for entry in data for b in entry.bins)
        traces = [
            charts.line("perfect calibration", [0, 1], [0, 1], line=charts.DOTTED, hoverinfo="skip")
        ]
        for entry in data:
            sizes = [round(5 + 13 * (b.utterances / largest) ** 0.5, 1) for b in entry.bins]
            traces.append(
                charts.scatter(
                    "lines+markers",
                    entry.system,
                    [b.confidence for b in entry.bins],
                    [b.accuracy for b in entry.bins],
                    text=[f"{b.utterances} utterances" for b in entry.bins],
                    hovertemplate="confidence %{x:.2f}, accuracy %{y:.2f}<br>%{text}",
                    line={"color": ink.colour(entry.system), "width": 1.2},
                    marker=ink.marker(entry.system, sizes),
                )
            )
        sentences = []
        for entry in data:
            total = sum(b.utterances for b in entry.bins)
            gap = sum(b.utterances * (b.confidence - b.accuracy) for b in entry.bins) / total
            word = "overconfident" if gap > 0 else "underconfident"
            sentences.append(
                f"{entry.system}: {word} by {percent(abs(gap))} points on average, "
                f"ECE {decimal(entry.ece)}"
            )
        return Drawing(
            summary=f"{listing(sentences, 'and')}.",
            panels=[
                Panel(
                    data=traces,
                    layout={
                        "xaxis": charts.axis("mean confidence of the bin", range=[0, 1.02]),
                        "yaxis": charts.axis("accuracy of the bin", range=[0, 1.04]),
                        "meta": {"square": True},
                    },
                    height=420,
                )
            ],
            tables=[
                charts.table(
                    "Bins of confidence",
                    [(entry.system, b) for entry in data for b in entry.bins],
                    {
                        "system": lambda row: row[0],
                        "above": lambda row: row[1].low,
                        "up to": lambda row: row[1].high,
                        "utterances": lambda row: row[1].utterances,
                        "mean confidence": lambda row: row[1].confidence,
                        "accuracy": lambda row: row[1].accuracy,
                    },
                )
            ],
            note="Test rows in ten bins of equal width; a marker's area grows with its utterances.",
        )
