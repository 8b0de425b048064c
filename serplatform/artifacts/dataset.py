"""A prepared dataset: its tables, and ``dataset.json``, what it says of itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NotRequired

import pyarrow as pa

from serplatform.artifacts.files import parse_json
from serplatform.artifacts.records import (
    Count,
    FileName,
    PluginRecord,
    Positive,
    Record,
    Seconds,
    checked,
    read_record,
)

#: Columns that datasets made before November 2026 lack; readers fill them with null.
#: ``group_id`` names the first utterance of those that stay in one part (copies, a file and its
#: segments); ``fingerprint`` is what copies were found by.
LATER_COLUMNS = (pa.field("group_id", pa.string()), pa.field("fingerprint", pa.binary()))

#: Columns of ``utterances.parquet``; times in seconds. Corpora may add columns of their own.
UTTERANCE_SCHEMA = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("duration", pa.float64(), nullable=False),
        pa.field("speaker_id", pa.string(), nullable=False),
        pa.field("gender", pa.string()),
        pa.field("session", pa.string()),
        pa.field("emotion", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("language", pa.string()),
        pa.field("split", pa.string()),
        pa.field("fold", pa.string()),
        pa.field("parent_id", pa.string(), nullable=False),
        pa.field("audio_hash", pa.string(), nullable=False),
        pa.field("sampling_rate", pa.int32(), nullable=False),
        pa.field("level_db", pa.float64()),
        pa.field("speech_start", pa.float64(), nullable=False),
        pa.field("speech_end", pa.float64(), nullable=False),
        *LATER_COLUMNS,
    ]
)

#: speaker of every utterance where a corpus names none
NO_SPEAKER = "unknown"
#: Column of joined datasets: which of them a row is from.
SOURCE_COLUMN = "source_dataset"

#: Columns of ``alignment.parquet``; ``tier`` is ``word`` or ``phone``, times in seconds
#: from the start of the utterance.
ALIGNMENT_SCHEMA = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("tier", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
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
    by_source: NotRequired[dict[str, Count]]
    by_reason: NotRequired[dict[str, Count]]
    seconds: NotRequired[Seconds]


class Shard(Record):
    """One file of a feature.

    Of a joined dataset: ``prefix`` of its utterance ids there, and ``taken``, its rows that are in
    the dataset, ascending; lacking: all. ``rows`` and ``frames`` count these.
    """

    file: FileName
    rows: Count
    frames: Count
    bytes: Count
    sha256: str
    #: what the dataset's fingerprint is made of; lacking: ``sha256``, as earlier versions did
    content: NotRequired[str]
    prefix: NotRequired[str]
    taken: NotRequired[list[Count]]


def content_digests(shards: Iterable[Shard]) -> list[str]:
    """What the fingerprint of a dataset is made of, for each shard of a feature."""
    return [shard.get("content", shard["sha256"]) for shard in shards]


class FeatureRecord(Record):
    dim: Positive
    frame_shift: Seconds
    frame_length: Seconds
    unit: str
    spec: dict[str, object]
    shards: list[Shard]


class DatasetDescription(Record):
    """``dataset.json``.

    ``row_digests``: of rows and spans of each shard. ``earlier_fingerprints``: of the same dataset
    before features were added to it.
    """

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
    row_digests: NotRequired[list[str]]
    earlier_fingerprints: NotRequired[list[str]]


def has_been(dataset: DatasetDescription, fingerprint: str | None) -> bool:
    """Whether the dataset has a fingerprint, or had it before features were added."""
    return fingerprint in (dataset["fingerprint"], *dataset.get("earlier_fingerprints", ()))


_AGAIN = "prepare the dataset again"


def read_dataset_description(directory: Path) -> DatasetDescription:
    """The content of ``dataset.json``; see :func:`read_record`."""
    path = directory / "dataset.json"
    return read_record(DatasetDescription, path, "dataset description", _AGAIN)


def parse_dataset_description(content: bytes, where: object) -> DatasetDescription:
    """The same from the file's content; ``where`` is the dataset's place, for messages."""
    place, what = f"{where}/dataset.json", "dataset description"
    return checked(DatasetDescription, parse_json(content, place, what), place, what, _AGAIN)
