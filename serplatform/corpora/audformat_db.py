"""Databases in audEERING's audformat: ``db.yaml`` and one CSV or Parquet file per table.

The layout is documented at https://audeering.github.io/audformat/. It is read here directly,
because the package prefers a table's pickle file, and unpickling runs whatever a file says.
Emotions come from columns of the scheme ``emotion``; the rest from columns of other tables of
the same files, or from the labels (or the misc table) of the scheme ``speaker``.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from serplatform.corpora.base import CORPORA, FormatCorpus, Manifest, RejectedUtterance, Utterance
from serplatform.corpora.paths import PathFinder, RowError, without_ending
from serplatform.corpora.place import Place
from serplatform.corpora.table_dialect import read_table
from serplatform.corpora.table_rows import GENDERS
from serplatform.corpora.times import seconds, span_name
from serplatform.errors import BadInputError
from serplatform.labels import is_missing

#: role → ids of schemes or columns that fill it, the first one found wins
_ROLES: dict[str, tuple[str, ...]] = {
    "emotion": ("emotion", "emotions", "emotion.categories"),
    "speaker": ("speaker", "speaker_id"),
    "gender": ("gender", "sex"),
    "text": ("transcription", "transcript", "text"),
    "language": ("language",),
    "session": ("session",),
}
_ROUNDING = 0.025  # seconds by which spans of two tables may differ
_SPLITS = ("train", "dev", "test")

#: (file, start, end), seconds; start and end None for a whole file
Key = tuple[str, float | None, float | None]


@dataclasses.dataclass(frozen=True)
class _Table:
    """One table: its name, split and rows of plain text by column."""

    name: str
    split: str | None
    roles: Mapping[str, str]
    rows: tuple[tuple[Key, Mapping[str, str]], ...]


@CORPORA.register("audformat")
class AudformatDatabase(FormatCorpus):
    """Any audformat database with an ``emotion`` scheme, on the local disk."""

    title = "A database in audformat"
    licence = "the database's own"
    obtain = "audb.load(NAME, …) of the package audb, or any folder with a db.yaml"
    sign = "a header db.yaml"
    outranks = ("csv", "huggingface")
    examples = ("wav/1.wav", "wav/2.wav", "wav/3.flac")
    example_texts: ClassVar[Mapping[str, str]] = {
        "db.yaml": "name: example\nlanguages: [deu]\nschemes: {emotion: {}, speaker: {}}\n"
        "tables: {all: {columns: {emotion: {}, speaker: {}}}}\n",
        "db.all.csv": "file,emotion,speaker\nwav/1.wav,anger,anna\nwav/2.wav,neutral,anna\n"
        "wav/3.flac,anger,ben\n",
    }

    @classmethod
    def recognise(cls, place: Place) -> str:
        """By its header."""
        return "it has a header db.yaml" if place.has("db.yaml") else ""

    def root(self, source: Path) -> Path:
        return _header_path(source).parent

    def scan(self, source: Path) -> Manifest:
        path = _header_path(source)
        header = _read_header(path)
        root = path.parent
        tables = [
            _read_table(root, name, entry, header)
            for name, entry in header["tables"].items()
            if _roles(entry)
        ]
        labelled = [table for table in tables if "emotion" in table.roles]
        if not labelled:
            raise BadInputError(
                f"{path}: no table has a column of the scheme 'emotion'; its schemes are "
                f"{', '.join(map(str, header['schemes'])) or 'none'}"
            )
        facts, finder = _Facts(header, root, tables), PathFinder(root)
        rows, conflicts = _merge(labelled)
        utterances: list[Utterance] = []
        rejections = list(conflicts)
        for key, values in rows.items():
            try:
                utterances.append(_utterance(finder, key, values, facts))
            except RowError as error:
                rejections.append(RejectedUtterance(_name(key), key[0], str(error)))
        notes = [f"emotions from the tables {', '.join(t.name for t in labelled)}"]
        if header.get("license"):
            notes.append(f"licence of {header.get('name', 'the database')}: {header['license']}")
        return Manifest(
            utterances=tuple(utterances),
            rejections=tuple(rejections),
            notes=tuple(notes),
            listed=len(rows) + len(conflicts),
            title=str(header.get("name") or ""),
            licence=str(header.get("license") or ""),
        )


def _header_path(source: Path) -> Path:
    path = source if source.suffix.lower() in (".yaml", ".yml") else source / "db.yaml"
    if not path.is_file():
        raise BadInputError(
            f"{source}: holds no db.yaml, so it is not an audformat database; give its folder"
        )
    return path


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(header, dict) or not isinstance(header.get("tables"), dict):
        raise BadInputError(f"{path}: is not the header of an audformat database: no 'tables'")
    for key in ("schemes", "splits", "misc_tables"):
        header[key] = header[key] if isinstance(header.get(key), dict) else {}
    return header


def _roles(entry: Any) -> dict[str, str]:
    """Role → column of one table, by the columns' schemes, then by their names."""
    columns = entry.get("columns") if isinstance(entry, dict) else None
    if not isinstance(columns, dict):
        return {}
    schemes = {
        str(name): str((column or {}).get("scheme_id", name)) for name, column in columns.items()
    }
    roles: dict[str, str] = {}
    for role, names in _ROLES.items():
        for wanted in names:
            found = [column for column, scheme in schemes.items() if wanted in (scheme, column)]
            if found:
                # several raters: the column named after the role holds the gold standard
                roles[role] = wanted if wanted in found else found[0]
                break
    return roles


