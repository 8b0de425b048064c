"""What a path alone is taken for, and what is said where that is not clear."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serplatform.corpora.base import CORPORA, Utterance, generic_protocol
from serplatform.corpora.guess import corpus_and_source, guess
from serplatform.errors import BadInputError
from serplatform.testing.corpus_contract import build_miniature

#: Emo-DB 2.0 is told from the first release by the number of clips
BY_NUMBER = "emodb2"
SOURCES = [name for name in CORPORA.names() if CORPORA.get(name).needs_source]


@pytest.mark.parametrize("name", [name for name in SOURCES if name != BY_NUMBER])
def test_every_corpus_is_recognised_in_its_miniature(name: str, tmp_path: Path) -> None:
    source = build_miniature(CORPORA.get(name), tmp_path / "copy")
    found = guess(source)
    assert found.corpus == name
    assert f"is read as {name} (" in found.sentence(source)
    assert f"serplatform prepare CORPUS {source}" in found.sentence(source)


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\1" * 2000)
    return folder


def test_several_candidates_are_listed(tmp_path: Path) -> None:
    put(tmp_path, "03-01-01-01-01-01-01.wav")
    (tmp_path / "labels.csv").write_text("path,label\n03-01-01-01-01-01-01.wav,calm\n")
    with pytest.raises(BadInputError, match="may be several things") as raised:
        guess(tmp_path)
    assert [fault.split(" …")[0] for fault in raised.value.faults] == [
        f"serplatform prepare {name} {tmp_path}" for name in ("csv", "ravdess")
    ]


def test_what_is_unknown_is_answered_with_what_was_looked_for(tmp_path: Path) -> None:
    put(tmp_path, "rec/one.wav", "rec/two.wav", ".git/03-01-01-01-01-01-01.wav")
    with pytest.raises(BadInputError, match="cannot tell what this is") as raised:
        guess(tmp_path)
    text = str(raised.value)
    assert "it holds 2 files, 2 of them audio, such as rec/one.wav" in text
    assert "a table of labels needs a header with the columns 'file' and 'emotion'" in text
    assert all(name in text for name in SOURCES)


def test_a_few_foreign_files_do_not_matter_and_many_do(tmp_path: Path) -> None:
    put(tmp_path, "03-01-01-01-01-01-01.wav", "03-01-02-01-01-01-01.wav", "x.wav")
    assert guess(tmp_path).evidence.startswith("2 of 3 audio files")
    put(tmp_path, "y.wav", "z.wav")
    with pytest.raises(BadInputError, match="cannot tell"):
        guess(tmp_path)


def test_a_prepared_dataset_is_no_corpus(tmp_path: Path) -> None:
    put(tmp_path, "dataset.json", "utterances.parquet")
    with pytest.raises(BadInputError, match="is a prepared dataset already"):
        guess(tmp_path)


def test_a_wrong_name_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match="Did you mean 'ravdess'"):
        corpus_and_source("ravdes", None)
    with pytest.raises(BadInputError, match="no such file or directory"):
        corpus_and_source("my/ravdess", None)
    assert corpus_and_source("ravdess", None)[0] == "ravdess"  # its own error asks for SOURCE


def test_the_second_release_of_emodb_has_more_clips(tmp_path: Path) -> None:
    texts = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09")
    names = [
        f"{speaker}{text}{emotion}a.wav"
        for speaker in ("03", "08", "09", "10", "11", "12", "13", "14", "15")
        for text in texts
        for emotion in "NFTWAEL"
    ]
    for name in names[:535]:
        (tmp_path / name).write_bytes(b"")
    assert guess(tmp_path).corpus == "emodb"
    (tmp_path / names[535]).write_bytes(b"")
    assert guess(tmp_path).corpus == BY_NUMBER


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("train", "test"), "column"),
        (("train", "dev", "test"), "column"),
        (("train", "dev"), "loso"),
        (("train",), "loso"),
        (("train", None, "test"), "loso"),
        (("a", "b"), "column"),
    ],
)
def test_a_split_is_the_protocol_where_it_tests(parts: tuple[str, ...], expected: str) -> None:
    utterances = [
        Utterance(
            utterance_id=str(n),
            path=Path("a.wav"),
            speaker_id=str(n % 3),
            emotion="sad",
            split=parts[n % len(parts)],
        )
        for n in range(12)
    ]
    assert generic_protocol(utterances) == expected


def test_the_parquet_tables_of_a_database_are_its_own(tmp_path: Path) -> None:
    source = build_miniature(CORPORA.get("audformat"), tmp_path / "db")
    (source / "db.all.csv").unlink()
    columns = {"file": ["wav/1.wav", "wav/2.wav"], "emotion": ["anger", "neutral"]}
    pq.write_table(pa.table(columns), source / "db.all.parquet")
    assert guess(source).corpus == "audformat"
