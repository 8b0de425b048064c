"""Folders named by emotion: which level is what, and speakers only where they are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from serplatform.corpora.folders import Folders
from serplatform.corpora.validate import validate
from serplatform.errors import BadInputError


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\1")
    return folder


def read(folder: Path, **options: str) -> list[tuple[str, str, str | None]]:
    kept = validate(Folders(**options).scan(folder)).utterances
    return [(u.emotion, u.speaker_id, u.split) for u in kept]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("happy/1.wav", "Sad/1.wav"), [("sad", "unknown"), ("happy", "unknown")]),
        (("anna/happy/1.wav", "ben/fear/1.wav"), [("happy", "anna"), ("fearful", "ben")]),
        (("anger/s1/1.wav", "fear/s2/1.wav"), [("angry", "s1"), ("fearful", "s2")]),
        (("all/happy/1.wav", "all/sad/1.wav"), [("happy", "unknown"), ("sad", "unknown")]),
    ],
)
def test_levels(tmp_path: Path, names: tuple[str, ...], expected: list[tuple[str, str]]) -> None:
    assert [row[:2] for row in read(put(tmp_path, *names))] == expected


def test_a_level_of_parts_is_the_split(tmp_path: Path) -> None:
    put(tmp_path, "train/happy/1.wav", "train/sad/1.wav", "Val/sad/2.wav", "test/sad/3.wav")
    assert {(e, s, p) for e, s, p in read(tmp_path)} == {
        ("happy", "unknown", "train"),
        ("sad", "unknown", "train"),
        ("sad", "unknown", "dev"),
        ("sad", "unknown", "test"),
    }


def test_without_speakers_it_is_said(tmp_path: Path) -> None:
    notes = validate(Folders().scan(put(tmp_path, "happy/1.wav", "sad/1.wav"))).notes
    assert "read as: [emotion]/file" in notes
    assert any("nothing can be speaker-independent" in note for note in notes)
    assert any("--speaker-from PATTERN" in note for note in notes)


def test_a_pattern_that_finds_speakers_in_names_is_suggested(tmp_path: Path) -> None:
    names = [f"{e}/p{s}_{n}.wav" for e in ("happy", "sad") for s in (1, 2) for n in (1, 2, 3)]
    notes = Folders().scan(put(tmp_path, *names, "sad/other.wav")).notes
    pattern = "^([A-Za-z]*[0-9]+)[_-]"
    assert any(f"such as '{pattern}', which finds p1, p2" in note for note in notes)
    found = Folders(speaker_from=pattern).scan(tmp_path).utterances
    assert {u.speaker_id for u in found} == {"p1", "p2"}


def test_speakers_from_names(tmp_path: Path) -> None:
    put(tmp_path, "happy/s1_01.wav", "sad/s2_01.wav", "sad/other.wav")
    manifest = Folders(speaker_from=r"/(s\d)_").scan(tmp_path)
    assert [u.speaker_id for u in manifest.utterances] == ["s1", "s2"]
    assert [r.reason for r in manifest.rejections] == [
        r"--speaker-from '/(s\d)_' finds no speaker in its path"
    ]
    from_start = Folders(speaker_from=r"^(s\d)_").scan(tmp_path)  # of the path, or of the name
    assert [u.speaker_id for u in from_start.utterances] == ["s1", "s2"]
    with pytest.raises(BadInputError, match="no regular expression"):
        Folders(speaker_from="(")


def test_files_at_another_depth_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, "anna/happy/1.wav", "ben/sad/1.wav", "stray.wav", "anna/x.wav")
    reasons = [r.reason for r in Folders().scan(tmp_path).rejections]
    assert len(reasons) == 2
    assert all("its emotion is not told" in reason for reason in reasons)


def test_no_folders_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds 1 audio file"):
        Folders().scan(put(tmp_path, "1.wav"))
