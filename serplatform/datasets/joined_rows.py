"""Rows of several datasets in one table: whose recordings and speakers are the same.

Shapes: N rows of all parts, in their order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from serplatform.artifacts.dataset import ALIGNMENT_SCHEMA, SOURCE_COLUMN, UTTERANCE_SCHEMA
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.recordings import recording_path
from serplatform.features.fingerprint import find_copies
from serplatform.protocols.selection import column, components

_COPIED = [
    name
    for name in UTTERANCE_SCHEMA.names
    if name not in ("utterance_id", "path", "speaker_id", "emotion", "parent_id", "group_id")
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class JoinedPart:
    """One dataset: its name in the joined one, and its rows' (N_p,) labels there."""

    name: str
    dataset: Dataset
    labels: list[str]

    @property
    def prefix(self) -> str:
        return f"{self.name}:"


def find_shared(parts: Sequence[JoinedPart]) -> tuple[list[str], list[str]]:
    """Of all rows: the first of each that shares a recording, as ``part:id``; and why a row is left
    out whose recording an earlier part has, else empty."""
    tables = [part.dataset.utterances for part in parts]
    number = np.repeat(np.arange(len(parts)), [len(table) for table in tables])
    ids = [part.prefix + name for part in parts for name in part.dataset.utterance_ids]
    hashes = [name or None for table in tables for name in column(table, "audio_hash")]
    known = [
        part.prefix + name if name else None
        for part, table in zip(parts, tables, strict=True)
        for name in column(table, "group_id")
    ]
    sounds = [
        None if part.dataset.synthetic else value
        for part, table in zip(parts, tables, strict=True)
        for value in table["fingerprint"].to_pylist()
    ]
    groups = components(hashes, known, pairs=find_copies(sounds, number))
    first = np.unique(groups, return_index=True)[1][groups]
    names = [part.name for part in parts]
    again = [
        f"its recording is in {names[number[one]]}, too" if number[one] != number[row] else ""
        for row, one in enumerate(first.tolist())
    ]
    return [ids[one] for one in first], again


def people(
    parts: Sequence[JoinedPart], groups: Sequence[str], *, speakers_differ: bool
) -> list[str]:
    """Of all rows: the speaker's name, one for each person."""
    speakers = [part.prefix + name for part in parts for name in part.dataset.speaker_ids]
    corpora = [
        None if speakers_differ or not name else (part.dataset.meta["corpus"], name)
        for part in parts
        for name in part.dataset.speaker_ids
    ]
    source = [part.name for part in parts for _ in part.dataset.speaker_ids]
    shared: dict[str, set[str]] = {}
    for name, group in zip(source, groups, strict=True):
        shared.setdefault(group, set()).add(name)
    across = [group if len(shared[group]) > 1 else None for group in groups]
    numbers = components(speakers, corpora, across)
    first = np.unique(numbers, return_index=True)[1][numbers]
    return [speakers[one] for one in first]


def joined_rows(
    parts: Sequence[JoinedPart], groups: Sequence[str], people: Sequence[str]
) -> list[dict[str, Any]]:
    """All rows of all parts, as they stand in the joined table."""
    rows: list[dict[str, Any]] = []
    for part in parts:
        language = part.dataset.meta.get("language")
        for row, values in enumerate(part.dataset.utterances.to_pylist()):
            rows.append(
                {
                    **{name: values[name] for name in _COPIED},
                    "utterance_id": part.prefix + values["utterance_id"],
                    "path": str(recording_path(part.dataset, row)),
                    "language": values["language"] or language or None,
                    "speaker_id": people[len(rows)],
                    "emotion": part.labels[row],
                    "parent_id": part.prefix + values["parent_id"],
                    "group_id": groups[len(rows)],
                    SOURCE_COLUMN: part.name,
                }
            )
    return rows


def joined_alignment(parts: Sequence[JoinedPart], ids: set[str]) -> pa.Table:
    """Spans of the rows that are kept."""
    tables = []
    for part in parts:
        table = part.dataset.alignment.select(ALIGNMENT_SCHEMA.names)
        names = [part.prefix + name for name in table["utterance_id"].to_pylist()]
        table = table.set_column(0, ALIGNMENT_SCHEMA.field(0), pa.array(names, pa.string()))
        tables.append(table.filter(pa.array([name in ids for name in names], pa.bool_())))
    return pa.concat_tables([table.cast(ALIGNMENT_SCHEMA) for table in tables])
