"""Any corpus that has a table: CSV or TSV with a header, one row an utterance."""

from __future__ import annotations

import csv
import functools
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from serplatform.artifacts import UTTERANCE_SCHEMA
from serplatform.corpora.audio import AUDIO_SUFFIXES
from serplatform.corpora.base import CORPORA, Corpus, Manifest, Rejection, Utterance
from serplatform.corpora.validate import generic_protocol
from serplatform.errors import BadInputError
from serplatform.labels import alias_note, canonical_emotion, is_missing

#: role of a column → names it may have, the first one found wins
_COLUMNS: dict[str, tuple[str, ...]] = {
    "file": ("file", "path", "filename", "file_name", "filepath", "file_path", "wav", "audio"),
    "emotion": ("emotion", "label", "emotion_label", "emo", "class", "category"),
    "utterance_id": ("utterance_id", "utterance", "id"),
    "speaker": ("speaker", "speaker_id", "spk", "actor", "subject"),
    "gender": ("gender", "sex"),
    "session": ("session", "session_id"),
    "start": ("start", "start_time", "onset", "begin"),
    "end": ("end", "end_time", "offset"),
    "text": ("text", "transcript", "transcription"),
    "language": ("language", "lang"),
    "split": ("split", "partition", "subset"),
    "fold": ("fold",),
    "parent_id": ("parent_id", "parent", "recording"),
}
_SPLITS = {
    "training": "train",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "devel": "dev",
    "development": "dev",
    "testing": "test",
}
_GENDERS = {"m": "male", "male": "male", "f": "female", "female": "female", "w": "female"}
_DELIMITERS = (",", "\t", ";", "|")
_NEEDS = "a header with the columns 'file' and 'emotion' (or 'label')"


@CORPORA.register("csv")
class CsvTable(Corpus):
    """A table with a header: ``file`` and ``emotion``, and further columns where there are any.

    Paths are relative to the table. ``speaker, gender, session, start, end, text, language,
    split, fold, utterance_id, parent_id`` have a meaning; other columns are kept as they are.

    Args:
        allow_outside: accept paths that leave the table's directory, by their names (absolute,
            or with ``..``) or over symbolic links.
    """

    name = "csv"
    title = "A table of your own"
    language = ""
    licence = "yours"
    size = "any"
    obtain = "write a CSV or TSV file: file, emotion, speaker, … (paths relative to the table)"
    default_protocol = "speaker-kfold:5"

    def __init__(self, *, allow_outside: bool = False) -> None:
        self.allow_outside = allow_outside

    def scan(self, source: Path) -> Manifest:
        """Read the table; see the base class."""
        table = _find_table(source)
        header, rows = _read(table)
        columns = _assign(table, header)
        utterances: list[Utterance] = []
        rejections: list[Rejection] = []
        raw_labels: Counter[str] = Counter()
        for line, cells in rows:
            row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
            values = {role: row.get(column, "") for role, column in columns.items()}
            name = values.get("utterance_id") or values["file"] or f"line {line}"
            try:
                if len(cells) != len(header):
                    raise _RowError(f"line {line} has {len(cells)} cells, the header {len(header)}")
                utterances.append(self._utterance(table.parent, line, row, columns, values))
                raw_labels[values["emotion"]] += not is_missing(values["emotion"])
            except _RowError as error:
                rejections.append(
                    Rejection(utterance_id=name, path=values["file"], reason=str(error))
                )
        if not utterances and not rejections:
            raise BadInputError(f"{table}: has a header and no rows")
        notes = [note for note in (alias_note(raw_labels),) if note]
        if "speaker" not in columns:
            notes.append(
                "the table has no 'speaker' column: nothing can be speaker-independent, and every "
                "number will be said to be so"
            )
        return Manifest(
            utterances=tuple(utterances), rejections=tuple(rejections), notes=tuple(notes)
        )

    def choose_protocol(self, utterances: Sequence[Utterance]) -> str:
        """Its own folds where it has them; else by the number of speakers."""
        return generic_protocol(utterances)

    def _utterance(
        self,
        root: Path,
        line: int,
        row: dict[str, str],
        columns: dict[str, str],
        values: dict[str, str],
    ) -> Utterance:
        if not values["file"]:
            raise _RowError(f"line {line} names no file")
        path = Path(os.path.normpath(root / values["file"]))
        inside = path.is_relative_to(os.path.normpath(root))
        if not self.allow_outside:
            if not inside:
                raise _RowError(
                    "its path leaves the table's directory; say --allow-outside if that is meant"
                )
            if _links_outside(path, root):
                raise _RowError(
                    "a link on its path leaves the table's directory; say --allow-outside if that "
                    "is meant"
                )
        start, end = (_seconds(values.get(name, ""), name) for name in ("start", "end"))
        name = values.get("utterance_id", "")
        recording = path.with_suffix("")
        if inside:
            recording = recording.relative_to(os.path.normpath(root))
        whole = start is None and end is None
        if not name:
            span = "" if whole else f"_{start or 0.0:.3f}-{'' if end is None else f'{end:.3f}'}"
            name = recording.as_posix() + span
        split = values.get("split", "").lower()
        gender = values.get("gender", "").lower()
        reserved = set(UTTERANCE_SCHEMA.names)
        return Utterance(
            utterance_id=name,
            path=path,
            start=start,
            end=end,
            speaker_id=values["speaker"] if "speaker" in columns else "unknown",
            emotion=canonical_emotion(values["emotion"]),
            gender=_GENDERS.get(gender, gender) or None,
            session=values.get("session") or None,
            text=values.get("text") or None,
            language=values.get("language") or None,
            split=_SPLITS.get(split, split) or None,
            fold=values.get("fold") or None,
            parent_id=values.get("parent_id") or (None if whole else recording.as_posix()),
            extra={
                (f"table_{column}" if column in reserved else column): value
                for column, value in row.items()
                if column and column not in columns.values()
            },
        )


