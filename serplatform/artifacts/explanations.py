"""``explanations.json`` and ``utterances.json``: what `explain` writes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, NotRequired

from annotated_types import Gt, Len, Predicate

from serplatform.artifacts.ensemble import IntervalRecord
from serplatform.artifacts.records import Count, FileName, Number, Positive, Record, Seconds


def _filled(found: SpectrogramRecord) -> bool:
    if len(base64.b64decode(found["values"])) != found["bands"] * found["frames"]:
        raise ValueError("holds another number of cells than bands times frames")
    return True


def _span(found: Sequence[Any]) -> bool:
    label, start, end, *kind = found
    if [type(one) for one in (label, *kind)] != [str] * (1 + len(kind)) or not all(
        isinstance(one, (int, float)) for one in (start, end)
    ):
        raise ValueError("is no label with a start and an end")
    return True


class EmbeddingRecord(Record):
    vectors: str
    dim: Positive
    method: str
    fold: Number
    utterances: NotRequired[Count]
    purity: float
    chance: float


class GenerationRecord(Record):
    """How well a model predicts its input: in standard deviations, and over trivial errors."""

    utterances: Count
    windows: Count
    mean_squared_error: IntervalRecord
    to_previous: IntervalRecord
    to_mean: IntervalRecord
    nll: IntervalRecord
    nll_of_mean: float


class HeardRecord(Record):
    """What is right when a share of each utterance is heard; fractions."""

    share: float
    answered: float
    accuracy: float
    uar: IntervalRecord


class ExplainedTrial(Record):
    trial: Number
    architecture: str
    folds: NotRequired[Count]
    dev_uar: float
    num_parameters: NotRequired[Count | None]
    latency_seconds: NotRequired[Seconds | None]
    latency_utterance_seconds: NotRequired[Seconds | None]
    maps: NotRequired[dict[str, str]]
    layer_weights: NotRequired[dict[str, float]]
    posterior_difference: NotRequired[float]
    embedding: EmbeddingRecord | None
    generation: NotRequired[GenerationRecord]
    heard: NotRequired[list[HeardRecord]]


class PhonesRecord(Record):
    notation: NotRequired[str]
    utterances: NotRequired[Count]
    least_agreement: float
    misaligned: Count
    sources: NotRequired[dict[str, Count]]
    other: NotRequired[list[str]]


class PhoneTest(Record):
    trial: Number
    architecture: NotRequired[str]
    map: str
    excess: NotRequired[float]
    p_value: float
    num_draws: NotRequired[Count]
    num_utterances: NotRequired[Count]
    num_groups: Count


class LabelMean(Record):
    """Mean relative attention on a word or phone in one emotion, with its interval."""

    value: float
    low: float | None
    high: float | None
    utterances: Count


class LabelAttention(Record):
    """A word or phone; p-values are that emotions do not differ, ``corrected`` for all labels."""

    label: str
    utterances: Count
    speakers: Count
    emotions: dict[str, LabelMean]
    p_value: float | None
    corrected: float | None


class LabelAttentions(Record):
    """All words (or phones) of one attention map."""

    trial: Number
    architecture: str
    map: str
    tier: str
    utterances: Count
    labels: list[LabelAttention]


class LabelsRecord(Record):
    """``attention_by_label.json``."""

    schema_version: int
    least_utterances: Count
    num_draws: Count
    maps: list[LabelAttentions]


class RankedUtterance(Record):
    """A test utterance with what the best trial says of it."""

    utterance_id: str
    speaker_id: str
    fold: NotRequired[Number]
    truth: str
    prediction: str
    confidence: float


class ExplanationsRecord(Record):
    """``explanations.json``."""

    schema_version: int
    dataset_fingerprint: str
    folds_hash: str
    classes: list[str]
    trials: list[ExplainedTrial]
    out_of_time: NotRequired[list[Number]]
    asked: NotRequired[Count]
    test_utterances: NotRequired[Count]
    phones: PhonesRecord | None
    phone_tests: list[PhoneTest]
    ranked_by: Number
    confident_errors: list[RankedUtterance]
    shown: NotRequired[list[str]]
    chosen_by: str
    audio: NotRequired[Count]
    audio_left_out: NotRequired[bool]
    licence: NotRequired[str | None]
    seed: NotRequired[int]
    seconds: NotRequired[Seconds]
    files: dict[FileName, str]


class CurveRecord(Record):
    trial: Number
    architecture: str
    map: str
    kind: str
    starts: list[float]
    times_even: list[float]


class TrackRecord(Record):
    """Emotion over time: ``posteriors`` is (K, P), points from ``start`` every ``shift`` seconds;
    a segment is emotion, start, end and its posterior."""

    trial: Number
    architecture: str
    start: float
    shift: Annotated[float, Gt(0)]
    posteriors: Annotated[list[Annotated[list[float], Len(1)]], Len(1)]
    segments: list[Annotated[list[Any], Len(4, 4)]]


class PredictionRecord(Record):
    trial: Number
    architecture: str
    prediction: str
    confidence: float


class SpectrogramRecord(Record):
    values: str
    bands: Positive
    frames: Positive
    start: float
    shift: float
    low_db: NotRequired[float]
    high_db: NotRequired[float]
    ticks: list[Annotated[list[float], Len(2, 2)]]


class SoundRecord(Record):
    mime: str
    base64: str
    seconds: NotRequired[Seconds]


class GeneratedRecord(Record):
    """Frames of an utterance and what was expected of those after the first; a list a frame."""

    trial: Number
    architecture: str
    centres: list[float]
    frames: list[list[float]]
    predicted: list[list[float]]
    deviation: list[list[float]]
    sampled: list[list[float]]


class ShownRecord(Record):
    """One utterance of ``utterances.json``; words and phones are label, start, end (, class)."""

    utterance_id: str
    speaker_id: str
    text: str | None
    truth: str
    fold: Number
    duration: Seconds
    shown: Seconds
    spectrogram: Annotated[SpectrogramRecord, Predicate(_filled)] | None
    audio: SoundRecord | None
    audio_fault: str | None
    words: list[Annotated[list[Any], Len(3, 3), Predicate(_span)]]
    phones: list[Annotated[list[Any], Len(4, 4), Predicate(_span)]]
    curves: list[CurveRecord]
    generated: NotRequired[list[GeneratedRecord]]
    predictions: list[PredictionRecord]
    tracks: NotRequired[list[TrackRecord]]
    misaligned: bool


class ShownUtterances(Record):
    """``utterances.json``."""

    schema_version: int
    utterances: list[ShownRecord]
