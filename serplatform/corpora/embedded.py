"""Recordings that lie in a column of a Parquet or Arrow file, as Hugging Face datasets keep them.

One is named as if the file were a folder: ``train.parquet/12_clip.wav`` is what row 12 (from 0)
holds. Nothing is executed or unpickled.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from serplatform.errors import BadInputError

if TYPE_CHECKING:
    import pyarrow as pa

#: files that hold recordings in a column
EMBEDDING = frozenset({".parquet", ".arrow"})

#: names of a column of recordings, the first one found wins
_AUDIO = ("audio", "wav", "speech", "sound", "recording", "file", "path")


def container_of(path: Path) -> Path | None:
    """The file that holds a recording of such a name; None where it is no such name."""
    container = path.parent
    row = path.name.partition("_")[0]
    if (
        container.suffix.lower() in EMBEDDING
        and row.isdecimal()
        and len(row) < 19
        and container.is_file()
    ):
        return container
    return None


def member_name(row: int, name: str | None) -> str:
    """The name of a recording within its file."""
    plain = Path((name or "clip").replace("\\", "/")).name
    return f"{row}_{plain}"


def audio_field(schema: pa.Schema) -> str | None:
    """The column that holds recordings: bytes, or bytes and path; None where there is none."""
    found = [field.name for field in schema if _holds_bytes(field.type)]
    ranked = [name for name in _AUDIO if name in found]
    return (ranked or found or [None])[0]


def read_member(path: Path) -> bytes | None:
    """The bytes of a recording; None where its row has none, or there is no such row.

    Raises:
        BadInputError: the file is damaged.
    """
    import pyarrow as pa

    container = container_of(path)
    if container is None:
        return None
    row, changed = int(path.name.partition("_")[0]), container.stat().st_mtime_ns
    try:
        first = _starts(container, changed)
        if row >= first[-1]:
            return None
        group = next(i for i in range(len(first) - 1) if first[i] <= row < first[i + 1])
        value = _group(container, changed, group)[row - first[group]].as_py()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInputError(f"{container}: is damaged ({error})") from None
    return value.get("bytes") if isinstance(value, dict) else value


def read_arrow(path: Path) -> pa.Table:
    """An Arrow file, of either format, mapped into memory, and found to be whole.

    Raises:
        pyarrow.ArrowInvalid: it is damaged: reading it might end the process.
    """
    import pyarrow as pa

    source = pa.memory_map(str(path))
    try:
        table = pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        table = pa.ipc.open_file(source).read_all()
    table.validate(full=True)
    return table


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_bytes(kind.field(at).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


@functools.lru_cache(maxsize=64)
def _starts(container: Path, changed: int) -> list[int]:
    """The first row of each group of a file, and the number of rows."""
    if container.suffix.lower() == ".arrow":
        return [0, _arrow(container, changed).num_rows]
    import pyarrow.parquet as pq

    meta = pq.read_metadata(container)
    starts = [0]
    for group in range(meta.num_row_groups):
        starts.append(starts[-1] + meta.row_group(group).num_rows)
    return starts


@functools.lru_cache(maxsize=4)
def _arrow(container: Path, changed: int) -> pa.Table:
    return read_arrow(container)


@functools.lru_cache(maxsize=1)
def _group(container: Path, changed: int, group: int) -> pa.ChunkedArray:
    """The recordings of a group; the last one is remembered, for rows are read in order."""
    if container.suffix.lower() == ".arrow":
        table = _arrow(container, changed)
        return table.column(audio_field(table.schema))
    import pyarrow.parquet as pq

    with pq.ParquetFile(container) as file:
        name = audio_field(file.schema_arrow)
        column = file.read_row_group(group, columns=[name]).column(0)
    column.validate(full=True)
    return column
