"""Files, folders, lists, and names made to hurt."""

from __future__ import annotations

import os
from collections import Counter

from serplatform.prediction.recordings import (
    find_recordings,
    listed_paths,
    passed_over_text,
    printable,
)


def names(folder, arguments, listed=()):
    found, refused = find_recordings([str(a) for a in arguments], listed)
    return [os.path.relpath(s.path, folder) for s in found], refused


def touch(folder, *files):
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_every_file_of_a_folder_is_taken_in_order_unless_it_is_hidden_or_named_otherwise(tmp_path):
    touch(tmp_path, "b/2.wav", "b/1.FLAC", "a.mp3", "b/c/deep.opus", "call.M4A", "s.sph", "strange")
    touch(tmp_path, "notes.txt", "b/t.CSV", "b/u.csv", "a.TextGrid", "meta.json")
    touch(tmp_path, ".DS_Store", "._a.mp3", ".Trashes/old.wav", "b/__MACOSX/x.wav", "b/.git/y.wav")
    passed_over = Counter()
    sources, refused = find_recordings([str(tmp_path / "strange"), str(tmp_path)], (), passed_over)
    found = [os.path.relpath(s.path, tmp_path) for s in sources]
    assert found == [
        *("strange", "a.mp3", "call.M4A", "s.sph"),
        *("b/1.FLAC", "b/2.wav", "b/c/deep.opus"),
    ]
    assert refused == []
    assert passed_over_text(passed_over) == (
        "5 hidden, 5 not audio: 2 .csv, 1 .textgrid, 1 .json, 1 .txt"
    )


def test_a_file_named_itself_may_be_hidden_or_called_anything(tmp_path):
    touch(tmp_path, ".a.wav", "b.txt", ".c/d.wav")
    given = [tmp_path / ".a.wav", tmp_path / "b.txt", tmp_path / ".c"]
    assert names(tmp_path, given)[0] == [".a.wav", "b.txt", ".c/d.wav"]


def test_a_recording_named_twice_is_taken_once(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    found, _ = names(tmp_path, [tmp_path / "a.wav", tmp_path, "-"], [str(tmp_path / "a.wav")])
    assert found == ["a.wav"]


def test_listed_paths_stand_where_the_dash_stands(tmp_path):
    found, _ = names(tmp_path, [tmp_path / "x", "-", tmp_path / "y"], [str(tmp_path / "m")])
    assert found == ["x", "m", "y"]


def test_a_folder_without_audio_is_told(tmp_path):
    touch(tmp_path, "a.txt", ".b.wav")
    _, refused = names(tmp_path, [tmp_path])
    assert [r.name for r in refused] == [str(tmp_path)]
    assert refused[0].reason == "no audio file in this folder (1 hidden, 1 not audio: 1 .txt)"


def test_links_to_folders_do_not_go_round(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert names(tmp_path, [tmp_path])[0] == ["a.wav"]


def test_names_that_are_not_text_survive(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    with open(raw, "wb"):
        pass
    found, _ = find_recordings([str(tmp_path)])
    assert os.fsencode(found[0].path) == raw
    assert found[0].name.endswith(r"caf\xe9.wav")
    assert found[0].name.encode() == printable(found[0].path).encode()


def test_lists_of_either_kind_are_read():
    assert listed_paths(b" a.wav\n\n  \nb.wav") == [" a.wav", "b.wav"]
    assert listed_paths(b"\xff.wav\0x\ny.wav\0") == [os.fsdecode(b"\xff.wav"), "x\ny.wav"]
    assert listed_paths(b"") == []


def test_lists_as_windows_writes_them_are_read():
    names = "Actor_01\\Zoë.wav\r\nb.wav\r\n"
    for encoding in ("utf-8-sig", "utf-16"):
        assert listed_paths(names.encode(encoding)) == ["Actor_01\\Zoë.wav", "b.wav"]


def test_backslashes_and_quotes_are_read_where_the_file_is_there(tmp_path, monkeypatch):
    touch(tmp_path, "a/b c.wav", "odd\\name.wav")
    monkeypatch.chdir(tmp_path)
    listed = ["a\\b c.wav", '"a\\b c.wav"', "odd\\name.wav", "a\\gone.wav", "a\\"]
    found, refused = find_recordings(["-"], listed)
    assert [str(s.path) for s in found] == ["a/b c.wav", "odd\\name.wav", "a\\gone.wav"]
    assert [s.name for s in found] == listed[:1] + listed[2:4]  # as they were given
    assert refused == []


def test_links_in_a_folder_are_counted(tmp_path):
    touch(tmp_path, "a.wav", "sub/c.wav")
    (tmp_path / "b.wav").symlink_to("a.wav")
    (tmp_path / "other").symlink_to("sub")
    passed_over = Counter()
    sources, _ = find_recordings([str(tmp_path)], (), passed_over)
    assert [source.path.name for source in sources] == ["a.wav", "c.wav"]
    told = "1 link(s) to folders, not followed, 1 further name(s) of a file"
    assert passed_over_text(passed_over) == told
