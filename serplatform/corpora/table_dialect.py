"""A text file to header and rows: encodings, delimiters, quotes, and what is no row.

Every line belongs to the header, to a record, or is counted among those left aside. A quote that
is never closed, and swallows the rows behind it, is an error with its line.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serplatform.corpora.paths import AUDIO_ENDINGS
from serplatform.corpora.text_encoding import composed, decode_text
from serplatform.errors import BadInputError

_DELIMITERS = (",", "\t", ";", "|")
_SEARCHED = 20  # lines among which the header is
_EXPORT = "export it as CSV (UTF-8) and give that"
_PANDAS = "write it as CSV: pandas.read_{0}(…).to_csv('table.csv', index=False)"
#: what a file starts with → what it is, and the remedy
_FORMATS = (
    (b"PK\x03\x04", f"is not a text file but a spreadsheet (.xlsx, .ods) or archive; {_EXPORT}"),
    (b"\xd0\xcf\x11\xe0", f"is not a text file but a spreadsheet (.xls); {_EXPORT}"),
    (b"PAR1", f"is not a text file but Parquet; {_PANDAS.format('parquet')}"),
    (b"ARROW1", f"is not a text file but Arrow; {_PANDAS.format('feather')}"),
    (b"\x1f\x8b", "is compressed (gzip); unpack it"),
    (b"SQLite format 3", f"is not a text file but a database; {_EXPORT}"),
    (b"%PDF", f"is a PDF; {_EXPORT}"),
    (b"version https://git-lfs", "is a git-lfs pointer; run 'git lfs pull' where it was cloned"),
    (b"{", f"is JSON; {_PANDAS.format('json')} (lines=True where each line is an object)"),
    (b"[", f"is JSON; {_PANDAS.format('json')}"),
    (b"<", f"is HTML or XML; {_EXPORT}"),
)
_BLANKS = string.whitespace + "\xa0\u200b\u2007\u202f\ufeff"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


@dataclasses.dataclass(frozen=True)
class TextTable:
    """A table: names of columns as written, line and cells (NFC) of each record, and notes."""

    header: list[str]
    records: list[tuple[int, list[str]]]
    notes: list[str]


def read_table(path: Path, known: Callable[[str], bool], needs: str) -> TextTable:
    """Read a table; ``known`` says whether a cell is a column's name, ``needs`` what it must have.

    Raises:
        BadInputError: it is no table of text, or a quote in it swallows rows.
    """
    content = path.read_bytes()
    text, notes = _decode(path, content, needs)
    lines = list(io.StringIO(text, newline=""))
    at, delimiter, quote = _header(lines, known)
    read = functools.partial(
        csv.reader, delimiter=delimiter, quotechar=quote, skipinitialspace=True
    )
    header: list[str] = []
    records: list[tuple[int, list[str]]] = []
    aside = Counter({"before the header": sum(1 for line in lines[:at] if line.strip())})
    reader, first = read(lines[at:]), at + 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise _open_quote(path, first, f" ({error})") from None
        if row is None:
            break
        last = at + reader.line_num
        if last > first and (
            opened := _swallowing(read, lines[first - 1 : last], row, delimiter, len(header))
        ):
            raise _open_quote(path, first + opened - 1)
        cells = [_clean(cell) for cell in row]
        if not header and any(cells):
            header = _trimmed(cells, 1)
        elif not any(cells):
            aside["blank"] += last - first + 1
        elif _trimmed(cells, len(header)) == header:
            aside["the header again"] += 1
        elif cells[0].startswith("#") and not any(cells[1:]) and len(header) > 1:
            aside["comments"] += 1
        else:
            records.append((first, cells))
        first = last + 1
    if not header:
        raise BadInputError(f"{path}: every cell is empty; it needs {needs}")
    longer = [cells for _, cells in records if len(cells) == len(header) + 1]
    if records and len(longer) == len(records) and any(cells[-1] for cells in longer):
        header = ["", *header]  # as R writes them: its names of rows have no name themselves
    if named := [f"{number} {what}" for what, number in aside.items() if number]:
        notes.append(f"lines of the table that are no rows: {', '.join(named)}")
    records = [(line, _trimmed(cells, len(header))) for line, cells in records]
    return TextTable(header=header, records=records, notes=notes)


def _decode(path: Path, content: bytes, needs: str) -> tuple[str, list[str]]:
    """The text of a file, and what there is to say about its encoding."""
    content = content.rstrip(b"\x1a")  # the end of a file in DOS
    if not content.strip():
        raise BadInputError(f"{path}: the file is empty; it needs {needs}")
    for start, what in _FORMATS:
        if content.lstrip().startswith(start):
            raise BadInputError(f"{path}: {what}")
    notes: list[str] = []
    try:
        text, encoding = decode_text(content, "strict")
        if encoding == "latin-1":
            content.decode()  # which says where the first byte is that is no UTF-8
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{path}: byte {error.start} is not {error.encoding.upper()}; save the table as UTF-8 "
            "text"
        ) from None
    if encoding.startswith("utf-16-"):
        notes.append(f"the table has no mark of its encoding and was read as {encoding}")
    elif encoding == "cp1252":
        escaped = re.split("[\udc80-\udcff]", content.decode(errors="surrogateescape"), maxsplit=1)
        line = escaped[0].count("\n")
        notes.append(
            f"the table is not UTF-8 and was read as Windows-1252, line {line + 1} as "
            f"'{text.splitlines()[line].strip()}'; if that is wrong, save it as UTF-8"
        )
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise BadInputError(
            f"{path}: line {line} holds the byte {ord(found[0])}, so it is not a text file or is "
            f"damaged; give a CSV or TSV file with {needs}"
        )
    if not text.strip():
        raise BadInputError(f"{path}: the file is empty; it needs {needs}")
    return text, notes


def _header(lines: Sequence[str], known: Callable[[str], bool]) -> tuple[int, str, str]:
    """Index of the header's line, delimiter and quotation mark.

    The header is the first line that names two columns, else the first that is no comment.
    """
    first = next(number for number, line in enumerate(lines) if line.strip())
    delimiters: Sequence[str] = _DELIMITERS
    said = re.fullmatch(r"\"?sep=(.)\"?\s*", lines[first], re.IGNORECASE)  # a line of Excel's
    if said:
        delimiters, first = said[1], first + 1
    ranked = []
    for number, line in enumerate(lines[first : first + _SEARCHED], start=first):
        for mark in delimiters:
            cells = [cell.strip(" \t\r\n\"'") for cell in line.split(mark)]
            names = sum(map(known, cells))
            comment = line.lstrip().startswith("#")
            # a line that names two columns, the first such; among delimiters the best
            ranked.append((names < 2, comment, not line.strip(), number, -names, -len(cells), mark))
    *_, number, _, _, mark = min(ranked, default=(first, 0, 0, ","))
    cells = "".join(lines[number : number + 1]).strip().split(mark)
    single = all(cell.strip()[:1] == "'" == cell.strip()[-1:] for cell in cells)
    return number, mark, "'" if single else '"'


def _clean(cell: str) -> str:
    """A cell composed, without blanks around it, visible or not, and without Excel's ``="01"``."""
    cell = composed(cell).strip(_BLANKS)
    return cell[2:-1] if cell.startswith('="') and cell.endswith('"') else cell


