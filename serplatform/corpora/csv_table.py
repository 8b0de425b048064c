"""Any corpus that has a table: CSV or TSV with a header, one row per utterance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.base import CORPORA, Manifest, TableFormat
from serplatform.corpora.place import Place
from serplatform.corpora.table_columns import NEEDS, is_name, labels_files
from serplatform.corpora.table_dialect import read_table
from serplatform.corpora.table_rows import read_rows
from serplatform.errors import BadInputError


@CORPORA.register("csv")
class CsvTable(TableFormat):
    """A table with a header: ``file`` and ``emotion``, and further columns where there are any.

    Paths are relative to the table, and may leave its directory (absolute, with ``..``, over links)
    only where ``allow_outside`` says so. Names with a meaning are those of ``table_columns``; other
    columns are kept as they are.
    """

    title = "A table: CSV or TSV"
    obtain = "write a CSV or TSV file: file, emotion, speaker, … (paths relative to the table)"
    sign = "a CSV or TSV table with columns of files and of labels"
    examples = ("anna/1.wav", "anna/2.wav", "ben/1.flac")
    example_texts: ClassVar[Mapping[str, str]] = {
        "index.csv": "file,emotion,speaker,language,take\nanna/1.wav,happy,anna,en,1\n"
        "anna/2.wav,sad,anna,en,2\nben/1.flac,joy,ben,en,1\n"
    }
    example_source = "index.csv"

    @classmethod
    def recognise(cls, place: Place) -> str:
        """Where a table directly in it has columns of files and of labels, by their names."""
        tables = place.top(".csv", ".tsv")
        found = [table for table in tables if labels_files(_header(table))]
        if found:
            named = " and ".join(table.name for table in found)
            return f"{named} has columns of files and of labels"
        return "it is a table" if tables and not place.is_directory else ""

    def scan(self, source: Path) -> Manifest:
        table = _find_table(source).absolute()
        content = read_table(table, is_name, NEEDS)
        return read_rows(table, content, allow_outside=self.allow_outside)


def _find_table(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise BadInputError(f"{source}: no such file; give a CSV or TSV file with {NEEDS}")
    tables = Place(source).top(".csv", ".tsv")
    index = [p for p in tables if p.stem == "index"]
    index = index or [table for table in tables if labels_files(_header(table))]
    if len(index or tables) != 1:
        found = ", ".join(p.name for p in tables) or "none"
        raise BadInputError(
            f"{source}: is a directory with {len(tables)} tables ({found}); name one"
        )
    return (index or tables)[0]


def _header(table: Path) -> list[str]:
    """The names of a table's columns; none where it is no table."""
    try:
        return read_table(table, is_name, NEEDS).header
    except BadInputError:
        return []
