"""audformat databases: both table formats, joins of tables, splits, and damaged input."""

from __future__ import annotations

from pathlib import Path

import pytest

from serplatform.corpora.audformat_db import AudformatDatabase
from serplatform.corpora.base import Manifest
from serplatform.corpora.validate import validate
from serplatform.errors import BadInputError

HEADER = """
name: tiny
source: internal
usage: unrestricted
languages: [deu]
license: CC0-1.0
schemes:
  emotion: {dtype: str, labels: [anger, neutral]}
  speaker:
    dtype: int
    labels: {3: {gender: male}, 8: {gender: female}}
  transcription: {dtype: str, labels: {a01: Der Lappen, b01: Was sind}}
splits:
  train: {type: train}
  held-out: {type: test}
tables:
  emotion.train:
    type: filewise
    split_id: train
    columns:
      emotion: {scheme_id: emotion, rater_id: gold}
      emotion.agreement: {}
  emotion.test:
    type: segmented
    split_id: held-out
    columns: {emotion: {scheme_id: emotion}}
  files:
    type: filewise
    columns:
      speaker: {scheme_id: speaker}
      transcription: {scheme_id: transcription}
"""
TABLES = {
    "emotion.train": "file,emotion,emotion.agreement\nwav/a.wav,anger,0.9\nwav/b.wav,neutral,\n",
    "emotion.test": "file,start,end,emotion\n"
    "wav/c.wav,0 days 00:00:00,0 days 00:00:01.250000,anger\n"
    "wav/c.wav,0 days 00:00:01.250000,,neutral\n",
    "files": "file,speaker,transcription\nwav/a.wav,3,a01\nwav/b.wav,8,b01\nwav/c.wav,8,b01\n",
}


def write(root: Path, header: str = HEADER, **changed: str) -> Path:
    (root / "db.yaml").write_text(header)
    for name, text in {**TABLES, **{k.replace("_", "."): v for k, v in changed.items()}}.items():
        (root / f"db.{name}.csv").write_text(text)
    return root


def scan(root: Path) -> Manifest:
    return validate(AudformatDatabase().scan(root))


def test_tables_are_joined_by_file_and_segment(tmp_path: Path) -> None:
    a, b, c, d = scan(write(tmp_path)).utterances
    assert (a.utterance_id, a.emotion, a.split, a.speaker_id) == ("wav/a", "angry", "train", "3")
    assert (a.gender, a.text, a.language) == ("male", "Der Lappen", "deu")
    assert (a.start, a.end, a.parent_id) == (None, None, None)
    assert a.extra == {"audformat_emotion.agreement": "0.9"}
    assert (b.emotion, b.gender) == ("neutral", "female")
    assert (c.utterance_id, c.start, c.end) == ("wav/c_0.000-1.250", 0.0, 1.25)
    assert (d.utterance_id, d.start, d.end) == ("wav/c_1.250-", 1.25, None)
    assert (c.parent_id, c.split, c.text) == ("wav/c", "test", "Was sind")
    assert a.path == tmp_path / "wav" / "a.wav"


def test_notes_name_mapping_tables_and_licence(tmp_path: Path) -> None:
    assert scan(write(tmp_path)).notes == (
        "emotions from the tables emotion.train, emotion.test",
        "licence of tiny: CC0-1.0",
        "labels mapped: anger → angry (2)",
    )


@pytest.mark.parametrize("storage", ["csv", "parquet"])
def test_what_the_package_writes_is_read(tmp_path: Path, storage: str) -> None:
    audformat = pytest.importorskip("audformat", reason="the package audformat is not installed")
    pandas = pytest.importorskip("pandas")
    db = audformat.Database("tiny", source="x", languages=["eng"])
    db.splits["dev"] = audformat.Split(type="dev")
    db["people"] = audformat.MiscTable(pandas.Index([3, 8], name="speaker", dtype="Int64"))
    db["people"]["gender"] = audformat.Column()
    db["people"]["gender"].set(["male", "female"])
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "neutral"])
    db.schemes["speaker"] = audformat.Scheme(labels="people", dtype="int")
    index = audformat.segmented_index(
        ["wav/a.wav", "wav/a.wav", "wav/b.wav"], ["0s", "1.25s", "0s"], ["1.25s", pandas.NaT, "2s"]
    )
    db["gold"] = audformat.Table(index, split_id="dev")
    db["gold"]["emotion"] = audformat.Column(scheme_id="emotion")
    db["gold"]["emotion"].set(["anger", "neutral", "anger"])
    db["files"] = audformat.Table(audformat.filewise_index(["wav/a.wav", "wav/b.wav"]))
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set([3, 8])
    db.save(str(tmp_path), storage_format=storage)
    found = [
        (u.utterance_id, u.emotion, u.speaker_id, u.gender, u.split, u.language)
        for u in scan(tmp_path).utterances
    ]
    assert found == [
        ("wav/a_0.000-1.250", "angry", "3", "male", "dev", "eng"),
        ("wav/a_1.250-", "neutral", "3", "male", "dev", "eng"),
        ("wav/b_0.000-2.000", "angry", "8", "female", "dev", "eng"),
    ]


