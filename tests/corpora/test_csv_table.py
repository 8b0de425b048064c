"""Tables: delimiters, headers, aliases, paths, and a reason for every row that is left out."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from serplatform.corpora.base import Manifest
from serplatform.corpora.csv_table import CsvTable
from serplatform.corpora.validate import validate
from serplatform.errors import BadInputError


def scan(path: Path, text: str, **options: bool) -> Manifest:
    path.write_text(text, encoding="utf-8")
    return validate(CsvTable(**options).scan(path))


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_delimiter_is_found(tmp_path: Path, mark: str) -> None:
    text = f'file{mark}emotion{mark}speaker{mark}text\na.wav{mark}sad{mark}s1{mark}"no, thanks"\n'
    (row,) = scan(tmp_path / "t.csv", text).utterances
    assert (row.utterance_id, row.emotion, row.speaker_id) == ("a", "sad", "s1")
    assert row.text == "no, thanks"
    assert row.path == tmp_path / "a.wav"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_do_not_matter(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_text("file,emotion,text\na.wav,sad,zażółć\n", encoding=encoding)
    (row,) = CsvTable().scan(tmp_path / "t.csv").utterances
    assert row.text == "zażółć"


def test_columns_have_aliases_and_others_are_kept(tmp_path: Path) -> None:
    text = (
        "Path,Label,Actor,Sex,Session_ID,Onset,Offset,Transcript,Partition,Fold,age,level_db\n"
        "x/a.wav,Fear,A,F,2,0.5,1.25,hello,Validation,3,31,-20\n"
    )
    (row,) = scan(tmp_path / "t.csv", text).utterances
    assert row.utterance_id == "x/a_0.500-1.250"
    assert (row.emotion, row.speaker_id, row.gender, row.session) == ("fearful", "A", "female", "2")
    assert (row.start, row.end, row.text) == (0.5, 1.25, "hello")
    assert (row.split, row.fold, row.parent_id) == ("dev", "3", "x/a")
    assert row.extra == {"age": "31", "table_level_db": "-20"}


def test_first_name_of_a_role_wins(tmp_path: Path) -> None:
    (row,) = scan(tmp_path / "t.csv", "file,label,emotion\na.wav,7,sad\n").utterances
    assert (row.emotion, row.extra) == ("sad", {"label": "7"})


def test_mapping_of_labels_is_shown(tmp_path: Path) -> None:
    manifest = scan(tmp_path / "t.csv", "file,emotion,speaker\na.wav,anger,s\nb.wav,sad,s\n")
    assert manifest.notes == (
        "read as: file=file, emotion=emotion, speaker=speaker",
        "labels mapped: anger → angry (1)",
    )


def test_table_without_speakers_is_said_to_be_so(tmp_path: Path) -> None:
    manifest = scan(tmp_path / "t.csv", "file,emotion\na.wav,sad\n")
    assert manifest.utterances[0].speaker_id == "unknown"
    assert "no speaker is named: nothing can be speaker-independent" in manifest.notes[1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("../a.wav,sad,s,,", "leaves the table's directory; say --allow-outside"),
        ("/etc/a.wav,sad,s,,", "leaves the table's directory"),
        (",sad,s,,", "line 2 names no file"),
        ("a.wav,sad,s,early,", "start 'early' is not a time such as '1.5'"),
        ("a.wav,sad,s", "line 2 has 3 cells, the header 5"),
        ("a.wav,sad,s,,,more", "line 2 has 6 cells"),
    ],
)
def test_bad_row_has_a_reason(tmp_path: Path, row: str, reason: str) -> None:
    manifest = scan(tmp_path / "t.csv", f"file,emotion,speaker,start,end\n{row}\nb.wav,sad,s,,\n")
    assert [u.utterance_id for u in manifest.utterances] == ["b"]
    assert reason in manifest.rejections[0].reason


def test_links_that_lead_outside_need_a_request(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a.wav").touch()
    (data / "own.wav").touch()
    (data / "file.wav").symlink_to(elsewhere / "a.wav")
    (data / "folder").symlink_to(elsewhere)
    (data / "inner.wav").symlink_to(data / "own.wav")
    (tmp_path / "alias").symlink_to(data)
    names = ("file.wav", "folder/a.wav", "inner.wav", "own.wav")
    text = "file,emotion\n" + "".join(f"{name},sad\n" for name in names)
    manifest = scan(tmp_path / "alias" / "t.csv", text)
    assert [u.utterance_id for u in manifest.utterances] == ["inner", "own"]
    assert {r.path for r in manifest.rejections} == {"file.wav", "folder/a.wav"}
    assert "a link on its path leaves" in manifest.rejections[0].reason
    asked = scan(tmp_path / "alias" / "t.csv", text, allow_outside=True)
    assert len(asked.utterances) == 4


def test_paths_outside_are_accepted_on_request(tmp_path: Path) -> None:
    text = "file,emotion\n../a.wav,sad\n"
    (row,) = scan(tmp_path / "t.csv", text, allow_outside=True).utterances
    assert row.path == tmp_path.parent / "a.wav"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty"),
        ("a.wav,sad,s1\nb.wav,happy,s2\n", "has no header .*'a.wav, sad, s1'"),
        ("name,feeling\na,b\n", "has no column 'file' among name, feeling"),
        ("file,speaker\na.wav,s\n", "has no column 'emotion' among file, speaker"),
        ("file,emotion,file\na.wav,sad,b.wav\n", "column 'file' occurs twice"),
        ("file,emotion\n", "has a header and no rows"),
    ],
)
def test_table_that_is_none_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        scan(tmp_path / "t.csv", text)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"file,emotion\na\x81.wav,sad\n")
    with pytest.raises(BadInputError, match="byte 14 is not UTF-8; save the table as UTF-8"):
        CsvTable().scan(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"PK\x03\x04\0\0file,emotion")
    with pytest.raises(BadInputError, match="is not a text file"):
        CsvTable().scan(tmp_path / "t.csv")


def test_directory_stands_for_its_index(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("file,emotion\nb.wav,sad\n")
    (tmp_path / "index.csv").write_text("file,emotion\na.wav,sad\n")
    assert CsvTable().scan(tmp_path).utterances[0].utterance_id == "a"
    (tmp_path / "index.csv").rename(tmp_path / "more.tsv")
    with pytest.raises(BadInputError, match=r"2 tables \(more.tsv, other.csv\); name one"):
        CsvTable().scan(tmp_path)
    with pytest.raises(BadInputError, match="no such file"):
        CsvTable().scan(tmp_path / "absent.csv")


@pytest.mark.skipif("SERPLATFORM_NEMO" not in os.environ, reason="SERPLATFORM_NEMO names no corpus")
def test_nemo_has_its_published_counts() -> None:
    manifest = validate(CsvTable().scan(Path(os.environ["SERPLATFORM_NEMO"]) / "index.csv"))
    assert Counter(u.emotion for u in manifest.utterances) == {
        "angry": 302,
        "fearful": 301,
        "happy": 308,
        "neutral": 323,
        "sad": 305,
        "surprised": 270,
    }
    assert len({u.speaker_id for u in manifest.utterances}) == 9


def test_absolute_paths_of_another_machine_are_said_to_be_nowhere(tmp_path: Path) -> None:
    manifest = scan(tmp_path / "t.csv", "file,emotion\n/no/where/a.wav,sad\n")
    assert "no such file is there either" in manifest.rejections[0].reason
