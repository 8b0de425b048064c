"""Tables of train, dev and test, as nkululeko and many benchmarks have them.

``NAME_train.csv``, ``NAME_dev.csv`` and ``NAME_test.csv`` (or ``train.csv``, …): each is a table
such as the reader ``csv`` reads, and its name gives the split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.base import CORPORA, Manifest, TableFormat, Utterance
from serplatform.corpora.json_rows import as_table, part_of
from serplatform.corpora.place import Place
from serplatform.corpora.table_columns import NEEDS, is_name, labels_files
from serplatform.corpora.table_dialect import read_table
from serplatform.corpora.table_rows import read_rows
from serplatform.errors import BadInputError

_ENDINGS = (".csv", ".tsv")


@CORPORA.register("nkululeko")
class SplitTables(TableFormat):
    """The rows of all tables, each with the split that its table's name gives."""

    title = "Tables of train, dev and test, as nkululeko's"
    obtain = "write NAME_train.csv, NAME_dev.csv, NAME_test.csv: file,speaker,gender,emotion"
    default_protocol = "column"
    sign = "several tables of labels whose names say train and test"
    outranks = ("csv", "folders")
    examples = ("wav/1.wav", "wav/2.wav", "wav/3.wav")
    example_texts: ClassVar[Mapping[str, str]] = {
        "mine_train.csv": "file,speaker,gender,emotion\nwav/1.wav,a,female,happy\n"
        "wav/2.wav,a,female,sad\n",
        "mine_test.csv": "file,speaker,gender,emotion\nwav/3.wav,b,male,sad\n",
    }

    @classmethod
    def recognise(cls, place: Place) -> str:
        """By the names and columns of tables."""
        found = _tables(place)
        if not {"train", "test"} <= set(found.values()):
            return ""
        try:
            labelled = all(labels_files(read_table(t, is_name, NEEDS).header) for t in found)
        except BadInputError:
            return ""
        return f"{', '.join(table.name for table in found)} are tables of labels" * labelled

    def scan(self, source: Path) -> Manifest:
        if not source.is_dir():
            raise BadInputError(f"{source}: no such directory; give the one with the tables")
        found = _tables(Place(source))
        if not {"train", "test"} <= set(found.values()):
            named = ", ".join(table.name for table in found) or "none"
            raise BadInputError(
                f"{source}: needs tables whose names say train and test, such as NAME_train.csv "
                f"and NAME_test.csv; such tables here: {named}"
            )
        rows, notes = [], []
        for table, part in found.items():
            content = read_table(table, is_name, NEEDS)
            notes += [f"{table.name}: {note}" for note in content.notes]
            for line, cells in content.records:
                if len(cells) != len(content.header):
                    raise BadInputError(
                        f"{table}: line {line} has {len(cells)} cells, the header "
                        f"{len(content.header)}"
                    )
                named_cells = zip(content.header, cells, strict=True)
                row = {n: cell for n, cell in named_cells if n and n.lower() != "split"}
                rows.append({**row, "split": part})
        if not rows:
            raise BadInputError(f"{source}: its tables have no rows")
        content = as_table(rows, notes)
        return read_rows(next(iter(found)), content, allow_outside=self.allow_outside)

    def suits_default(self, utterances: Sequence[Utterance]) -> bool:
        """Where rows of train and of test are kept."""
        return {"train", "test"} <= {u.split for u in utterances}


def _tables(place: Place) -> dict[Path, str]:
    """Tables directly in a directory whose names give a split."""
    if not place.is_directory:
        return {}
    parts = {table: part_of(table, table.parent) for table in place.top(*_ENDINGS)}
    return {table: "test" if part == "eval" else part for table, part in parts.items() if part}
