"""Utterance tables for protocol tests, without audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from serplatform.artifacts.dataset import LATER_COLUMNS, UTTERANCE_SCHEMA


def table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table of ``UTTERANCE_SCHEMA``; missing columns get values that connect nothing."""
    filled = []
    for number, row in enumerate(rows):
        name = str(row.get("utterance_id", f"u{number:05d}"))
        filled.append(
            {
                **dict.fromkeys(UTTERANCE_SCHEMA.names),
                "path": f"{name}.wav",
                "start": 0.0,
                "end": 1.0,
                "duration": 1.0,
                "sampling_rate": 16_000,
                "speech_start": 0.0,
                "speech_end": 1.0,
                "parent_id": name,
                "audio_hash": f"hash-{name}",
                **row,
                "utterance_id": name,
            }
        )
    return pa.Table.from_pylist(filled, UTTERANCE_SCHEMA)


def grid(
    *, num_speakers: int, per_class: int, classes: Sequence[str], name: str = "s{:02d}"
) -> list[dict[str, Any]]:
    """Every speaker says every class ``per_class`` times; speakers alternate in gender."""
    return [
        {
            "utterance_id": f"{name.format(speaker)}-{emotion}-{take}",
            "speaker_id": name.format(speaker),
            "gender": "male" if speaker % 2 else "female",
            "emotion": emotion,
        }
        for speaker in range(1, num_speakers + 1)
        for emotion in classes
        for take in range(per_class)
    ]


def large_table(count: int, *, num_speakers: int = 1000, seed: int = 0) -> pa.Table:
    """A table of many utterances, made column by column; four classes, lengths of 1 to 12 s."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(count)
    names = pa.array([f"u{number:08d}" for number in numbers])
    speaker = numbers % num_speakers
    duration = rng.uniform(1.0, 12.0, count)
    zeros = np.zeros(count)
    columns = {
        "utterance_id": names,
        "path": names,
        "start": zeros,
        "end": duration,
        "duration": duration,
        "speaker_id": [f"s{number:05d}" for number in speaker],
        "gender": np.where(speaker % 2, "male", "female"),
        "session": pa.nulls(count),
        "emotion": np.array(["angry", "happy", "neutral", "sad"])[rng.integers(0, 4, count)],
        "text": pa.nulls(count),
        "language": pa.nulls(count),
        "split": pa.nulls(count),
        "fold": pa.nulls(count),
        "parent_id": names,
        "audio_hash": names,
        "sampling_rate": np.full(count, 16_000),
        "level_db": np.full(count, -20.0),
        "speech_start": zeros,
        "speech_end": duration,
        **{later.name: pa.nulls(count, later.type) for later in LATER_COLUMNS},
    }
    return pa.table({name: columns[name] for name in UTTERANCE_SCHEMA.names}).cast(UTTERANCE_SCHEMA)
