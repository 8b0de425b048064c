"""Rows of a table to utterances; whatever format the table is written in, they are read here."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from serplatform.artifacts.dataset import UTTERANCE_SCHEMA
from serplatform.corpora.base import Manifest, RejectedUtterance, Utterance
from serplatform.corpora.paths import PathFinder, RowError, without_ending
from serplatform.corpora.table_columns import SAMPLES, Columns
from serplatform.corpora.table_dialect import TextTable
from serplatform.corpora.times import seconds, span_name
from serplatform.errors import BadInputError
from serplatform.labels import is_missing

#: part of a fold by other names for it
SPLITS = {
    "training": "train",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "devel": "dev",
    "development": "dev",
    "testing": "test",
}
#: genders by other names for them
GENDERS = {"m": "male", "male": "male", "f": "female", "female": "female", "w": "female"}
_TIMES = ("start", "end", "duration")
_NO_TEXT = ("", "nan", "NaN", "NaT", "<NA>", "None")  # "unknown." and "null" can be said


def read_rows(
    table: Path, content: TextTable, *, root: Path | None = None, allow_outside: bool = False
) -> Manifest:
    """List the utterances of a table.

    Args:
        table: named in messages.
        content: its header and records.
        root: what paths are relative to; None: the table's directory.
        allow_outside: paths may leave that directory (absolute, with ``..``, over links).

    Raises:
        BadInputError: the table has no rows, or lacks a column that is needed.
    """
    whole = [cells for _, cells in content.records if len(cells) == len(content.header)]
    finder = PathFinder(root or table.parent)
    columns = Columns(table, content.header, whole, finder, functools.cache(_length))
    rows = _Rows(columns, allow_outside)
    utterances: list[Utterance] = []
    rejections: list[RejectedUtterance] = []
    for line, cells in content.records:
        row = dict(enumerate(cells))
        file = row.get(columns.roles["file"], "")
        name = row.get(columns.roles.get("utterance_id", -1), "") or file or f"line {line}"
        try:
            utterances.append(rows.utterance(line, cells))
        except RowError as error:
            rejections.append(RejectedUtterance(name, file, str(error)))
    if not content.records:
        raise BadInputError(f"{table}: has a header and no rows")
    notes = [*columns.notes, *content.notes]
    notes += [f"{number} paths were read with {how}" for how, number in rows.read_with.items()]
    return Manifest(
        utterances=tuple(utterances),
        rejections=tuple(rejections),
        notes=tuple(notes),
        listed=len(content.records),
    )


class _Rows:
    """Makes utterances of a table's rows, and counts how their paths had to be read."""

    def __init__(self, columns: Columns, allow_outside: bool) -> None:
        self.root = os.path.join(os.path.normpath(columns.finder.root), "")
        self.columns, self.allow_outside = columns, allow_outside
        self.read_with: Counter[str] = Counter()
        taken, reserved = set(columns.roles.values()), set(UTTERANCE_SCHEMA.names)
        header = enumerate(columns.header)
        names = [(i, name.lower()) for i, name in header if name and i not in taken]
        self.others = {i: f"table_{name}" if name in reserved else name for i, name in names}

    def utterance(self, line: int, cells: Sequence[str]) -> Utterance:
        """The utterance of one row."""
        if len(cells) != (width := len(self.columns.header)):
            raise RowError(f"line {line} has {len(cells)} cells, the header {width}")
        values = {role: cells[index] for role, index in self.columns.roles.items()}
        if not values["file"]:
            raise RowError(f"line {line} names no file")
        path, how = self.columns.finder.find(values["file"])
        place = str(path)
        inside = place.startswith(self.root)
        if not self.allow_outside:
            if not inside:
                absent = "" if os.path.lexists(place) else "; no such file is there either"
                raise RowError(
                    "its path leaves the table's directory; say --allow-outside if that is meant, "
                    f"else write paths from the table's directory on{absent}"
                )
            if _links_outside(place, self.root):
                raise RowError(
                    "a link on its path leaves the table's directory; say --allow-outside if that "
                    "is meant"
                )
        if how:
            self.read_with[how] += 1
        start, end, duration = (self._seconds(values, r, path) for r in _TIMES)
        if end is None and duration is not None:
            end = round((start or 0.0) + duration, 9)
        if not start and end is None:
            start = None
        whole = start is None and end is None
        recording = without_ending(place[len(self.root) :] if inside else place)
        given = {r: v for r, v in values.items() if not is_missing(v) or r in ("emotion", "text")}
        split, gender = (given.get(role, "").lower() for role in ("split", "gender"))
        text = values.get("text", "")
        return Utterance(
            utterance_id=given.get("utterance_id") or span_name(recording, start, end),
            path=path,
            start=start,
            end=end,
            speaker_id=values.get("speaker", ""),
            emotion=values["emotion"],
            gender=GENDERS.get(gender, gender) or None,
            session=given.get("session"),
            text=None if text in _NO_TEXT else text,
            language=given.get("language"),
            split=SPLITS.get(split, split) or None,
            fold=given.get("fold"),
            parent_id=given.get("parent_id") or (None if whole else recording),
            extra={name: cells[index] for index, name in self.others.items()},
        )

    def _seconds(self, values: Mapping[str, str], role: str, path: Path) -> float | None:
        """The time of a role, in seconds."""
        text, unit = values.get(role, ""), self.columns.units.get(role, 1.0)
        if unit == SAMPLES and text:
            known = self.columns.length(path) if os.path.isfile(path) else None
            if known is None:
                raise RowError(f"its {role} counts samples, and the file's rate cannot be read")
            unit = 1.0 / known[1]
        try:
            return seconds(text, unit)
        except ValueError as error:
            raise RowError(f"{role} {error}") from None


def _length(path: Path) -> tuple[float, int] | None:
    """Seconds and rate that an audio file declares; None where it is none."""
    import soundfile

    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError, ValueError):
        return None
    return info.frames / info.samplerate, info.samplerate


def _links_outside(path: str, root: str) -> bool:
    """Whether a symbolic link leads from below ``root`` to elsewhere."""
    folder, name = os.path.split(path)
    real = os.path.realpath(path) if os.path.islink(path) else f"{_real_folder(folder)}/{name}"
    return not real.startswith(os.path.join(_real_folder(root), ""))


@functools.lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)
