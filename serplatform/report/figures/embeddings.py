"""Test utterances of one fold in the plane, as each architecture separates them."""

from __future__ import annotations

import dataclasses

from serplatform.artifacts.explanations import EmbeddingRecord
from serplatform.report import charts
from serplatform.report.data import Need, NoDataError, ReportData, grouped
from serplatform.report.explanations import find_explanations
from serplatform.report.figures.base import (
    FIGURES,
    SERIES,
    SYMBOLS,
    Cell,
    Drawing,
    Figure,
    Palette,
    Spec,
)
from serplatform.report.wording import decimal, plural, short


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddedUtterance:
    """One utterance in the picture."""

    utterance_id: str
    speaker_id: str
    truth: str
    prediction: str
    confidence: float
    x: float
    y: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddingPicture:
    """One trial's picture; ``purity`` and ``chance`` of ``made`` are of the vectors, not of it."""

    trial: str
    made: EmbeddingRecord
    points: tuple[EmbeddedUtterance, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Pictures of all explained trials, and the classes in label order."""

    classes: tuple[str, ...]
    pictures: tuple[EmbeddingPicture, ...]


@FIGURES.register("embeddings")
class EmbeddingsFigure(Figure[Embeddings]):
    title = "Embeddings of test utterances"
    section = "explanations"
    printed = False
    after = "attention_similarity"
    needs = (Need.EXPLANATIONS,)

    def compute(self, report: ReportData) -> Embeddings:
        fields = [field.name for field in dataclasses.fields(EmbeddedUtterance)]
        pictures = []
        for explained in find_explanations(report):
            rows = grouped(explained.table("embeddings").to_pylist(), lambda row: row["trial"])
            pictures += [
                EmbeddingPicture(
                    trial=explained.name(entry["trial"], entry["architecture"]),
                    made=made,
                    points=tuple(
                        EmbeddedUtterance(**{name: row[name] for name in fields})
                        for row in rows[entry["trial"]]
                    ),
                )
                for entry in explained.info["trials"]
                if (made := entry["embedding"]) is not None and entry["trial"] in rows
            ]
        if not pictures:
            raise NoDataError("the first fold has too few test utterances for a picture")
        return Embeddings(classes=report.classes, pictures=tuple(pictures))

    def draw(self, data: Embeddings, palette: Palette) -> Drawing:
        pictures = sorted(data.pictures, key=lambda picture: -picture.made["purity"])
        best, last = pictures[0], pictures[-1]
        purity = decimal(5 * last.made["purity"], 1)
        plain = charts.axis(showticklabels=False, **charts.BARE)
        return Drawing(
            summary=(
                f"Of an utterance's five nearest neighbours in {best.trial}, "
                f"{decimal(5 * best.made['purity'], 1)} are of its class on average"
                f"{f', in {last.trial} {purity}' if last is not best else ''}; "
                f"by chance {decimal(5 * best.made['chance'], 1)} would be."
            ),
            panels=[
                charts.panel(
                    _traces(data.classes, picture),
                    plain,
                    plain,
                    title=(
                        f"{picture.trial}: {decimal(100 * picture.made['purity'], 0)} % of "
                        "neighbours of the same class"
                    ),
                )
                for picture in pictures
            ],
            tables=[
                charts.table(
                    "How well classes keep together",
                    [
                        *("trial", "utterances", "vectors", "dimension"),
                        *("same class among 5 neighbours", "by chance"),
                    ],
                    map(_summary_row, pictures),
                ),
                charts.table(
                    "Points of the pictures",
                    [
                        *("trial", "utterance", "speaker", "spoken", "recognised"),
                        *("confidence", "x", "y"),
                    ],
                    [[p.trial, *dataclasses.astuple(u)] for p in pictures for u in p.points],
                ),
            ],
            note=(
                f"The {plural(len(best.points), 'test utterance')} of fold {best.made['fold']} "
                f"({best.made['method']}): one point each, hollow where it was not recognised. "
                "Vectors are what the last layer reads, or log posteriors where an architecture "
                "classifies pieces of an utterance. Only neighbourhoods have a meaning in such a "
                "picture; distances between groups and axes have none. Numbers are measured on "
                "the vectors themselves. After Li et al., Interspeech 2020 (FG-CME), Fig. 2."
            ),
        )


def _summary_row(picture: EmbeddingPicture) -> list[Cell]:
    made = picture.made
    vectors = "before the last layer" if made["vectors"] == "penultimate" else "log posteriors"
    sizes: list[Cell] = [picture.trial, len(picture.points), vectors, made["dim"]]
    return [*sizes, made["purity"], made["chance"]]


def _traces(classes: tuple[str, ...], picture: EmbeddingPicture) -> list[Spec]:
    """One trace per class that occurs, in label order."""
    traces = []
    for place, name in enumerate(classes):
        own = [p for p in picture.points if p.truth == name]
        if not own:
            continue
        symbol, colour = SYMBOLS[place % len(SYMBOLS)], SERIES[place % len(SERIES)]
        traces.append(
            charts.points(
                short(name),
                [p.x for p in own],
                [p.y for p in own],
                charts.marker(
                    colour, [symbol + "-open" * (p.prediction != p.truth) for p in own], 8, edge=1.4
                ),
                texts=[
                    f"{p.utterance_id}<br>{p.truth}, recognised as {p.prediction} "
                    f"({p.confidence:.2f})"
                    for p in own
                ],
                hover="%{text}",
            )
        )
    return traces
