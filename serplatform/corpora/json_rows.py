"""Records from JSON to the rows of a table; whatever the format, ``table_rows`` reads them."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serplatform.corpora.base import Manifest, RejectedUtterance
from serplatform.corpora.table_dialect import TextTable
from serplatform.corpora.table_rows import SPLITS, read_rows
from serplatform.corpora.text_encoding import decode_text
from serplatform.errors import BadInputError

#: words that name a part of a fold
PARTS = frozenset({"train", "dev", "test", "eval", *SPLITS})
_MOST_BYTES = 4 << 30  # unpacked


def read_objects(path: Path, most: int | None = None) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, also compressed (``.gz``).

    Args:
        path: of the file.
        most: read the first objects only.

    Raises:
        BadInputError: a line is no JSON object; the message names it.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            if most is not None:
                content = b"".join(stream.readline(1 << 24) for _ in range(most))
            else:
                content = stream.read(_MOST_BYTES)
    except (OSError, EOFError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read ({error})") from None
    found = []
    for number, line in enumerate(decode_text(content)[0].split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInputError(f"{path}: line {number} is no JSON ({error})") from None
        if not isinstance(value, dict):
            raise BadInputError(f"{path}: line {number} is no JSON object")
        found.append(value)
    return found


def cells(record: Mapping[str, object]) -> dict[str, str]:
    """The plain values of a record as text; lists and further records are left out."""
    return {
        str(name): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in record.items()
        if isinstance(value, (str, int, float, bool))
    }


def as_table(rows: Sequence[Mapping[str, str]], notes: Iterable[str] = ()) -> TextTable:
    """Rows of named cells as a table, with the columns in which there is something."""
    names = dict.fromkeys(name for row in rows for name, value in row.items() if value)
    records = [(n, [row.get(name, "") for name in names]) for n, row in enumerate(rows, start=1)]
    return TextTable(header=list(names), records=records, notes=list(notes))


def read_parts(
    table: Path,
    rows: Sequence[Mapping[str, str]],
    rejections: Sequence[RejectedUtterance],
    *,
    root: Path,
    allow_outside: bool,
) -> Manifest:
    """Rows of several files, with ``split`` where they name train and test, and what was left out
    before; see :func:`.read_rows`."""
    if not {"train", "test"} <= {row["split"] for row in rows}:
        rows = [{**row, "split": ""} for row in rows]
    manifest = read_rows(table, as_table(rows), root=root, allow_outside=allow_outside)
    return dataclasses.replace(
        manifest,
        rejections=(*rejections, *manifest.rejections),
        listed=len(rows) + len(rejections),
    )


def part_of(path: Path, root: Path) -> str:
    """The split that a file's name or one of its folders below ``root`` gives, else ""."""
    folders = path.relative_to(root).parts[:-1] if path.is_relative_to(root) else ()
    for name in (path.name.partition(".")[0], *reversed(folders)):
        words = re.split(r"[-_.]", re.sub(r"[-_]\d+([-_]of[-_]\d+)?$", "", name.lower()))
        for word in (words[0], words[-1]):
            if word in PARTS:
                return SPLITS.get(word, word)
    return ""
