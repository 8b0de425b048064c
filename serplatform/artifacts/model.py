"""``config.json`` beside the weights of a model."""

from __future__ import annotations

from typing import Any, NotRequired

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


class Preprocessing(Record):
    """How new audio becomes a model's input."""

    feature: str
    spec: dict[str, Any]
    dim: Positive
    frame_shift: Seconds
    trim: bool
    normalization: str
    mean: list[float]
    deviation: list[float]
    deviation_floor: list[float]
    deltas: NotRequired[Count]
    words: NotRequired[dict[str, Any]]
    pooling: NotRequired[dict[str, Any]]


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
