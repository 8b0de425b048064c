"""``config.json`` beside the weights of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NotRequired

from serplatform.artifacts.layout import CONFIG_FILE
from serplatform.artifacts.records import (
    Classes,
    Count,
    PluginRecord,
    Positive,
    Record,
    Seconds,
    TensorFile,
    read_record,
)

#: values of ``data.normalization`` that read the unlabelled audio of a test speaker
WITHIN_SPEAKER = ("speaker", "speaker_shrunk")


class InputSizes(Record):
    feature_dim: Positive
    num_classes: Positive
    frame_shift: Seconds
    vocabulary_size: Count
    word_vectors: list[Positive] | None
    word_vector_dim: NotRequired[Positive]
    layers: NotRequired[Positive]
    projection: NotRequired[Count]


class WordPreprocessing(Record):
    """How words are cut and numbered."""

    segmentation: NotRequired[Literal["aligned", "equal"]]
    silence: NotRequired[Literal["drop", "divide"]]
    overlap: NotRequired[float]
    min_count: NotRequired[Count]
    word_rules: NotRequired[Count]
    aligner: NotRequired[dict[str, object]]
    contextual: NotRequired[str]
    contextual_spec: NotRequired[dict[str, object]]
    vocabulary: list[str]


class PoolingPreprocessing(Record):
    """How frames are summed up."""

    unit: Literal["utterance", "time", "words"]
    segments: Positive
    statistics: Literal["moments", "dynamics"]
    layout: Literal["vector", "sequence"]
    whole: NotRequired[Literal["all", "moments"]]
    words: NotRequired[WordPreprocessing]


class Preprocessing(Record):
    """How new audio becomes a model's input."""

    feature: str
    spec: dict[str, object]
    dim: Positive
    frame_shift: Seconds
    trim: bool
    resampled: NotRequired[dict[str, Seconds]]
    normalization: Literal["none", "train", "speaker", "speaker_shrunk", "utterance"]
    mean: list[float]
    deviation: list[float]
    deviation_floor: list[float]
    prior_clips: NotRequired[list[float]]
    prior_variance: NotRequired[list[float]]
    deltas: NotRequired[Count]
    words: NotRequired[WordPreprocessing]
    pooling: NotRequired[PoolingPreprocessing]


class ModelDescription(Record):
    """``models/…/config.json``."""

    schema_version: int
    architecture: str
    model: dict[str, object]
    training: dict[str, object]
    data: dict[str, object]
    input_spec: InputSizes
    classes: Classes
    preprocessing: Preprocessing
    metrics: dict[str, object]
    weights: TensorFile
    plugins: NotRequired[list[PluginRecord]]


def read_model(directory: Path) -> ModelDescription:
    """What a model says of itself; see :func:`read_record`."""
    return read_record(ModelDescription, directory / CONFIG_FILE, "model description")


def encoder_specs(value: object) -> list[Mapping[str, object]]:
    """What a model's description says of each pretrained encoder that it names, each once.

    Wherever it stands: an ``encoder`` that has a ``name`` and a ``sha256``, or that is the text
    ``NAME@sha256:HASH``; and the Whisper that is the ``aligner``.
    """
    found: dict[tuple[str, str], Mapping[str, object]] = {}
    inner: Iterable[object] = value if isinstance(value, list) else ()
    if isinstance(value, Mapping):
        inner, spec = value.values(), value.get("encoder")
        if isinstance(spec, str) and (named := re.fullmatch(r"(.+)@sha256:([0-9a-f]{64})", spec)):
            spec = {"name": named[1], "sha256": named[2]}
        if isinstance(spec, Mapping) and {"name", "sha256"} <= spec.keys():
            found[str(spec["name"]), str(spec["sha256"])] = spec
        if isinstance(spec := value.get("aligner"), Mapping) and {"model", "sha256"} <= spec.keys():
            aligner = {"kind": "whisper", "name": spec["model"], "sha256": spec["sha256"]}
            found[str(spec["model"]), str(spec["sha256"])] = aligner
    for part in inner:
        for other in encoder_specs(part):
            found.setdefault((str(other["name"]), str(other["sha256"])), other)
    return list(found.values())
