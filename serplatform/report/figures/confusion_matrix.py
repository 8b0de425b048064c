"""Which class was taken for which: counts and rates, for each system."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from serplatform.metrics import confusion_counts
from serplatform.report.evidence import Evidence
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Ink, NoDataError, Panel, Table
from serplatform.report.wording import listing, percent, short


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confusion:
    """Test rows of one system.

    Attributes:
        counts: (K, K), rows are the truth.
        rates: (K, K), counts divided by their row's sum; 0 for a class that does not occur.
    """

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
    name = "confusion_matrix"
    title = "Confusion matrices"
    section = "results"
    order = 20

    def compute(self, evidence: Evidence) -> tuple[Confusion, ...]:
        if not evidence.systems:
            raise NoDataError("no finished trial has test posteriors")
        found = []
        for system in evidence.systems:
            counts = confusion_counts(
                system.test.truth, system.test.prediction, len(evidence.classes)
            )
            totals = counts.sum(axis=1, keepdims=True)
            found.append(
                Confusion(
                    system=system.label,
                    classes=evidence.classes,
                    counts=counts,
                    rates=counts / np.maximum(totals, 1),
                )
            )
        return tuple(found)

    def draw(self, data: tuple[Confusion, ...], ink: Ink) -> Drawing:
        panels, tables, sentences = [], [], []
        for confusion in data:
            classes = list(confusion.classes)
            labels = [short(c) for c in classes]
            size = len(classes)
            text = [
                [f"{percent(r, 0)}<br>{n}" for r, n in zip(rates, counts, strict=True)]
                for rates, counts in zip(confusion.rates, confusion.counts, strict=True)
            ]
            panels.append(
                Panel(
                    title=confusion.system,
                    data=[
                        charts.heat_map(
                            (100 * confusion.rates).tolist(),
                            text,
                            low=0,
                            high=100,
                            text_size=11 if size <= 8 else 9,
                        )
                    ],
                    layout={
                        "xaxis": charts.axis(
                            "recognised as",
                            labels,
                            **charts.BARE,
                            constrain="domain",
                            tickangle=-40 if size > 4 else 0,
                        ),
                        "yaxis": charts.axis(
                            "spoken", labels, autorange="reversed", **charts.BARE, automargin=True
                        ),
                    },
                    height=170 + 44 * size,
                )
            )
            for kind, values in (("counts", confusion.counts), ("rates", confusion.rates)):
                tables.append(
                    Table(
                        caption=f"{confusion.system}: {kind}; a row is a spoken class",
                        header=["spoken", *classes],
                        rows=[
                            [name, *row] for name, row in zip(classes, values.tolist(), strict=True)
                        ],
                        display=[
                            [
                                name,
                                *(str(v) if kind == "counts" else f"{percent(v)} %" for v in row),
                            ]
                            for name, row in zip(classes, values.tolist(), strict=True)
                        ],
                    )
                )
            pairs = worst_pairs(confusion)
            if pairs:
                said = [f"{t} taken for {p} ({percent(r, 0)} % of {t})" for t, p, r in pairs]
                sentences.append(f"{confusion.system}: most often {listing(said)}.")
            else:
                sentences.append(f"{confusion.system}: no test utterance was confused.")
        return Drawing(
            summary=" ".join(sentences),
            panels=panels,
            tables=tables,
            note=(
                "Each cell: percent of the row's class, and the number of test utterances over all "
                "folds. Rows are the true class, so the diagonal holds the recalls."
            ),
        )
