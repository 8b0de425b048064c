"""``ensemble.json``: how trials were combined, and what that is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NotRequired

from annotated_types import Ge, Lt, MinLen, Predicate

from serplatform.artifacts.records import (
    Classes,
    Count,
    Metrics,
    Number,
    PathText,
    PluginRecord,
    Positive,
    Record,
    Temperature,
    Weight,
    distinct,
    holds,
    read_record,
)
from serplatform.artifacts.run import DatasetOfRun, ProtocolOfRun
from serplatform.config import digest
from serplatform.metrics import METRICS


def _square(found: Diversity) -> bool:
    size = len(found["members"])
    rows = found["disagreement"]
    if len(rows) != size or any(len(row) != size for row in rows):
        raise ValueError("disagreement is not one row and one column per member")
    return True


def _columns(found: Curve) -> bool:
    if not len(found["threshold"]) == len(found["coverage"]) == len(found["accuracy"]):
        raise ValueError("columns differ in length")
    return True


class IntervalRecord(Record):
    """A value and its 95 % interval; of a difference also the p-value of the same method."""

    value: float
    low: float | None
    high: float | None
    p_value: NotRequired[float]


class Spread(Record):
    mean: float
    sd: float | None


Spreads = Annotated[dict[str, Spread], Predicate(holds(*METRICS))]


Intervals = Annotated[dict[str, IntervalRecord], Predicate(holds(*METRICS))]


class TrialOfEnsemble(Record):
    run: PathText
    trial: Number
    architecture: NotRequired[str]
    member: NotRequired[str]


class PartGains(Record):
    dev: dict[str, float] | None
    test: NotRequired[dict[str, float] | None]


class MemberRecord(Record):
    member: str
    run: PathText
    trial: Number
    architecture: str
    weight: Weight
    share: Weight
    temperature: Temperature | None
    dev: Metrics
    test: NotRequired[Metrics]  # where test values of single trials were asked for
    gain: PartGains


class PartMetrics(Record):
    dev: Metrics
    test: Metrics


class EnsembleFold(Record):
    fold: Number
    best_single: TrialOfEnsemble
    metrics: dict[str, PartMetrics]
    members: list[MemberRecord]
    parameters: dict[str, object]
    #: of this fold, where candidates of single folds are among them
    parameter_order: NotRequired[Annotated[list[str], Predicate(distinct)]]


class EnsembleRun(Record):
    path: PathText
    status: NotRequired[str | None]


class EnsembleCounts(Record):
    candidates: Count
    folds: NotRequired[Count]
    test_rows: NotRequired[Count]
    test_speakers: NotRequired[Count]


class ComparisonRecord(Record):
    """Two systems on the same rows; files of earlier versions may have no p-values beside the
    differences, but other tests, which nothing reads."""

    difference: Intervals


class Oracle(Record):
    uar: float
    accuracy: float


class Diversity(Record):
    members: list[str]
    disagreement: list[list[float]]
    mean_disagreement: float | None
    oracle: Oracle
    all_wrong: float


class GenderRow(Record):
    gender: str
    utterances: Count
    ensemble: NotRequired[Metrics]
    best_single: NotRequired[Metrics]


class SourceRow(Record):
    """Test rows of one corpus of a joined dataset, by models trained on some of them."""

    trained_on: list[str]
    tested_on: str
    utterances: Count
    speakers: Count
    chance: float
    uar: IntervalRecord
    accuracy: IntervalRecord


class Curve(Record):
    threshold: list[float]
    coverage: list[float]
    accuracy: list[float | None]


CurveColumns = Annotated[Curve, Predicate(_columns)]


class DevConfidences(Record):
    """What a threshold for new recordings is chosen from."""

    rows: Count
    curve: CurveColumns


class BundledConfidences(DevConfidences):
    temperatures: list[Temperature]


class Answered(Record):
    coverage: float
    accuracy: float | None


class AnsweredOfAll(Answered):
    accuracy_without_rejection: float


class WishRecord(Record):
    kind: str
    value: float
    folds_granted: Count
    test: Answered


class RejectionFold(Record):
    temperature: Temperature


class RejectionRecord(Record):
    error_share: float
    folds: list[RejectionFold]
    test: AnsweredOfAll
    curve: CurveColumns
    dev: NotRequired[DevConfidences]
    wishes: NotRequired[list[WishRecord]]


class EnsembleRecord(Record):
    """``ensemble.json``."""

    schema_version: int
    combiner: str
    classes: Classes
    runs: list[EnsembleRun]
    folds_hash: str
    plugins: NotRequired[list[PluginRecord]]
    folds: Annotated[list[EnsembleFold], MinLen(1)]
    pooled: Annotated[dict[str, Intervals], Predicate(holds("ensemble"))]
    over_folds: Annotated[dict[str, Spreads], Predicate(holds("ensemble"))]
    comparison: ComparisonRecord
    comparison_with_mean: NotRequired[ComparisonRecord]
    comparison_with_reference: NotRequired[ComparisonRecord]
    parameter_order: Annotated[list[str], Predicate(distinct)]
    objective: NotRequired[str]
    temperature_scaling: NotRequired[bool]
    seed: NotRequired[Count]
    num_resamples: NotRequired[Annotated[int, Ge(1), Lt(10**8)]]
    dataset: NotRequired[DatasetOfRun | None]
    protocol: NotRequired[ProtocolOfRun | None]
    speaker_independent: NotRequired[bool]
    counts: NotRequired[EnsembleCounts]
    diversity: NotRequired[Annotated[Diversity, Predicate(_square)] | None]
    per_gender: NotRequired[list[GenderRow]]
    per_source: NotRequired[list[SourceRow]]
    rejection: NotRequired[RejectionRecord | None]
    notes: NotRequired[list[str]]
    look: NotRequired[Positive]  # which look at the test rows this is
    posteriors_sha256: NotRequired[str | None]


def read_ensemble(directory: Path) -> EnsembleRecord:
    """The content of ``ensemble.json``; see :func:`read_record`."""
    again = "combine again with `serplatform ensemble`"
    return read_record(EnsembleRecord, directory / "ensemble.json", "ensemble description", again)


def ensemble_identity(found: EnsembleRecord) -> str:
    """What tells an ensemble from others wherever it lies."""
    return found.get("posteriors_sha256") or digest([found["folds_hash"], found["folds"]])
