"""Write feature shards: one uncompressed Arrow stream a feature and shard, made to be mapped.

The stream format is what ``datasets.Dataset.from_file`` maps. Shards of earlier versions are in
Arrow's file format, which holds the same bytes between a magic number and a footer.

Shapes: T frames, D feature dimension.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from serplatform.arrays import FloatArray
from serplatform.artifacts.dataset import Shard
from serplatform.artifacts.files import SCHEMA_VERSION, atomic_path, file_sha256
from serplatform.config import digest
from serplatform.features.base import FeatureExtractor

_INT32_LIMIT = 2**31 - 1


def write_feature_shard(
    path: Path,
    extractor: FeatureExtractor,
    utterance_ids: Sequence[str],
    frames: Sequence[FloatArray],
) -> Shard:
    """Write one record batch of ``utterance_id`` and ``frames`` (T·D values, row by row).

    The values of all utterances lie in one run of memory, so that a reader gets views over the
    memory map.

    Returns:
        The shard's entry in ``dataset.json``.
    """
    sizes = [array.size for array in frames]
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    stored = np.dtype(extractor.stored_as)
    values = np.concatenate([array.ravel() for array in frames] or [np.zeros(0, np.float32)])
    values = values.astype(stored, copy=False)
    wide = int(offsets[-1]) > _INT32_LIMIT
    item = pa.from_numpy_dtype(stored)
    kind = pa.large_list(item) if wide else pa.list_(item)
    array_type = pa.LargeListArray if wide else pa.ListArray
    column = array_type.from_arrays(
        pa.array(offsets, type=pa.int64() if wide else pa.int32()), pa.array(values)
    ).cast(kind)
    schema = pa.schema(
        [pa.field("utterance_id", pa.string()), pa.field("frames", kind)],
        metadata={
            "schema_version": str(SCHEMA_VERSION),
            "feature": extractor.name,
            "dim": str(extractor.dim),
            "spec_digest": digest(extractor.spec()),
        },
    )
    batch = pa.record_batch([pa.array(utterance_ids, type=pa.string()), column], schema=schema)
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as stream,
        ipc.new_stream(stream, schema) as writer,
    ):
        writer.write_batch(batch)
    return {
        "file": path.name,
        "rows": len(utterance_ids),
        "frames": sum(sizes) // extractor.dim,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "content": _content_digest(batch),
    }


class _Hash:
    """A file of which only the SHA-256 is kept."""

    closed = False

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None: ...

    def close(self) -> None: ...


def _content_digest(batch: pa.RecordBatch) -> str:
    """SHA-256 of the batch in Arrow's file format, in which earlier versions wrote it.

    A dataset's fingerprint is made of these, and so is the same whichever version prepared it.
    """
    sink = _Hash()
    with ipc.new_file(pa.PythonFile(sink, "w"), batch.schema) as writer:
        writer.write_batch(batch)
    return sink.sha256.hexdigest()
