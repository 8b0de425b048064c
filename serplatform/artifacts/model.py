"""``config.json`` beside the weights of a model."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from serplatform.artifacts.records import (
    Classes,
    Count,
    PluginRecord,
    Positive,
    Record,
    Seconds,
    TensorFile,
)


class InputSizes(Record):
    feature_dim: Positive
    num_classes: Positive
    frame_shift: Seconds
    vocabulary_size: Count
    word_vectors: list[Positive] | None


class WordPreprocessing(Record):
    """How words are cut and numbered."""

    segmentation: NotRequired[Literal["aligned", "equal"]]
    silence: NotRequired[Literal["drop", "divide"]]
    overlap: NotRequired[float]
    min_count: NotRequired[Count]
    word_rules: NotRequired[Count]
    aligner: NotRequired[dict[str, Any]]
    vocabulary: list[str]


class PoolingPreprocessing(Record):
    """How frames are summed up."""

    unit: Literal["utterance", "time", "words"]
    segments: Positive
    statistics: Literal["moments", "dynamics"]
    layout: Literal["vector", "sequence"]
    words: NotRequired[WordPreprocessing]


class Preprocessing(Record):
    """How new audio becomes a model's input."""

    feature: str
    spec: dict[str, Any]
    dim: Positive
    frame_shift: Seconds
    trim: bool
    normalization: Literal["none", "train", "speaker", "utterance"]
    mean: list[float]
    deviation: list[float]
    deviation_floor: list[float]
    deltas: NotRequired[Count]
    words: NotRequired[WordPreprocessing]
    pooling: NotRequired[PoolingPreprocessing]


class ModelDescription(Record):
    """``models/…/config.json``."""

    schema_version: int
    architecture: str
    model: dict[str, Any]
    training: dict[str, Any]
    data: dict[str, Any]
    input_spec: InputSizes
    classes: Classes
    preprocessing: Preprocessing
    metrics: dict[str, Any]
    weights: TensorFile
    plugins: NotRequired[list[PluginRecord]]