def _read_table(root: Path, name: str, entry: dict[str, Any], header: dict[str, Any]) -> _Table:
    kind = (header["splits"].get(entry.get("split_id")) or {}).get("type")
    split = kind if kind in _SPLITS else None
    rows = []
    for number, cells in enumerate(_cells(root, name), start=1):
        if not cells.get("file"):
            raise BadInputError(f"{root / f'db.{name}'}: row {number} names no file")
        try:
            start, end = (seconds(cells.pop(name, "")) for name in ("start", "end"))
        except ValueError as error:
            raise BadInputError(f"{root / f'db.{name}'}: row {number}: {error}") from None
        if not start and end is None:
            start = None
        rows.append(((cells.pop("file"), start, end), cells))
    return _Table(name=name, split=split, roles=_roles(entry), rows=tuple(rows))


def _cells(root: Path, name: str) -> Iterator[dict[str, str]]:
    """Rows of a table as text; Parquet where both formats lie there."""
    parquet, table = root / f"db.{name}.parquet", root / f"db.{name}.csv"
    if parquet.is_file():
        try:
            content = pq.read_table(parquet, partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInputError(f"{parquet}: is damaged ({error})") from None
        columns = content.column_names
        for batch in content.to_batches(max_chunksize=10_000):
            lists = [_texts(batch.column(i)) for i in range(len(columns))]
            for cells in zip(*lists, strict=True):
                yield dict(zip(columns, cells, strict=True))
    elif table.is_file():
        content = read_table(table, lambda name: name in ("file", "emotion"), "a header")
        for _, values in content.records:
            blank = dict.fromkeys(filter(None, content.header), "")
            yield blank | dict(zip(content.header, values, strict=False))
    elif (root / f"db.{name}.pkl").is_file():
        raise BadInputError(
            f"{root / f'db.{name}.pkl'}: the table is stored as a pickle only, and pickles are not "
            "read; store it as text: audformat.Database.load(…).save(…, storage_format='parquet')"
        )
    else:
        raise BadInputError(
            f"{parquet}: the header lists the table '{name}', and its file is missing"
        )


def _texts(column: pa.Array) -> list[str]:
    """A column as text, empty where it is null; durations in seconds."""
    if pa.types.is_duration(column.type):
        scale = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[column.type.unit]
        return ["" if v is None else repr(v * scale) for v in column.cast(pa.int64()).to_pylist()]
    return ["" if value is None else str(value) for value in column.to_pylist()]


class _Facts:
    """What the tables and schemes say about a row beside its emotion."""

    def __init__(self, header: dict[str, Any], root: Path, tables: Sequence[_Table]) -> None:
        self.languages = [str(value) for value in header.get("languages") or ()]
        self.schemes = header["schemes"]
        self._rows: dict[str, dict[Key, str]] = defaultdict(dict)
        self._files: dict[str, dict[str, str]] = defaultdict(dict)
        self._parts: dict[tuple[str, str], list[tuple[Key, str]]] = defaultdict(list)
        for table in tables:
            for role, column in table.roles.items():
                labels = self._labels(role, root)
                for key, values in table.rows:
                    value = values.get(column, "")
                    if value and role == "text":
                        value = str(labels.get(value, value))
                    if value if role == "text" else not is_missing(value):
                        self._rows[role].setdefault(key, value)
                        if key[1] is None and key[2] is None:
                            self._files[role].setdefault(key[0], value)
                        elif role != "text":
                            self._parts[role, key[0]].append((key, value))
        self._speakers = self._labels("speaker", root)

    def get(self, role: str, key: Key) -> str:
        """The value of a role: of the row, its file, all it overlaps, else of its speaker."""
        value = self._rows[role].get(key) or self._files[role].get(key[0], "")
        if not value:
            spans = self._parts.get((role, key[0]), [])
            there = {told for other, told in spans if _overlap(key, other)}
            value = there.pop() if len(there) == 1 else ""
        if value or role == "speaker":
            return value
        entry = self._speakers.get(self.get("speaker", key))
        if not isinstance(entry, Mapping):
            return ""
        return next((str(entry[name]) for name in _ROLES[role] if entry.get(name)), "")

    def _labels(self, role: str, root: Path) -> dict[str, Any]:
        """What a role's scheme says about each label: a mapping, or a misc table."""
        for name in _ROLES[role]:
            labels = (self.schemes.get(name) or {}).get("labels")
            if isinstance(labels, dict):
                return {str(label): value for label, value in labels.items()}
            if isinstance(labels, str):
                rows = list(_cells(root, labels))
                return {next(iter(row.values())): row for row in rows if row}
        return {}


def _overlap(one: Key, other: Key) -> bool:
    """Whether two spans of a file share more than rounding leaves."""
    begin = max(one[1] or 0.0, other[1] or 0.0)
    end = min(math.inf if key[2] is None else key[2] for key in (one, other))
    return end - begin > _ROUNDING


def _merge(tables: Sequence[_Table]) -> tuple[dict[Key, dict[str, str]], list[RejectedUtterance]]:
    """One row per key, from all tables with emotions; a contradiction between them rejects it."""
    rows: dict[Key, dict[str, str]] = {}
    conflicts: dict[Key, str] = {}
    for table in tables:
        column = table.roles["emotion"]
        others = set(table.roles.values())
        for key, values in table.rows:
            emotion = values.get(column, "")
            row = rows.setdefault(key, {"emotion": emotion, "split": table.split or ""})
            if is_missing(row["emotion"]):
                row["emotion"] = emotion
            elif not is_missing(emotion) and emotion != row["emotion"]:
                conflicts[key] = f"labelled '{row['emotion']}' and '{emotion}' in different rows"
            if table.split and row["split"] and table.split != row["split"]:
                conflicts[key] = f"in the splits {row['split']} and {table.split}"
            row["split"] = row["split"] or table.split or ""
            for name, value in values.items():
                if name not in others and value:
                    row.setdefault(f"audformat_{name}", value)
    rejections = [
        RejectedUtterance(_name(key), key[0], reason) for key, reason in conflicts.items()
    ]
    return {key: row for key, row in rows.items() if key not in conflicts}, rejections


def _name(key: Key) -> str:
    return span_name(without_ending(PurePosixPath(key[0])), key[1], key[2])


def _utterance(finder: PathFinder, key: Key, values: Mapping[str, str], facts: _Facts) -> Utterance:
    file, start, end = key
    path, _ = finder.find(file)
    if not path.is_relative_to(os.path.normpath(finder.root)):
        raise RowError("its path leaves the database's folder")
    gender = facts.get("gender", key).lower()
    language = facts.get("language", key)
    if not language and len(facts.languages) == 1:
        language = facts.languages[0]
    whole = start is None and end is None
    return Utterance(
        utterance_id=_name(key),
        path=path,
        start=start,
        end=end,
        speaker_id=facts.get("speaker", key),
        emotion=values["emotion"],
        gender=GENDERS.get(gender, gender) or None,
        session=facts.get("session", key) or None,
        text=facts.get("text", key) or None,
        language=language or None,
        split=values["split"] or None,
        parent_id=None if whole else without_ending(PurePosixPath(file)),
        extra={name: value for name, value in values.items() if name.startswith("audformat_")},
    )