def test_a_file_in_two_splits_or_with_two_labels_is_left_out(tmp_path: Path) -> None:
    header = HEADER.replace("type: segmented", "type: filewise")
    write(
        tmp_path,
        header,
        emotion_test="file,emotion\nwav/a.wav,anger\nwav/b.wav,anger\nwav/c.wav,anger\n",
    )
    manifest = scan(tmp_path)
    assert [u.utterance_id for u in manifest.utterances] == ["wav/c"]
    assert [(r.utterance_id, r.reason) for r in manifest.rejections] == [
        ("wav/a", "in the splits train and test"),
        ("wav/b", "in the splits train and test"),
    ]
    write(
        tmp_path,
        header.replace("split_id: held-out", "split_id: train"),
        emotion_test="file,emotion\nwav/b.wav,anger\n",
    )
    reasons = [r.reason for r in scan(tmp_path).rejections]
    assert reasons == ["labelled 'neutral' and 'anger' in different rows"]


def test_paths_that_leave_the_folder_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, emotion_train="file,emotion\n../a.wav,anger\n/etc/b.wav,anger\n")
    reasons = [r.reason for r in scan(tmp_path).rejections]
    assert reasons == ["its path leaves the database's folder"] * 2


def test_without_speakers_that_is_said(tmp_path: Path) -> None:
    header = HEADER.replace("speaker: {scheme_id: speaker}", "room: {}")
    manifest = scan(write(tmp_path, header, files="file,room,transcription\nwav/a.wav,1,a01\n"))
    assert {u.speaker_id for u in manifest.utterances} == {"unknown"}
    assert any("no speaker is named" in note for note in manifest.notes)


def test_files_without_speaker_are_left_out_where_others_have_one(tmp_path: Path) -> None:
    manifest = scan(
        write(tmp_path, files="file,speaker,transcription\nwav/a.wav,3,a01\nwav/b.wav,nan,b01\n")
    )
    assert [u.speaker_id for u in manifest.utterances] == ["3"]
    assert {r.utterance_id for r in manifest.rejections} == {
        "wav/b",
        "wav/c_0.000-1.250",
        "wav/c_1.250-",
    }
    assert {r.reason.split(",")[0] for r in manifest.rejections} == {"has no speaker"}
    assert manifest.listed == 4


def test_a_quote_that_swallows_rows_is_an_error_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, files='file,speaker,transcription\nwav/a.wav,3,"a01\nwav/b.wav,8,b01\n')
    with pytest.raises(BadInputError, match=r"db\.files\.csv: line 2 opens a quote"):
        scan(tmp_path)


def test_pickled_tables_are_refused_with_the_remedy(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "db.files.csv").rename(tmp_path / "db.files.pkl")
    with pytest.raises(BadInputError, match="pickles are not read; store it as text"):
        scan(tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("tables: [", "is not YAML"),
        ("name: x\n", "no 'tables'"),
        (HEADER.replace("emotion", "mood"), "no table has a column of the scheme 'emotion'"),
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, header: str, message: str) -> None:
    write(tmp_path, header)
    for name in ("mood.train", "mood.test"):
        (tmp_path / f"db.{name}.csv").write_text(TABLES["emotion.train"])
    with pytest.raises(BadInputError, match=message):
        scan(tmp_path)


def test_missing_files_and_bad_times_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"holds no db\.yaml"):
        scan(tmp_path)
    write(tmp_path, emotion_test="file,start,end,emotion\nwav/c.wav,soon,,anger\n")
    with pytest.raises(BadInputError, match=r"db\.emotion\.test: row 1: 'soon' is not a time"):
        scan(tmp_path)
    write(tmp_path)
    (tmp_path / "db.files.csv").unlink()
    with pytest.raises(BadInputError, match="lists the table 'files', and its file is missing"):
        scan(tmp_path)


def test_speakers_of_other_segments_are_found_by_what_they_overlap(tmp_path: Path) -> None:
    files = (
        "file,start,end,speaker\nwav/a.wav,0 days,0 days 00:00:09,3\nwav/b.wav,0 days,NaT,8\n"
        "wav/c.wav,0 days,0 days 00:00:01.240,3\n"
        "wav/c.wav,0 days 00:00:01.240,0 days 00:00:02,8\nwav/c.wav,0 days 00:00:02,NaT,3\n"
    )
    manifest = scan(write(tmp_path, files=files))
    assert {u.utterance_id: u.speaker_id for u in manifest.utterances} == {
        "wav/a": "3",
        "wav/b": "8",
        "wav/c_0.000-1.250": "3",
    }
    (left_out,) = manifest.rejections
    assert left_out.utterance_id == "wav/c_1.250-"  # two speak in it
    assert "has no speaker" in left_out.reason
