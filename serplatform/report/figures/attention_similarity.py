"""How similar the elements are that a model samples in two emotions (Baruah 2022, Fig. 2)."""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData
from serplatform.report.explanations import Explanations, sampling_explanations
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.wording import decimal


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionSimilarity:
    """One trial: ``similarity`` is (C, C) over the classes that occur."""

    trial: str
    classes: tuple[str, ...]
    utterances: tuple[int, ...]
    similarity: DoubleArray

    def pairs(self) -> list[tuple[float, str, str]]:
        """Every pair of classes, the least similar first."""
        size = len(self.classes)
        return sorted(
            (float(self.similarity[a, b]), self.classes[a], self.classes[b])
            for a in range(size)
            for b in range(a + 1, size)
        )


def cosine_similarity(vectors: DoubleArray) -> DoubleArray:
    """(C, D) vectors to (C, C) absolute cosines; 0 for a vector of zeros.

    Example:
        >>> cosine_similarity(np.array([[1.0, 0.0], [3.0, 4.0]])).round(2).tolist()
        [[1.0, 0.6], [0.6, 1.0]]
    """
    length = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    unit = vectors / np.where(length > 0, length, 1.0)
    return np.asarray(np.minimum(np.abs(unit @ unit.T), 1.0), dtype=np.float64)


def attention_similarity(
    explained: Explanations, classes: tuple[str, ...]
) -> list[AttentionSimilarity]:
    """Mean sampling of each class over its windows, compared between classes, by trial.

    The mean is over windows, as an utterance's own mean counts as often as it has windows
    after the first.
    """
    table = explained.table("statistics")
    rows = [row for row in table.to_pylist() if row["elements"] is not None]
    found = []
    for trial in sorted({row["trial"] for row in rows}):
        own = [row for row in rows if row["trial"] == trial]
        names = tuple(name for name in classes if any(row["truth"] == name for row in own))
        if len(names) < 2:
            continue
        means, counts = [], []
        for name in names:
            group = [row for row in own if row["truth"] == name]
            weights = np.array([row["num_windows"] - 1 for row in group], dtype=np.float64)
            vectors = np.array([row["elements"] for row in group], dtype=np.float64)
            means.append(np.average(vectors, axis=0, weights=weights))
            counts.append(len(group))
        found.append(
            AttentionSimilarity(
                trial=explained.name(trial, own[0]["architecture"]),
                classes=names,
                utterances=tuple(counts),
                similarity=cosine_similarity(np.stack(means)),
            )
        )
    return found


@FIGURES.register("attention_similarity")
class AttentionSimilarityFigure(Figure[tuple[AttentionSimilarity, ...]]):
    title = "Similarity of what is sampled, between emotions"
    section = "explanations"
    after = "sampled_share"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> tuple[AttentionSimilarity, ...]:
        found = sampling_explanations(report)
        compared = [item for e in found for item in attention_similarity(e, report.classes)]
        if not compared:
            raise NoDataError(
                "fewer than two emotions have utterances of more than one window, where elements "
                "are chosen"
            )
        return tuple(compared)

    def draw(self, data: tuple[AttentionSimilarity, ...], palette: Palette) -> Drawing:
        panels, tables, sentences = [], [], []
        for item in data:
            values = item.similarity.tolist()
            pairs = item.pairs()
            (low, a, b), (high, c, d) = pairs[0], pairs[-1]
            panels.append(
                charts.heat_map(
                    values,
                    [[decimal(value) for value in row] for row in values],
                    low=min(0.99, low),
                    high=1.0,
                    height=140 + 44 * len(item.classes),
                    title=item.trial if len(data) > 1 else "",
                    square=True,
                    **charts.class_cells(item.classes),
                )
            )
            tables.append(
                charts.table(
                    f"{item.trial}: absolute cosine of the mean samplings",
                    {
                        "emotion": None,
                        "utterances": None,
                        **dict.fromkeys(item.classes, decimal),
                    },
                    [
                        [name, count, *row]
                        for name, count, row in zip(
                            item.classes, item.utterances, values, strict=True
                        )
                    ],
                )
            )
            sentences.append(
                f"{item.trial} samples {c} and {d} most alike ({decimal(high)}), {a} and {b} least "
                f"({decimal(low)})."
            )
        return Drawing(
            summary=" ".join(sentences),
            panels=panels,
            tables=tables,
            note=(
                "As Fig. 2 of Baruah and Banerjee, Interspeech 2022: for each emotion the mean, "
                "over windows after the first of its test utterances, of which elements were "
                "sampled; then the absolute cosine of two means. Means of what is never negative "
                "are always alike, so the colours begin at the smallest value."
            ),
        )
