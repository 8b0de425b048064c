"""Datasets of Hugging Face on disk: Parquet files, and what ``save_to_disk`` writes.

Recordings lie in the files (``bytes``) or beside them (``path``). Names of classes are those that
the files' own features give (``ClassLabel``). The files are read by pyarrow: no loading script is
run, and nothing is unpickled or fetched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from serplatform.corpora.base import CORPORA, Manifest, TableFormat
from serplatform.corpora.embedded import EMBEDDING, audio_field, member_name, read_arrow
from serplatform.corpora.json_rows import as_table, part_of
from serplatform.corpora.paths import without_ending
from serplatform.corpora.place import Place
from serplatform.corpora.table_columns import labels_files
from serplatform.corpora.table_rows import read_rows
from serplatform.errors import BadInputError

_BATCH = 1024  # rows
_OWN = ("file", "utterance_id", "split")  # columns that are made here


@CORPORA.register("huggingface")
class HuggingFaceFiles(TableFormat):
    """Parquet and Arrow files with a column of recordings and one of labels.

    The split is that of the file's name (``train-00000-of-00002.parquet``) or folder.
    """

    title = "A Hugging Face dataset: Parquet files, or a directory of save_to_disk"
    licence = "the dataset's own"
    obtain = "Dataset.to_parquet(FILE) or save_to_disk(DIR) of the package datasets"
    sign = "Parquet files with a column 'audio', or state.json beside Arrow files"
    outranks = ("csv", "folders")
    examples = ("clips/1.wav", "clips/2.wav")

    @classmethod
    def recognise(cls, place: Place) -> str:
        """By the columns of the first file."""
        try:
            if not (files := _files(place)):
                return ""
            schema = _schema(files[0])
        except BadInputError:
            return ""
        if audio_field(schema) is None and not labels_files(schema.names):
            return ""
        kind = "Parquet" if files[0].suffix.lower() == ".parquet" else "Arrow"
        return f"{len(files)} {kind} file(s) with the columns {', '.join(schema.names)}"

    @classmethod
    def write_example(cls, folder: Path) -> None:
        values = {"path": list(cls.examples), "label": ["happy", "sad"], "speaker": ["a", "b"]}
        pq.write_table(pa.table(values), folder / "train.parquet")

    def scan(self, source: Path) -> Manifest:
        if not source.exists():
            raise BadInputError(f"{source}: no such file or directory")
        files = _files(Place(source))
        if not files:
            raise BadInputError(f"{source}: holds no Parquet file, and no Arrow file of a dataset")
        root = self.root(source)
        parts = [part_of(file, root) for file in files]
        rows = [
            {**row, **({"split": part} if part else {})}
            for file, part in zip(files, parts, strict=True)
            for row in _rows(file, root)
        ]
        if not rows:
            raise BadInputError(f"{source}: its {len(files)} file(s) have no rows")
        ids = [row.get("utterance_id", "") for row in rows]
        if len(set(ids)) < len(ids) or not all(ids):  # they do not tell the rows apart
            rows = [{n: text for n, text in row.items() if n != "utterance_id"} for row in rows]
        content = as_table(rows, [f"{len(rows)} rows of {len(files)} file(s)"])
        found = read_rows(files[0], content, root=root, allow_outside=self.allow_outside)
        info = _json(next((f.parent for f in files), root) / "dataset_info.json")
        licence = info.get("license")
        return dataclasses.replace(found, licence=licence if isinstance(licence, str) else "")


def _files(place: Place) -> list[Path]:
    """The Parquet files, or the Arrow files that a saved dataset lists."""
    found = [place.root / file for file in place.files if file.suffix.lower() in EMBEDDING]
    parquet = [file for file in found if file.suffix.lower() == ".parquet"]
    if parquet or not place.is_directory:
        return parquet or found
    listed: list[Path] = []
    for folder in dict.fromkeys(file.parent for file in found):
        state = _json(folder / "state.json")
        if state.get("_indices_files") or state.get("_indices_data_files"):
            raise BadInputError(
                f"{folder}: rows are chosen by a file of indices; save it again with "
                "Dataset.flatten_indices().save_to_disk(…)"
            )
        names = [entry.get("filename") for entry in state.get("_data_files") or ()]
        for name in names:
            if not isinstance(name, str) or Path(name).name != name:
                raise BadInputError(f"{folder / 'state.json'}: names the file {name!r}")
            listed.append(folder / name)
    if missing := [file for file in listed if not file.is_file()]:
        raise BadInputError(f"{missing[0]}: state.json lists it, and it is missing")
    return listed


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _schema(file: Path) -> pa.Schema:
    with _damage(file):
        return read_arrow(file).schema if _is_arrow(file) else pq.read_schema(file)


def _batches(file: Path, audio: str | None) -> Iterator[tuple[pa.RecordBatch, list[bool]]]:
    """Rows without what their recordings hold, and whether each holds one."""
    if _is_arrow(file):
        for batch in read_arrow(file).to_batches(max_chunksize=_BATCH):
            held = [False] * len(batch)
            if audio is not None:
                column = batch.column(audio)
                inner = column.field("bytes") if pa.types.is_struct(column.type) else column
                held = inner.is_valid().to_pylist()
            yield batch, held
        return
    with pq.ParquetFile(file) as opened:
        schema = opened.schema_arrow
        columns = [name for name in schema.names if name != audio]
        if audio is not None and pa.types.is_struct(schema.field(audio).type):
            columns.append(f"{audio}.path")
        for group in range(opened.num_row_groups):
            meta = opened.metadata.row_group(group)
            leaves = [meta.column(i) for i in range(meta.num_columns)]
            named = (audio, f"{audio}.bytes")
            empty = [leaf for leaf in leaves if leaf.path_in_schema in named and _is_empty(leaf)]
            for batch in opened.iter_batches(_BATCH, row_groups=[group], columns=columns):
                batch.validate(full=True)
                yield batch, [audio is not None and not empty] * len(batch)


def _is_empty(leaf: Any) -> bool:
    """Whether a column of a row group holds nothing, as far as it says."""
    told = leaf.statistics
    return told is not None and told.has_null_count and told.null_count == leaf.num_values


def _rows(file: Path, root: Path) -> Iterator[dict[str, str]]:
    """The rows of a file as text; columns of lists and other records are left out."""
    with _damage(file):
        schema = _schema(file)
        audio, classes = audio_field(schema), _class_names(file, schema)
        names = [f.name for f in schema if f.name != audio and not pa.types.is_nested(f.type)]
        number = -1
        for batch, held in _batches(file, audio):
            columns = {name: batch.column(name).to_pylist() for name in names}
            inner = batch.column(audio) if audio in batch.schema.names else None
            struct = inner is not None and pa.types.is_struct(inner.type)
            index = inner.type.get_field_index("path") if struct and inner is not None else -1
            paths = inner.field(index).to_pylist() if index >= 0 and inner is not None else []
            for line in range(len(batch)):
                number += 1
                row = {
                    f"{name}_column" if audio and name.lower() in _OWN else name: text
                    for name, values in columns.items()
                    if (text := _text(values[line], classes.get(name)))
                }
                path = paths[line] if paths else None
                if held[line]:
                    member = file / member_name(number, path)
                    row["file"] = member.relative_to(root).as_posix()
                    if path:
                        row["utterance_id"] = without_ending(Path(path.replace("\\", "/")).name)
                elif audio is not None:
                    row["file"] = path or ""
                yield row


def _class_names(file: Path, schema: pa.Schema) -> dict[str, list[str]]:
    """Column → names of its numbers, as features of the file or of the dataset say."""
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    except (ValueError, RecursionError):
        told = {}
    info = told.get("info") if isinstance(told, dict) else None
    features = info.get("features") if isinstance(info, dict) else None
    if not isinstance(features, dict):
        features = _json(file.parent / "dataset_info.json").get("features")
    if not isinstance(features, dict):
        return {}
    return {
        column: [str(name) for name in feature["names"]]
        for column, feature in features.items()
        if isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }


def _text(value: Any, names: Sequence[str] | None) -> str:
    """A cell as text; a class by its name, "" for none (-1 in sets without labels)."""
    if value is None or isinstance(value, bytes):
        return ""
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else ""
    return str(value)


def _is_arrow(file: Path) -> bool:
    return file.suffix.lower() == ".arrow"


@contextlib.contextmanager
def _damage(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{file}: is no Parquet or Arrow file, or is damaged ({error})"
        ) from None
