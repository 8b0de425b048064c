"""Files, folders, lists, and names made to hurt."""

from __future__ import annotations

import os

from serplatform.prediction.sources import find_recordings, listed_paths, printable


def names(folder, arguments, listed=()):
    found, refused = find_recordings([str(a) for a in arguments], listed)
    return [os.path.relpath(s.path, folder) for s in found], refused


def test_folders_are_searched_in_order_and_files_are_taken_as_named(tmp_path):
    for name in ("b/2.wav", "b/1.FLAC", "a.mp3", "b/c/deep.ogg", "notes.txt", "strange"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found, refused = names(tmp_path, [tmp_path / "strange", tmp_path])
    assert found == ["strange", "a.mp3", "b/1.FLAC", "b/2.wav", "b/c/deep.ogg"]
    assert refused == []


def test_a_recording_named_twice_is_taken_once(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    found, _ = names(tmp_path, [tmp_path / "a.wav", tmp_path, "-"], [str(tmp_path / "a.wav")])
    assert found == ["a.wav"]


def test_listed_paths_stand_where_the_dash_stands(tmp_path):
    found, _ = names(tmp_path, [tmp_path / "x", "-", tmp_path / "y"], [str(tmp_path / "m")])
    assert found == ["x", "m", "y"]


def test_a_folder_without_audio_is_told(tmp_path):
    (tmp_path / "a.txt").touch()
    _, refused = names(tmp_path, [tmp_path])
    assert [r.name for r in refused] == [str(tmp_path)]
    assert "no audio file in this folder" in refused[0].reason


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
