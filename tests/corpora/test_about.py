"""Which name, language and licence a dataset gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from serplatform.corpora.about import About, about, own_name
from serplatform.corpora.base import Manifest
from serplatform.corpora.csv_table import CsvTable
from serplatform.corpora.emodb import Emodb


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("rec/interviews.csv", "interviews"),
        ("rec/interviews/labels.csv", "interviews"),
        ("rec/interviews/data/index.csv", "interviews"),
        ("rec/my corpus", "my corpus"),
    ],
)
def test_own_name(tmp_path: Path, path: str, name: str) -> None:
    target = tmp_path / path
    target.parent.mkdir(parents=True)
    target.touch() if target.suffix else target.mkdir()
    assert own_name(target) == name


def test_what_is_given_comes_first_then_the_source_then_the_corpus(tmp_path: Path) -> None:
    said = Manifest(utterances=(), title="Theirs", licence="CC0")
    given = About(title="Mine", language="pl")
    table = tmp_path / "interviews.csv"
    assert about(CsvTable(), said, table, given) == About(
        title="Mine", language="pl", licence="CC0"
    )
    assert about(CsvTable(), Manifest(utterances=()), table, About()) == About(title="interviews")
    known = about(Emodb(), Manifest(utterances=()), tmp_path, About())
    assert (known.title, known.language) == (Emodb.title, "de")
