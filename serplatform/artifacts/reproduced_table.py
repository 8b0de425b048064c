"""``table.json`` of a reproduced table: published and measured values, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired

from serplatform.artifacts.explanations import LabelAttentions
from serplatform.artifacts.records import Record


class MeasuredMetric(Record):
    """One metric of one row on test rows.

    ``mean`` and ``sd`` are over the values of S seeds and F folds, ``seed_sd`` over the seeds'
    means; ``pooled`` takes all folds' rows together, with its 95 % interval.
    """

    mean: float
    sd: float | None
    seed_sd: float | None
    pooled: float
    low: float | None
    high: float | None
    values: list[list[float]]


class SimilarityMatrix(Record):
    """Absolute cosines of classes with classes; null for a pair that no fold compares."""

    classes: list[str]
    values: list[list[float | None]]


class DrawnCurve(Record):
    """One attention map over an utterance: starts in seconds, weights over even ones."""

    map: str
    starts: list[float]
    times_even: list[float]


class CurvePicture(Record):
    """Attention over an utterance; words are label, start, end, phones also their class."""

    title: str
    utterance_id: str
    truth: str
    prediction: str
    seconds: float
    words: list[list[Any]]
    phones: list[list[Any]]
    curves: list[DrawnCurve]


class PointPicture(Record):
    """Utterances in the plane: x, y and the position of their class."""

    method: str
    classes: list[str]
    points: list[tuple[float, float, int]]


class FigureRecord(Record):
    """What is drawn of a cell; ``labels``: attention by word and by phone."""

    curves: NotRequired[list[CurvePicture]]
    points: NotRequired[PointPicture]
    labels: NotRequired[list[LabelAttentions]]
    word: NotRequired[str]


class ReproducedCell(Record):
    """One row in one column; the keys of a training are those of its seeds, in order."""

    status: str
    reason: str
    published: dict[str, float | str]
    published_sd: NotRequired[dict[str, float]]
    measured: dict[str, MeasuredMetric | str]
    difference: dict[str, float]
    trials: list[list[int]]
    seeds: int
    speakers: NotRequired[int]
    utterances: NotRequired[int]
    exponents: NotRequired[list[list[list[float]]]]
    similarity: NotRequired[SimilarityMatrix]
    figure: NotRequired[FigureRecord]
    settings: NotRequired[dict[str, object]]
    departures: NotRequired[dict[str, object]]
    num_parameters: NotRequired[int | None]
    best_epochs: NotRequired[list[list[int]]]
    monitor: NotRequired[str]
    dev: NotRequired[list[dict[str, float]]]
    epochs: NotRequired[list[int]]
    seconds: NotRequired[list[float]]


class ReproducedColumn(Record):
    """Where numbers were measured; what only a run knows is null without one."""

    name: str
    corpus: str
    title: str
    protocol: str
    metrics: list[str]
    stand_in: bool
    label: str
    status: str
    reason: str
    trained: int
    wanted: int
    seeds: int
    folds: int | None
    folds_hash: str | None
    fold_seed: int | None
    classes: list[str] | None
    dataset_fingerprint: str | None
    synthetic: bool
    notes: list[str]
    run: str | None
    seconds: float | None


class ReproducedRow(Record):
    name: str
    label: str
    note: str
    architecture: str | None
    combine: list[str]
    exponent: float | str | None
    cells: dict[str, ReproducedCell]


class ReproducedTable(Record):
    """``table.json``."""

    schema_version: int
    table: str
    title: str
    paper: str
    kind: str
    published_shows: NotRequired[str]
    quick: bool
    quick_note: str | None
    columns: list[ReproducedColumn]
    rows: list[ReproducedRow]
    selection: str
    statistics: str
    choices: list[str]
    quoted: NotRequired[list[str]]
    command: list[str]
    versions: Mapping[str, object]
    hardware: Mapping[str, object]
    made: str
