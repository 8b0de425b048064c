"""Frames of a dataset: one memory map a feature shard, views without copies.

Shapes: N utterances, T frames, D feature dimension.
"""

from __future__ import annotations

import dataclasses
import mmap
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from serplatform.arrays import FloatArray, IntArray
from serplatform.artifacts.dataset import Shard
from serplatform.errors import ArtifactError
from serplatform.models.kernels.memory import RELEASE_AFTER, release

_FRAME_TYPES = tuple(
    kind(item) for kind in (pa.list_, pa.large_list) for item in (pa.float32(), pa.float16())
)


def damaged(path: Path, what: str) -> ArtifactError:
    """A file of the dataset is not as it was made."""
    return ArtifactError(f"{path}: {what}; prepare the dataset again")


@dataclasses.dataclass
class MappedPages:
    """Where files are mapped; pages that were read are given back now and then.

    They stay in a process's resident memory until the system needs them, although they are only
    a copy of the page cache. Views stay valid and are read from the file again.
    """

    regions: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # address, bytes
    num_bytes: int = 0

    def read(self, num_bytes: int) -> None:
        """Count what was read since the last release."""
        self.num_bytes += num_bytes
        if self.num_bytes > RELEASE_AFTER:
            self.release()

    def release(self) -> None:
        """Give back all pages that were read."""
        release(self.regions)
        self.num_bytes = 0


@dataclasses.dataclass(frozen=True)
class MappedFrames:
    """All frames of one feature, as read-only views over the memory maps of its shards.

    Attributes:
        values: for each shard, all of its values in one row-major array.
        shard: (N,) shard of each utterance.
        start: (N,) position of its first value within the shard.
        num_frames: (N,) its frames.
        dim: D.
        pages: of all features of the dataset.
    """

    values: tuple[FloatArray, ...]
    shard: IntArray
    start: IntArray
    num_frames: IntArray
    dim: int
    pages: MappedPages

    def frames(self, row: int, first: int = 0, last: int | None = None) -> FloatArray:
        """Frames ``first`` to ``last`` (excluded) of an utterance, (T, D) float32.

        Without a copy where they are stored as float32.
        """
        start = self.start.item(row)
        begin = start + first * self.dim
        end = start + (self.num_frames.item(row) if last is None else last) * self.dim
        values = self.values[self.shard.item(row)][begin:end].reshape(-1, self.dim)
        self.pages.read(values.nbytes)
        return values.astype(np.float32, copy=False)


def map_shard(path: Path) -> tuple[pa.RecordBatch, tuple[int, int]]:
    """Memory-map one feature shard: its single record batch, and where the file is mapped."""
    try:
        with path.open("rb") as stream:  # Arrow itself opens no path that is not UTF-8
            whole = pa.py_buffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        batches = _record_batches(whole)
        if len(batches) != 1:
            raise damaged(path, f"has {len(batches)} record batches instead of one")
        (batch,) = batches
        batch.validate(full=True)  # of the offsets and ids; numbers have nothing to check
    except FileNotFoundError:
        raise damaged(path, "no such feature shard") from None
    except (ValueError, OSError) as error:  # an empty file cannot be mapped
        raise damaged(path, f"the feature shard is damaged ({error})") from None
    kind = batch.schema.field("frames").type if "frames" in batch.schema.names else None
    if "utterance_id" not in batch.schema.names or kind not in _FRAME_TYPES:
        raise damaged(
            path,
            f"its columns are {batch.schema.names}; a feature shard has 'utterance_id' "
            f"and 'frames' (lists of float32 or float16)",
        )
    frames = batch.column("frames")
    if frames.null_count or frames.values.null_count or batch.column("utterance_id").null_count:
        raise damaged(path, "the feature shard lacks values")
    values = frames.values.buffers()[1]
    if values is not None and not 0 <= values.address - whole.address <= whole.size - values.size:
        raise damaged(path, "is compressed, so it cannot be mapped")
    return batch, (whole.address, whole.size)


def _record_batches(whole: pa.Buffer) -> list[pa.RecordBatch]:
    """Views of the batches of an Arrow stream, or of a file in Arrow's file format."""
    source = pa.BufferReader(whole)
    if whole.slice(0, 6).to_pybytes() != b"ARROW1":
        return list(ipc.open_stream(source))
    reader = ipc.open_file(source)  # of an earlier version
    return [reader.get_batch(number) for number in range(reader.num_record_batches)]


def rows_of(
    batch: pa.RecordBatch, shard: Shard, path: Path
) -> tuple[list[str], IntArray, IntArray]:
    """Of the shard's rows that are in the dataset: ids, first values, and numbers of values."""
    offsets = batch.column("frames").offsets.to_numpy().astype(np.int64)
    ids, begins, sizes = batch.column("utterance_id"), offsets[:-1], np.diff(offsets)
    if (taken := shard.get("taken")) is not None:
        if taken and max(taken) >= batch.num_rows:
            raise damaged(path, f"holds {batch.num_rows} rows, of which row {max(taken)} is none")
        rows = np.array(taken, dtype=np.int64)
        ids, begins, sizes = ids.take(pa.array(rows)), begins[rows], sizes[rows]
    prefix = shard.get("prefix", "")
    return [prefix + name for name in ids.to_pylist()], begins, sizes
