"""Which class was taken for which: counts and rates, for each system."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from serplatform.metrics import confusion_counts
from serplatform.report import charts
from serplatform.report.data import Need, ReportData
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.wording import listing, percent, percent_sign


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confusion:
    """One system's test rows: (K, K) counts, rows are the truth, and shares of their row."""

    system: str
    classes: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    rates: npt.NDArray[np.float64]


def worst_pairs(confusion: Confusion, limit: int = 2) -> list[tuple[str, str, float]]:
    """Largest rates off the diagonal: (truth, prediction, rate), the largest first."""
    rates = confusion.rates.copy()
    np.fill_diagonal(rates, 0.0)
    order = np.argsort(-rates, axis=None, kind="stable")[:limit]
    return [
        (confusion.classes[i], confusion.classes[j], float(rates[i, j]))
        for i, j in (np.unravel_index(o, rates.shape) for o in order)
        if rates[i, j] > 0
    ]


@FIGURES.register("confusion_matrix")
class ConfusionMatrix(Figure[tuple[Confusion, ...]]):
    title = "Confusion matrices"
    section = "results"
    after = "other_results"
    needs = (Need.TESTED_SYSTEM,)

    def compute(self, report: ReportData) -> tuple[Confusion, ...]:
        found = []
        for system in report.systems:
            counts = confusion_counts(
                system.test.truth, system.test.prediction, len(report.classes)
            )
            found.append(
                Confusion(
                    system=system.label,
                    classes=report.classes,
                    counts=counts,
                    rates=counts / np.maximum(counts.sum(axis=1, keepdims=True), 1),
                )
            )
        return tuple(found)

    def draw(self, data: tuple[Confusion, ...], palette: Palette) -> Drawing:
        panels, tables, sentences = [], [], []
        for confusion in data:
            name, classes = confusion.system, confusion.classes
            counts, rates = confusion.counts.tolist(), confusion.rates.tolist()
            texts = [
                [f"{percent(rate, 0)}<br>{count}" for rate, count in zip(*cells, strict=True)]
                for cells in zip(rates, counts, strict=True)
            ]
            panels.append(
                charts.heat_map(
                    (100 * confusion.rates).tolist(),
                    texts,
                    low=0,
                    high=100,
                    height=170 + 44 * len(classes),
                    title=name,
                    x="recognised as",
                    y="spoken",
                    **charts.class_cells(classes),
                )
            )
            of = "a row is a spoken class"
            tables += [
                charts.matrix_table(f"{name}: counts; {of}", "spoken", classes, classes, counts),
                charts.matrix_table(
                    f"{name}: rates; {of}", "spoken", classes, classes, rates, percent_sign
                ),
            ]
            pairs = worst_pairs(confusion)
            said = [f"{t} taken for {p} ({percent(r, 0)} % of {t})" for t, p, r in pairs]
            sentences.append(
                f"{name}: most often {listing(said)}."
                if pairs
                else f"{name}: no test utterance was confused."
            )
        return Drawing(
            summary=" ".join(sentences),
            panels=panels,
            tables=tables,
            note=(
                "Each cell: percent of the row's class, and the number of test utterances over all "
                "folds. Rows are the true class, so the diagonal holds the recalls."
            ),
        )
