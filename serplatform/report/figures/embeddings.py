"""Test utterances of one fold in the plane, as each architecture tells them apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from serplatform.report.evidence import Evidence
from serplatform.report.explanations import ExplainedFigure, Explanations
from serplatform.report.figures import _charts as charts
from serplatform.report.figures.base import (
    FIGURES,
    SERIES,
    SYMBOLS,
    Drawing,
    Ink,
    NoDataError,
    Panel,
)
from serplatform.report.wording import decimal, plural, short

BARE = {"showticklabels": False, **charts.BARE, "ticks": ""}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """One utterance in the picture."""

    utterance_id: str
    speaker_id: str
    truth: str
    prediction: str
    confidence: float
    x: float
    y: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedding:
    """One trial's picture; ``purity`` and ``chance`` are of the vectors, not of the picture."""

    trial: str
    vectors: str
    dim: int
    method: str
    fold: int
    purity: float
    chance: float
    points: tuple[Point, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Pictures of all explained trials, and the classes in label order."""

    classes: tuple[str, ...]
    pictures: tuple[Embedding, ...]


@FIGURES.register("embeddings")
class EmbeddingsFigure(ExplainedFigure[Embeddings]):
    name = "embeddings"
    title = "Test utterances as the models see them"
    section = "explanations"
    order = 50

    def examine(self, found: tuple[Explanations, ...], evidence: Evidence) -> Embeddings:
        pictures = []
        for explained in found:
            rows: dict[int, list[Mapping[str, Any]]] = {}
            for row in explained.table("embeddings").to_pylist():
                rows.setdefault(row["trial"], []).append(row)
            for entry in explained.info["trials"]:
                made = entry["embedding"]
                if made is None or entry["trial"] not in rows:
                    continue
                names = [field.name for field in dataclasses.fields(Point)]
                pictures.append(
                    Embedding(
                        trial=explained.name(entry["trial"], entry["architecture"]),
                        vectors=made["vectors"],
                        dim=made["dim"],
                        method=made["method"],
                        fold=made["fold"],
                        purity=made["purity"],
                        chance=made["chance"],
                        points=tuple(
                            Point(**{name: row[name] for name in names})
                            for row in rows[entry["trial"]]
                        ),
                    )
                )
        if not pictures:
            raise NoDataError("the first fold has too few test utterances for a picture")
        return Embeddings(classes=evidence.classes, pictures=tuple(pictures))

    def draw(self, data: Embeddings, ink: Ink) -> Drawing:
        pictures = sorted(data.pictures, key=lambda picture: -picture.purity)
        best, last = pictures[0], pictures[-1]
        summary = (
            f"Of an utterance's five nearest neighbours in {best.trial}, "
            f"{decimal(5 * best.purity, 1)} are of its class on average"
            f"{f', in {last.trial} {decimal(5 * last.purity, 1)}' if last is not best else ''}; "
            f"by chance {decimal(5 * best.chance, 1)} would be."
        )
        return Drawing(
            summary=summary,
            panels=[
                Panel(
                    title=(
                        f"{picture.trial}: {decimal(100 * picture.purity, 0)} % of neighbours of "
                        "the same class"
                    ),
                    data=_traces(data.classes, picture),
                    layout={
                        "xaxis": BARE,
                        "yaxis": BARE,
                        "margin": {"l": 12, "b": 16},
                        "legend": {"font": {"size": 11}},
                    },
                    height=360,
                )
                for picture in pictures
            ],
            tables=[
                charts.table(
                    "How well classes keep together",
                    pictures,
                    {
                        "trial": lambda p: p.trial,
                        "utterances": lambda p: len(p.points),
                        "vectors": lambda p: _called(p.vectors),
                        "dimension": lambda p: p.dim,
                        "same class among 5 neighbours": lambda p: p.purity,
                        "by chance": lambda p: p.chance,
                    },
                ),
                charts.table(
                    "Points of the pictures",
                    [(picture.trial, p) for picture in pictures for p in picture.points],
                    {
                        "trial": lambda row: row[0],
                        "utterance": lambda row: row[1].utterance_id,
                        "speaker": lambda row: row[1].speaker_id,
                        "spoken": lambda row: row[1].truth,
                        "recognised": lambda row: row[1].prediction,
                        "confidence": lambda row: row[1].confidence,
                        "x": lambda row: row[1].x,
                        "y": lambda row: row[1].y,
                    },
                ),
            ],
            note=(
                f"The {plural(len(best.points), 'test utterance')} of fold {best.fold} "
                f"({best.method}): one point each, hollow where it was not recognised. Vectors "
                "are what the last layer reads, or log posteriors where an architecture "
                "classifies pieces of an utterance. Only neighbourhoods have a meaning in such a "
                "picture; distances between groups and axes have none. Numbers are measured on "
                "the vectors themselves. After Li et al., Interspeech 2020 (FG-CME), Fig. 2."
            ),
        )


def _called(vectors: str) -> str:
    return "before the last layer" if vectors == "penultimate" else "log posteriors"


def _traces(classes: tuple[str, ...], picture: Embedding) -> list[dict[str, Any]]:
    """One trace a class that occurs, in label order."""
    traces = []
    for place, name in enumerate(classes):
        points = [p for p in picture.points if p.truth == name]
        if not points:
            continue
        symbol, colour = SYMBOLS[place % len(SYMBOLS)], SERIES[place % len(SERIES)]
        traces.append(
            charts.markers(
                short(name),
                [p.x for p in points],
                [p.y for p in points],
                text=[
                    f"{p.utterance_id}<br>{p.truth}, recognised as {p.prediction} "
                    f"({p.confidence:.2f})"
                    for p in points
                ],
                hovertemplate="%{text}<extra></extra>",
                marker={
                    "color": colour,
                    "symbol": [symbol + "-open" * (p.prediction != p.truth) for p in points],
                    "size": 8,
                    "line": {"width": 1.4, "color": colour},
                },
            )
        )
    return traces
