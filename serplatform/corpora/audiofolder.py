"""``audiofolder`` of Hugging Face: recordings, and ``metadata.csv`` or ``metadata.jsonl``.

The metadata name each file in the column ``file_name``, relative to where they lie; folders train,
validation and test give the split. Without metadata, the reader ``folders`` reads such a directory.
See https://huggingface.co/docs/datasets/audio_dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.base import CORPORA, Manifest, TableFormat
from serplatform.corpora.json_rows import as_table, cells, part_of, read_objects
from serplatform.corpora.place import Place
from serplatform.corpora.table_columns import is_name
from serplatform.corpora.table_dialect import read_table
from serplatform.corpora.table_rows import read_rows
from serplatform.errors import BadInputError

_TABLES = ("metadata.csv", "metadata.jsonl")
_FILE = "file_name"
_NEEDS = "a column 'file_name', and one of labels"


@CORPORA.register("audiofolder")
class AudioFolder(TableFormat):
    """Files named by the metadata, with whatever columns these have."""

    title = "A Hugging Face audiofolder"
    obtain = "write metadata.csv beside the recordings: file_name,emotion,speaker,…"
    sign = "metadata.csv or metadata.jsonl with file_name"
    outranks = ("csv", "folders")
    examples = ("train/1.wav", "train/2.wav", "test/3.wav")
    example_texts: ClassVar[Mapping[str, str]] = {
        "train/metadata.jsonl": '{"file_name": "1.wav", "emotion": "happy", "speaker": "a"}\n'
        '{"file_name": "2.wav", "emotion": "sad", "speaker": "a"}\n',
        "test/metadata.csv": "file_name,emotion,speaker\n3.wav,sad,b\n",
    }

    @classmethod
    def recognise(cls, place: Place) -> str:
        """By its metadata."""
        found = _tables(place)
        if not found or not any(_FILE in row for row in _rows(found[0], place.root)[:1]):
            return ""
        return f"{' and '.join(_name(table, place.root) for table in found)} with '{_FILE}'"

    def scan(self, source: Path) -> Manifest:
        if not source.exists():
            raise BadInputError(f"{source}: no such file or directory")
        root, tables = self.root(source), _tables(Place(source))
        if not tables:
            raise BadInputError(f"{source}: holds neither metadata.csv nor metadata.jsonl")
        rows = [row for table in tables for row in _rows(table, root)]
        if not all(row.get(_FILE) for row in rows):
            raise BadInputError(f"{tables[0]}: a row names no '{_FILE}'; it needs {_NEEDS}")
        rows = [{"file": row[_FILE], **row} for row in rows]
        content = as_table([{n: v for n, v in row.items() if n != _FILE} for row in rows])
        return read_rows(tables[0], content, root=root, allow_outside=self.allow_outside)


def _tables(place: Place) -> list[Path]:
    return [place.root / file for file in place.files if file.name in _TABLES]


def _name(table: Path, root: Path) -> str:
    return table.relative_to(root).as_posix()


def _rows(table: Path, root: Path) -> list[dict[str, str]]:
    """The rows of one of the tables, with paths from the root on."""
    if table.suffix == ".csv":
        content = read_table(table, is_name, _NEEDS)
        records = [
            {n: c for n, c in zip(content.header, line, strict=False) if n}
            for _, line in content.records
        ]
    else:
        records = [cells(record) for record in read_objects(table)]
    folder = table.parent.relative_to(root).as_posix()
    for row in records:
        if row.get(_FILE):
            relative = folder != "." and not row[_FILE].startswith("/") and ":" not in row[_FILE]
            row[_FILE] = f"{folder}/{row[_FILE]}" if relative else row[_FILE]
            if part := part_of(root / row[_FILE], root):
                row.setdefault("split", part)
    return records
