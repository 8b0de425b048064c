"""What columns mean follows from names, from each other, and from what stands in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from serplatform.corpora.base import Manifest
from serplatform.corpora.csv_table import CsvTable
from serplatform.corpora.validate import validate
from serplatform.errors import BadInputError

Read = Callable[[str], Manifest]


@pytest.fixture
def read(tmp_path: Path, write_audio: Callable[..., Path]) -> Read:
    """Read a table beside three recordings of 2 s at 8 kHz: a, b and c."""

    def scan(text: str) -> Manifest:
        for name in "abc":
            write_audio(tmp_path / f"{name}.wav", seconds=2.0, rate=8_000)
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        return validate(CsvTable().scan(tmp_path / "t.csv"))

    return scan


@pytest.mark.parametrize(
    ("columns", "cells", "span"),
    [
        ("start,duration", "0.5,1.0", (0.5, 1.5)),
        ("Start Time,Length", "0.1,0.2", (0.1, 0.3)),
        ("offset,dur", "0.5,1.0", (0.5, 1.5)),
        ("onset,offset", "0.5,1.0", (0.5, 1.0)),
        ("onset,offset,duration", "0.5,1.0,0.5", (0.5, 1.0)),
        ("offset,end", "0.5,1.0", (0.5, 1.0)),
        ("offset", "0", (None, None)),
        ("start,end", "0 days,NaT", (None, None)),
        ("offset", "1.5", (None, 1.5)),
        ("duration", "1.5", (None, None)),
        ("start,end,duration", "0.5,,1", (0.5, 1.5)),
        ("start,end,duration", "0.5,1,9", (0.5, 1.0)),
        ("start,end,duration", ",,", (None, None)),
        ("StartTime,EndTime", "00:00:00.5,0:01", (0.5, 1.0)),
        ("start,end", "0 days 00:00:00.500000,NaT", (0.5, None)),
        ("start_ms,end (ms)", "500,1000", (0.5, 1.0)),
        ("startTimeMs,durationInMs", "500,1000", (0.5, 1.5)),
        ("Start [samples],End [samples]", "4000,8000", (0.5, 1.0)),
        ("Start (s),End(sec)", "0.5,1", (0.5, 1.0)),
        ("begin,stop", "500ms,1.5s", (0.5, 1.5)),
        ("Begin Time - ss.msec,End Time - ss.msec", "0.5,1.5", (0.5, 1.5)),
        ("Begin Time - hh:mm:ss.ms,End Time - hh:mm:ss.ms", "00:00:00.500,00:00:01", (0.5, 1.0)),
        ("Begin Time - msec,Duration - msec", "500,1000", (0.5, 1.5)),
        ("Beginn,Ende", "0.5,1", (0.5, 1.0)),
    ],
)
def test_start_with_end_or_duration(
    read: Read, columns: str, cells: str, span: tuple[float | None, float | None]
) -> None:
    (row,) = read(f"{columns},file,emotion\n{cells},a.wav,sad\n").utterances
    assert (row.start, row.end) == span


EPISODE = '"00:16:00,059","00:16:30,000"'


def test_times_of_the_episode_are_not_used_and_that_is_said(read: Read) -> None:
    rows = "".join(f"{name}.wav,sad,{EPISODE}\n" for name in "abc")
    manifest = read("file,emotion,StartTime,EndTime\n" + rows)
    assert [(u.utterance_id, u.start, u.end) for u in manifest.utterances] == [
        ("a", None, None),
        ("b", None, None),
        ("c", None, None),
    ]
    assert manifest.utterances[0].extra["starttime"] == "00:16:00,059"
    assert (
        "'StartTime' and 'EndTime' lie outside the files (990 s in a file of 2 s), so they are no "
        "times in these files and are not used"
    ) in manifest.notes


@pytest.mark.parametrize(
    "rows",
    [
        "a.wav,sad,0,1500\nb.wav,sad,100,1900\n",  # milliseconds
        "a.wav,sad,0,9000\na.wav,happy,9000,16000\n",  # samples, several rows a file
        f"a.wav,sad,{EPISODE}\na.wav,happy,{EPISODE}\n",
    ],
)
def test_times_that_may_count_something_else_are_asked_about(read: Read, rows: str) -> None:
    with pytest.raises(BadInputError, match=r"outside the files .*names of the columns \(start_ms"):
        read("file,emotion,start,end\n" + rows)


def test_one_span_outside_its_file_changes_nothing_for_the_others(read: Read) -> None:
    manifest = read("file,emotion,start,end\na.wav,sad,0,1\nb.wav,sad,0,1\nc.wav,sad,60,61\n")
    assert [u.end for u in manifest.utterances] == [1.0, 1.0, 61.0]


@pytest.mark.parametrize(
    ("column", "cells", "texts", "ids"),
    [
        ("Utterance", ("Yeah.", "What is it?", "Yeah."), ("Yeah.", "What is it?", "Yeah."), "abc"),
        ("sentence", ("yes", "no", "yes"), ("yes", "no", "yes"), "abc"),
        ("utterance", ("u1", "u2", "u3"), (None,) * 3, ("u1", "u2", "u3")),
        ("sentence", ("DFA", "IEO", "DFA"), (None,) * 3, "abc"),
        ("Utterance_ID", ("0", "1", "0"), (None,) * 3, "abc"),
        ("id", ("1.2E+15", "1.2E+15", "3"), (None,) * 3, "abc"),
        ("id", ("x", "nan", ""), (None,) * 3, ("x", "b", "c")),
        ("text", ("nan", "None", "null"), (None, None, "null"), "abc"),
    ],
)
def test_ids_and_texts_are_told_apart(
    read: Read, column: str, cells: tuple[str, ...], texts: tuple[str | None, ...], ids: str
) -> None:
    rows = "".join(f"{n}.wav,sad,{cell}\n" for n, cell in zip("abc", cells, strict=True))
    manifest = read(f"file,emotion,{column}\n{rows}")
    assert [u.text for u in manifest.utterances] == list(texts)
    assert [u.utterance_id for u in manifest.utterances] == list(ids)
    repeated = len(set(cells)) < 3 and not any(texts) and column != "sentence"
    assert any("so it is no key" in note for note in manifest.notes) == repeated


def test_an_id_that_repeats_at_one_place_stays_a_key(read: Read) -> None:
    manifest = read("file,emotion,id\na.wav,sad,x\na.wav,sad,x\n")
    assert [u.utterance_id for u in manifest.utterances] == ["x"]
    assert manifest.rejections[0].reason.startswith("duplicate utterance id")


@pytest.mark.parametrize(
    ("header", "cells", "values"),
    [
        ("File Path,Emotion Label,Speaker ID", "a.wav,sad,s", ("a", "sad", "s")),
        ("Emotions,Path,speakers", "sad,a.wav,s", ("a", "sad", "s")),
        ("\ufeffaudioFilepath,EMOTION,SpeakerId", "a.wav,sad,s", ("a", "sad", "s")),
        ("file,path,label,speaker", "x1,a.wav,sad,s", ("a", "sad", "s")),
        ("id,label,speaker", "a,sad,s", ("a", "sad", "s")),
        ("file,label,emotion_label,actor", "a.wav,7,sad,s", ("a", "sad", "s")),
        ("file,emotion,speaker,subject", "a.wav,sad,nan,s", ("a", "sad", "s")),
        ("file,emotion,speaker,subject", "a.wav,sad,s,x", ("a", "sad", "s")),
    ],
)
def test_names_of_columns(read: Read, header: str, cells: str, values: tuple[str, ...]) -> None:
    (row,) = read(f"{header}\n{cells}\n").utterances
    assert (row.utterance_id, row.emotion, row.speaker_id) == values


def test_what_was_understood_is_said_in_one_line(read: Read) -> None:
    manifest = read("Path,label,class,Onset,age\na.wav,sad,x,0:01,31\n")
    assert manifest.notes[:2] == (
        "read as: file=Path, emotion=label, start=Onset (clock); further columns: class, age",
        "emotion could also be 'class'; 'label' is used",
    )


def test_speakers_that_a_spreadsheet_rounded_are_refused(read: Read) -> None:
    with pytest.raises(BadInputError, match=r"speaker '1\.23E\+15' is a number .* rounded"):
        read("file,emotion,speaker\na.wav,sad,1.23E+15\n")


def test_columns_separated_by_blanks_are_refused_with_the_remedy(read: Read) -> None:
    with pytest.raises(BadInputError, match="separate the columns by commas or tabs"):
        read("file emotion speaker\na.wav sad s\n")


def test_folds_and_parents_that_are_missing_are_none(read: Read) -> None:
    manifest = read("file,emotion,fold,parent\na.wav,sad,nan,NaN\nb.wav,sad,,None\n")
    assert {(u.fold, u.parent_id) for u in manifest.utterances} == {(None, None)}


def test_every_record_is_kept_or_left_out(read: Read) -> None:
    manifest = read("file,emotion\na.wav,sad\n\nfile,emotion\nb.wav\n,sad\nc.wav,,\nc:\\x,sad\n")
    assert manifest.listed == len(manifest.utterances) + len(manifest.rejections) == 5


def test_columns_that_may_be_times_and_are_not_understood_are_named(read: Read) -> None:
    found = read("file,emotion,start_frame,endFrame,weekend\na.wav,sad,1,9,2\nb.wav,sad,1,9,2\n")
    assert any("'start_frame', 'endFrame' may be times and are not used" in n for n in found.notes)
    assert {(row.start, row.end) for row in found.utterances} == {(None, None)}


def test_a_column_of_transcript_files_is_no_text(read: Read) -> None:
    found = read("file,text,emotion\na.wav,x/a.txt,sad\nb.wav,x/b.txt,sad\n")
    assert [(row.text, row.extra["table_text"]) for row in found.utterances] == [
        (None, "x/a.txt"),
        (None, "x/b.txt"),
    ]
