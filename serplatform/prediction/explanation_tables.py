"""The tables that an explanation leaves in a run: what each trial said of each utterance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from serplatform.alignment.phone_classes import PHONE_CLASSES
from serplatform.artifacts.files import write_parquet

_ATTENTION_SCHEMA = pa.schema(
    [
        ("trial", pa.int32()),
        ("architecture", pa.string()),
        ("map", pa.string()),
        ("fold", pa.int32()),
        ("utterance_id", pa.string()),
        ("speaker_id", pa.string()),
        ("truth", pa.string()),
        ("prediction", pa.string()),
        ("frames", pa.int32()),
        ("spread", pa.float64()),
        *((f"mass_{name}", pa.float64()) for name in PHONE_CLASSES),
        *((f"frames_{name}", pa.int32()) for name in PHONE_CLASSES),
    ]
)
_STATISTICS_SCHEMA = pa.schema(
    [
        ("trial", pa.int32()),
        ("architecture", pa.string()),
        ("fold", pa.int32()),
        ("utterance_id", pa.string()),
        ("speaker_id", pa.string()),
        ("truth", pa.string()),
        ("num_windows", pa.int32()),
        ("sampled_share", pa.float64()),
        ("elements", pa.list_(pa.float32())),
    ]
)
_EMBEDDINGS_SCHEMA = pa.schema(
    [
        ("trial", pa.int32()),
        ("architecture", pa.string()),
        ("fold", pa.int32()),
        ("utterance_id", pa.string()),
        ("speaker_id", pa.string()),
        ("truth", pa.string()),
        ("prediction", pa.string()),
        ("confidence", pa.float64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
    ]
)


def write_tables(
    folder: Path,
    *,
    attention: Sequence[Mapping[str, Any]],
    statistics: Sequence[Mapping[str, Any]],
    embeddings: Sequence[Mapping[str, Any]],
) -> None:
    """Write the three tables; keys that a row lacks are null."""
    for name, entries, schema in (
        ("attention", attention, _ATTENTION_SCHEMA),
        ("statistics", statistics, _STATISTICS_SCHEMA),
        ("embeddings", embeddings, _EMBEDDINGS_SCHEMA),
    ):
        write_parquet(
            folder / f"{name}.parquet", pa.Table.from_pylist(list(entries), schema=schema)
        )
