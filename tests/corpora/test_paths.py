"""Paths of tables: backslashes, compositions, endings, and hints where no file is meant."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from serplatform.corpora.paths import PathFinder, RowError, without_ending


@pytest.mark.parametrize(
    ("text", "found", "how"),
    [
        ("a/x.wav", "a/x.wav", ""),
        ("a\\x.wav", "a/x.wav", "backslashes as slashes"),
        (".\\a\\x.wav", "a/x.wav", "backslashes as slashes"),
        ("a/x", "a/x.wav", "names without their ending"),
        ("b/take.1", "b/take.1", ""),
        (unicodedata.normalize("NFC", "a/é.wav"), unicodedata.normalize("NFD", "a/é.wav"), ""),
        ("absent.wav", "absent.wav", ""),
        ("../x.wav", "../x.wav", ""),
    ],
)
def test_paths_mean_files(tmp_path: Path, text: str, found: str, how: str) -> None:
    root = tmp_path / "data"
    for name in ("a/x.wav", "b/take.1", unicodedata.normalize("NFD", "a/é.wav")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    path, read = PathFinder(root).find(text)
    assert (path.resolve(), read) == ((root / found).resolve(), how)


def test_file_addresses_and_home_directories_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b.wav").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    finder = PathFinder(tmp_path)
    assert finder.find(f"file://{tmp_path}/a%20b.wav") == (tmp_path / "a b.wav", "file addresses")
    assert finder.find("~/a b.wav")[0] == tmp_path / "a b.wav"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("C:\\data\\x.wav", "names a drive of another machine"),
        ("D:/x.wav", "names a drive"),
        ("https://example.org/x.wav", "is an address on the network; fetch the file"),
        ("A/X.wav", "no such file; 'a' is there: upper and lower case count"),
        ("a/X.WAV", "no such file; 'a/x.wav' is there"),
        ("a\\y.wav", "no such file; the table's paths are read with backslashes as slashes"),
    ],
)
def test_paths_that_mean_no_file_have_a_hint(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.wav").touch()
    with pytest.raises(RowError, match=reason):
        PathFinder(tmp_path).find(text)


def test_an_ending_that_two_files_could_have_is_not_guessed(tmp_path: Path) -> None:
    for name in ("x.wav", "x.flac"):
        (tmp_path / name).touch()
    with pytest.raises(RowError, match=r"may be x\.flac or x\.wav; write the ending, too"):
        PathFinder(tmp_path).find("x")


def test_only_endings_of_audio_are_cut_off() -> None:
    names = ("spk1.take.0", "a/Ses1.0.wav", "b.FLAC", "c.mp4", "d.tar.gz")
    assert [without_ending(n) for n in names] == ["spk1.take.0", "a/Ses1.0", "b", "c", "d.tar.gz"]