def _trimmed(cells: list[str], width: int) -> list[str]:
    """Cells without empty ones at the end, beyond ``width``: a row may end in delimiters."""
    while len(cells) > width and not cells[-1]:
        cells = cells[:-1]
    return cells


def _swallowing(
    read: Callable[..., Any], lines: Sequence[str], row: list[str], delimiter: str, width: int
) -> int:
    """Which line of a record, from 1, opened a quote that swallows rows; 0 where it is fine.

    So where the lines are no well-formed record of ``width`` cells, or where one of them is
    itself a row: as many cells, and no blank after delimiters, as there is in prose.
    """
    try:
        fits = not width or len(_trimmed(row, width)) in (width, width + 1)
        if len(list(read(lines, strict=True))) != 1 or not fits:
            return 1
    except csv.Error:
        return 1
    position = 0  # of the cell's first line
    for cell in row:
        quoted = re.split(r"\r\n|\n|\r", cell)
        for number, part in enumerate(quoted):
            # the first line began outside of the quote: what counts is what it holds
            line = lines[position + number].rstrip("\r\n") if number else part
            cells = line.split(delimiter)
            prose = not number or any(cell.startswith(" ") for cell in cells[1:])
            audio = any(Path(cell.strip(" \"'")).suffix.lower() in AUDIO_ENDINGS for cell in cells)
            as_many = len(cells) == width or not number
            if len(quoted) > 1 < width and delimiter in part and as_many and (audio or not prose):
                return position + 1
        position += len(quoted) - 1
    return 0


def _open_quote(path: Path, line: int, detail: str = "") -> BadInputError:
    return BadInputError(
        f"{path}: line {line} opens a quote that swallows the rows behind it{detail}; close it, "
        'or write a quotation mark within a quoted cell twice ("")'
    )
