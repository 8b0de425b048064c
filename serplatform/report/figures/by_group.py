"""Results by class, by speaker and by the speakers' gender."""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.ensemble import GenderRow
from serplatform.metrics import confusion_counts
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData, grouped
from serplatform.report.figures.base import FIGURES, Drawing, Figure, Palette
from serplatform.report.speaker_intervals import recall_intervals
from serplatform.report.systems import LABELS
from serplatform.report.wording import listing, percent, percent_sign, short
from serplatform.statistics.intervals import Interval

#: Above this many speakers the axis names only some of them.
MAX_NAMED = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confusion:
    """One system's test rows: (K, K) counts, rows are the truth, and shares of their row."""

    system: str
    classes: tuple[str, ...]
    counts: IntArray

    @property
    def rates(self) -> DoubleArray:
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)


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
    section = "leaderboard"
    after = "ranking"
    needs = (Need.TESTED_SYSTEM,)

    def compute(self, report: ReportData) -> tuple[Confusion, ...]:
        size = len(report.classes)
        return tuple(
            Confusion(
                system=system.label,
                classes=report.classes,
                counts=confusion_counts(system.test.truth, system.test.prediction, size),
            )
            for system in report.systems
        )

    def draw(self, data: tuple[Confusion, ...], palette: Palette) -> Drawing:
        panels, tables, sentences = [], [], []
        for confusion in data:
            name, classes = confusion.system, confusion.classes
            counts, rates = confusion.counts.tolist(), confusion.rates.tolist()
            texts = [
                [
                    f"{percent(rate, 0)} %<br>{count}" if count else ""
                    for rate, count in zip(*cells, strict=True)
                ]
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
            said = [f"{t} recognised as {p} ({percent(r, 0)} % of {t})" for t, p, r in pairs]
            sentences.append(
                f"{name}, most frequent errors: {listing(said)}."
                if pairs
                else f"{name}: no test utterance was confused."
            )
        return Drawing(
            summary=" ".join(sentences),
            panels=panels,
            tables=tables,
            note=(
                "Each cell: percent of the utterances of the row's class, and their number over "
                "all folds; an empty cell is none, darker is more. The diagonal is the recall."
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassRecall:
    """One class of one system; ``utterances`` counts its test rows."""

    system: str
    emotion: str
    utterances: int
    recall: Interval


@FIGURES.register("class_recall")
class ClassRecallFigure(Figure[tuple[ClassRecall, ...]]):
    title = "Recall by class"
    section = "results"
    after = "other_results"
    needs = (Need.TESTED_SYSTEM,)

    def compute(self, report: ReportData) -> tuple[ClassRecall, ...]:
        return tuple(
            ClassRecall(
                system=system.label,
                emotion=name,
                utterances=int((system.test.truth == k).sum()),
                recall=recall,
            )
            for system in report.systems
            for k, (name, recall) in enumerate(
                zip(report.classes, recall_intervals(system.test), strict=True)
            )
        )

    def draw(self, data: tuple[ClassRecall, ...], palette: Palette) -> Drawing:
        systems = list(dict.fromkeys(row.system for row in data))
        classes = list(dict.fromkeys(row.emotion for row in data))
        tested = {s: [r for r in data if r.system == s and r.utterances] for s in systems}
        traces = [
            charts.interval_points(
                system,
                [row.recall for row in rows],
                [classes.index(row.emotion) + charts.row_offset(i, len(systems)) for row in rows],
                palette.marker(system, 10),
                texts=[short(row.emotion) for row in rows],
                hover="%{text}: %{x:.1f} %",
            )
            for i, (system, rows) in enumerate(tested.items())
        ]
        best = max(tested[systems[0]], key=lambda row: row.recall.value)
        worst = min(tested[systems[0]], key=lambda row: row.recall.value)
        chance = 100 / len(classes)
        plot = charts.panel(
            traces,
            charts.axis("recall (%), 95 % interval", range=[-2, 102]),
            charts.rows_axis(classes),
            shapes=[charts.vertical(chance)],
            notes=[charts.chance_note(chance, xanchor="left")],
            height=130 + 46 * len(classes),
        )
        table = charts.table(
            "Recall by class",
            ["system", "class", "test utterances", "recall", "low", "high"],
            [
                [
                    r.system,
                    r.emotion,
                    r.utterances,
                    *charts.ends(r.recall if r.utterances else None),
                ]
                for r in data
            ],
        )
        return Drawing(
            summary=(
                f"{systems[0]}: {best.emotion} is recognised best "
                f"({percent(best.recall.value)} %), "
                f"{worst.emotion} worst ({percent(worst.recall.value)} %)."
            ),
            panels=[plot],
            tables=[table],
            note="Intervals are over speakers; the dotted line is chance, 1/K.",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeakerAccuracy:
    """One speaker of one system; ``utterances`` counts the test rows."""

    system: str
    speaker_id: str
    utterances: int
    accuracy: float


@FIGURES.register("speaker_accuracy")
class SpeakerAccuracyFigure(Figure[tuple[SpeakerAccuracy, ...]]):
    title = "Accuracy by speaker"
    section = "results"
    after = "class_recall"
    needs = (Need.TESTED_SYSTEM,)

    def compute(self, report: ReportData) -> tuple[SpeakerAccuracy, ...]:
        found = []
        for system in report.systems:
            right = system.test.prediction == system.test.truth
            speakers = system.test.speaker_ids
            found.append(
                {
                    name: SpeakerAccuracy(
                        system=system.label,
                        speaker_id=name,
                        utterances=int((speakers == name).sum()),
                        accuracy=float(right[speakers == name].mean()),
                    )
                    for name in set(speakers.tolist())
                }
            )
        order = sorted(found[0], key=lambda name: (found[0][name].accuracy, name))
        return tuple(rows[name] for rows in found for name in order)

    def draw(self, data: tuple[SpeakerAccuracy, ...], palette: Palette) -> Drawing:
        by_system = grouped(data, lambda row: row.system)
        traces = [
            charts.points(
                system,
                range(len(rows)),
                [100 * row.accuracy for row in rows],
                palette.marker(system, 8),
                texts=[f"{short(r.speaker_id)}, {r.utterances} utterances" for r in rows],
                hover="%{text}: %{y:.1f} %",
            )
            for system, rows in by_system.items()
        ]
        system, first = next(iter(by_system.items()))
        every = -(-len(first) // MAX_NAMED)
        median = float(np.median([row.accuracy for row in first]))
        plot = charts.panel(
            traces,
            charts.axis(
                "test speaker, ordered by accuracy",
                tickvals=list(range(0, len(first), every)),
                ticktext=[short(row.speaker_id) for row in first[::every]],
                tickangle=-60 if len(first) > 8 else 0,
                **charts.BARE,
            ),
            charts.axis("accuracy (%)", range=[-3, 103]),
        )
        table = charts.table(
            "Accuracy by test speaker",
            ["system", "speaker", "test utterances", "accuracy"],
            map(dataclasses.astuple, data),
        )
        return Drawing(
            summary=(
                f"{system}: from {percent(first[0].accuracy)} % (speaker {first[0].speaker_id}) "
                f"to {percent(first[-1].accuracy)} % (speaker {first[-1].speaker_id}); the median "
                f"of {len(first)} speakers is {percent(median)} %."
            ),
            note="Share of a speaker's test utterances that are classified rightly.",
            panels=[plot],
            tables=[table],
        )


@FIGURES.register("gender")
class GenderFigure(Figure[list[GenderRow]]):
    title = "By gender of the speaker"
    section = "results"
    after = "speaker_accuracy"
    needs = (Need.ENSEMBLE,)

    def compute(self, report: ReportData) -> list[GenderRow]:
        found = report.ensemble.get("per_gender")
        if not found:
            raise NoDataError("the corpus does not give the speakers' gender, or is not at hand")
        return found

    def draw(self, data: list[GenderRow], palette: Palette) -> Drawing:
        rows = [
            (row["gender"], LABELS[key], row["utterances"], metrics["uar"], metrics["accuracy"])
            for row in data
            for key, metrics in (
                ("ensemble", row.get("ensemble")),
                ("single", row.get("best_single")),
            )
            if metrics is not None
        ]
        first = rows[0][1]
        said = [
            f"{percent(uar)} % for {gender} speakers"
            for gender, label, _, uar, _ in rows
            if label == first
        ]
        table = charts.table(
            "Test metrics by gender",
            {
                "gender": None,
                "system": None,
                "test utterances": "{:,}".format,
                "UAR (%)": percent,
                "accuracy (%)": percent,
            },
            rows,
        )
        return Drawing(
            summary=f"{first}: UAR {listing(said)}.",
            tables=[table],
            open_tables=True,
            note="Gender as the corpus gives it. A difference is not tested here.",
        )
