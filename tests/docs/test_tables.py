"""What pages list is what the program has: columns, labels, and every registered name."""

from __future__ import annotations

import re

import pytest

from serplatform.alignment.base import ALIGNERS
from serplatform.ensembles.base import COMBINERS
from serplatform.features.base import FEATURES
from serplatform.inputs.config import DataConfig
from serplatform.models.architectures import ARCHITECTURES
from serplatform.protocols.base import PROTOCOLS
from serplatform.studies.choices import PRUNERS, SAMPLERS
from tests.docs import tables
from tests.docs.pages import PAGES, ROOT, read

CHOOSING = read(ROOT / "docs" / "choosing.md")


def normalisations() -> set[str]:
    import typing

    return set(typing.get_args(typing.get_type_hints(DataConfig)["normalization"]))


#: table of choosing.md → the names that must stand in it, and no other
REGISTERED = {
    "protocols": lambda: set(PROTOCOLS.names()),
    "features": lambda: {*FEATURES.names(), "pretrained", "pretrained-text"},
    "architectures": lambda: set(ARCHITECTURES.names()),
    "samplers": lambda: set(SAMPLERS),
    "pruners": lambda: set(PRUNERS),
    "combiners": lambda: set(COMBINERS.names()),
    "normalisations": normalisations,
    "alignments": lambda: {*ALIGNERS.names(), "none"},
}


def listed(text: str, table: str) -> list[str]:
    """Names in the first column of a table, without what stands behind a colon."""
    (rows,) = re.findall(rf"<!-- registered: {table} -->\n((?:\|.*\n)+)", text)
    first = [row.split("|")[1] for row in rows.splitlines()[2:]]
    return [name.partition(":")[0] for cell in first for name in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("table", REGISTERED)
def test_every_registered_name_stands_in_its_table(table):
    assert set(listed(CHOOSING, table)) == REGISTERED[table]()


def test_every_table_of_names_is_checked():
    assert re.findall(r"<!-- registered: (\w+) -->", CHOOSING) == list(REGISTERED)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_those_of_the_program(page):
    text = read(page)
    assert text == tables.renewed(text), "python -m tests.docs.tables writes them"


def test_tables_hold_what_the_corpus_reader_accepts():
    text = read(ROOT / "docs" / "corpus.md")
    assert set(re.findall(r"<!-- table: (\w+) -->", text)) == set(tables.TABLES)
    assert all(
        name in tables._HOLDS for name in re.findall(r"^\| (\w+) \|", tables.headers(), re.M)[1:]
    )
    for written in ("`speakerid`", "| 0.001 s |", "`joy`", "`.flac`"):
        assert written in text
    assert tables.renewed(text.replace("`speakerid`, ", "")) == text