class _RowError(Exception):
    """A row cannot be an utterance; the message is the reason."""


def _links_outside(path: Path, root: Path) -> bool:
    """Whether a symbolic link leads from below ``root`` to elsewhere."""
    folder = _real_folder(path.parent)
    real = os.path.realpath(path) if os.path.islink(path) else os.path.join(folder, path.name)
    return not Path(real).is_relative_to(_real_folder(root))


@functools.lru_cache(maxsize=4096)
def _real_folder(folder: Path) -> str:
    return os.path.realpath(folder)


def _seconds(text: str, name: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise _RowError(f"{name} '{text}' is not a number of seconds") from None


def _find_table(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise BadInputError(f"{source}: no such file; give a CSV or TSV file with {_NEEDS}")
    tables = sorted(p for p in source.iterdir() if p.suffix.lower() in (".csv", ".tsv"))
    index = [p for p in tables if p.stem == "index"]
    if len(index or tables) != 1:
        found = ", ".join(p.name for p in tables) or "none"
        raise BadInputError(
            f"{source}: is a directory with {len(tables)} tables ({found}); name one"
        )
    return (index or tables)[0]


def _read(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header in lower case, and every other row with its line number."""
    content = table.read_bytes()
    if not content.strip():
        raise BadInputError(f"{table}: the file is empty; it needs {_NEEDS}")
    try:
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{table}: byte {error.start} is not UTF-8; save the table as UTF-8 text"
        ) from None
    if "\0" in text:
        raise BadInputError(f"{table}: is not a text file; give a CSV or TSV file with {_NEEDS}")
    if not text.strip():
        raise BadInputError(f"{table}: the file is empty; it needs {_NEEDS}")
    known = {name for names in _COLUMNS.values() for name in names}
    first = next(line for line in text.splitlines() if line.strip())
    delimiter = max(
        _DELIMITERS,
        key=lambda mark: (
            sum(cell.strip(' "').lower() in known for cell in first.split(mark)),
            first.count(mark),
        ),
    )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise BadInputError(f"{table}: line {reader.line_num}: {error}") from None
    if not rows:
        raise BadInputError(f"{table}: every cell is empty; it needs {_NEEDS}")
    header = [cell.strip().lower() for cell in rows[0][1]]
    return header, rows[1:]


def _assign(table: Path, header: list[str]) -> dict[str, str]:
    """Which column has which role."""
    twice = sorted(name for name, count in Counter(header).items() if name and count > 1)
    if twice:
        raise BadInputError(f"{table}: column '{twice[0]}' occurs twice; rename one")
    columns = {
        role: found[0]
        for role, names in _COLUMNS.items()
        if (found := [name for name in names if name in header])
    }
    missing = [role for role in ("file", "emotion") if role not in columns]
    if not missing:
        return columns
    if any(Path(cell).suffix.lower() in AUDIO_SUFFIXES for cell in header):
        raise BadInputError(
            f"{table}: has no header (its first line is '{', '.join(header)}'); it needs {_NEEDS}"
        )
    raise BadInputError(
        f"{table}: has no column '{missing[0]}' among {', '.join(header)}; it needs {_NEEDS}"
    )
