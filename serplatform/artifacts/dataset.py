"""``dataset.json``: what a prepared dataset says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired

from serplatform.artifacts.records import (
    Count,
    FileName,
    PluginRecord,
    Positive,
    Record,
    Seconds,
    read_record,
)


class DatasetCounts(Record):
    utterances: Count
    speakers: NotRequired[Count]
    listed: NotRequired[Count]
    copies: NotRequired[dict[str, Count]]
    rejected: NotRequired[Count]
    by_emotion: NotRequired[dict[str, Count]]
    by_speaker: NotRequired[dict[str, Count]]
    by_gender: NotRequired[dict[str, Count]]
    by_reason: NotRequired[dict[str, Count]]
    seconds: NotRequired[Seconds]


class Shard(Record):
    file: FileName
    rows: Count
    frames: Count
    bytes: Count
    sha256: str


class FeatureRecord(Record):
    dim: Positive
    frame_shift: Seconds
    frame_length: Seconds
    unit: str
    spec: dict[str, Any]
    shards: list[Shard]


class DatasetDescription(Record):
    """``dataset.json``."""

    schema_version: int
    corpus: str
    title: str
    synthetic: bool
    classes: list[str]
    counts: DatasetCounts
    features: dict[str, FeatureRecord]
    fingerprint: str
    files: dict[FileName, str]
    language: NotRequired[str | None]
    licence: NotRequired[str | None]
    alignment: NotRequired[dict[str, Count]]
    unaligned: NotRequired[dict[str, Count]]
    notes: NotRequired[list[str]]
    default_protocol: NotRequired[str]
    versions: NotRequired[dict[str, str]]
    request: NotRequired[dict[str, Any]]
    word_rules: NotRequired[Count]
    plugins: NotRequired[list[PluginRecord]]


def read_dataset_description(directory: Path) -> DatasetDescription:
    """The content of ``dataset.json``; see :func:`read_record`."""
    path, again = directory / "dataset.json", "prepare the dataset again"
    return read_record(DatasetDescription, path, "dataset description", again)
