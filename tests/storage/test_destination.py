"""Where a command may write: what is refused, with which sentence, and what is its own."""

import errno
import json
import os
import tempfile
import time
from pathlib import Path

import pytest

from serplatform.errors import BadInputError, SerplatformError
from serplatform.storage.destination import (
    DATASET,
    ENSEMBLE,
    NEW,
    RUN,
    Kind,
    check_directory,
    check_file,
)
from serplatform.storage.location import parse
from serplatform.storage.outgoing import upload_dataset
from serplatform.storage.remote import remote
from serplatform.testing.synthetic import make_dataset


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current directory, and a home beside it."""
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "here"


def fill(folder, *names):
    """Write small files; those that tell a kind are ours."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"schema_version": 1}' if name.endswith(".json") else "x")
    return folder


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("", "is empty; give a name"),
        (" \t", "is empty; give a name"),
        (".", "is the current directory"),
        ("./", "is the current directory"),
        ("x/..", "is the current directory"),
        ("..", "is above the current one"),
        ("/", "is above the current one"),
        ("~", "is the home directory"),
        ("~/../home", "is the home directory"),
        ("$HOME/x", r"the shell has not replaced \$HOME"),
        ("${HOME}/x", r"the shell has not replaced \$HOME"),
        ("~nobody-of-this-name/x", "the home directory is not known"),
        ("file", "is a file; give a directory"),
        ("file/x", "is a file; give another place"),
        ("dangling", r"is a link to nothing \(nowhere\)"),
        ("dangling/x", r"is a link to nothing \(nowhere\)"),
        ("loop", "cannot be used .*symbolic links"),
        ("n" * 300, "is too long for a name"),
        ("n\0m", "holds a zero byte"),
        ("ftp://host/x", "unknown kind of address 'ftp'"),
    ],
)
@pytest.mark.parametrize("kind", [DATASET, RUN, ENSEMBLE, NEW], ids=lambda kind: kind.name)
def test_what_is_no_place_is_refused_and_left_as_it_is(here, out, message, kind):
    fill(here, "file")
    (here / "dangling").symlink_to("nowhere")
    (here / "loop").symlink_to("loop")
    before = sorted(here.parent.rglob("*"))
    with pytest.raises(BadInputError, match=message):
        check_directory(out, kind)
    assert sorted(here.parent.rglob("*")) == before


def test_new_and_empty_directories_are_taken_and_not_made(here):
    (here / "empty").mkdir()
    for out in ("new", "a/b/c", "empty", here / "$other", "~/runs/a"):
        place = check_directory(out, RUN)
        assert place == Path(os.path.expanduser(out))
    assert sorted(path.name for path in here.iterdir()) == ["empty"]
    assert list((here.parent / "home").iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (RUN, ["notes.txt"]),
        (RUN, [".lock", "lock"]),
        (RUN, [".notes.partial"]),
        (ENSEMBLE, ["posteriors.parquet", "my.parquet"]),
        (DATASET, ["log_mel_23-00000.arrow"]),  # nobody's unfinished work beside it
        (DATASET, [".partial/lock", "my.arrow"]),
        (DATASET, [".partial/lock", "features.parquet"]),
        (NEW, ["bundle.json"]),
        (Kind(name="tables", left="runs"), ["runs/a", "src/b"]),
    ],
)
def test_directory_that_holds_anything_of_others_is_refused(here, kind, names):
    fill(here / "x", *names)
    with pytest.raises(BadInputError, match="is not empty and holds what is not of"):
        check_directory("x", kind)


def test_marker_of_another_program_is_none_of_ours(here):
    (here / "x").mkdir()
    (here / "x" / "dataset.json").write_text('{"name": "a table of somebody"}')
    with pytest.raises(BadInputError, match=r"holds what is not of a dataset \(dataset\.json\)"):
        check_directory("x", DATASET)


@pytest.mark.parametrize("kind", [RUN, ENSEMBLE, DATASET], ids=lambda kind: kind.name)
@pytest.mark.parametrize("marker", ["run.json", "ensemble.json", "dataset.json", "bundle.json"])
def test_own_output_is_taken_with_notes_beside_it_and_anothers_is_not(here, kind, marker):
    fill(here / "x", marker, "notes.txt")
    if marker == kind.marker:
        assert check_directory("x", kind) == Path("x")
        os.chdir("x")
        assert check_directory(".", kind) == Path(".")
    else:
        with pytest.raises(BadInputError, match=rf"holds an? \w+ \({marker}\); give another"):
            check_directory("x", kind)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (RUN, [".lock"]),
        (RUN, [".lock", "folds.json", ".run.json.partial"]),
        (RUN, [".run.json.k3x_9qz1.partial"]),  # of earlier versions
        (ENSEMBLE, ["posteriors.parquet", ".ensemble.json.partial"]),
        (DATASET, [".partial/lock"]),
        (
            DATASET,
            [".partial/shard-00000.json", "mfcc_40-00001.arrow", ".utterances.parquet.partial"],
        ),
    ],
)
def test_what_a_killed_command_left_is_taken_over(here, kind, names):
    assert check_directory(fill(here / "x", *names), kind) == here / "x"


@pytest.mark.parametrize(
    ("number", "wanted"), [(errno.EACCES, BadInputError), (errno.EROFS, SerplatformError)]
)
def test_place_that_cannot_be_written_is_named_before_anything_is_done(
    here, monkeypatch, number, wanted
):
    def refuse(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    for check in (lambda: check_directory("a/b", RUN), lambda: check_file("a/b.html")):
        with pytest.raises(wanted, match=f"--out a/b.*: cannot be made .*{os.strerror(number)}"):
            check()
    whole = fill(here / "whole", "dataset.json")
    assert check_directory(whole, DATASET) == whole  # perhaps nothing is to be done


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("", "is empty"),
        (".", "is a directory; give a file"),
        ("new/", "is a directory; give a file"),
        ("dangling", "is a link to nothing"),
        ("file/page.html", "is a file; give another place"),
        ("table.csv", "is a file already, and not an HTML page"),
        ("/dev/null", "is no plain file"),
        ("/dev/stdout", "is no plain file"),
    ],
)
def test_file_that_cannot_be_a_page_is_refused(here, out, message):
    fill(here, "file", "table.csv")
    (here / "dangling").symlink_to("nowhere")
    with pytest.raises(BadInputError, match=message):
        check_file(out, what="an HTML page")
    assert (here / "table.csv").read_text() == "x"


def test_page_is_written_over_a_page_and_text_over_text(here):
    (here / "page.html").write_text("<!DOCTYPE html><html>")
    (here / "old.csv").write_text("file,emotion")
    assert check_file("page.html", what="an HTML page") == Path("page.html")
    assert check_file("old.csv") == Path("old.csv")
    assert check_file("a/new.csv") == Path("a/new.csv")
    (here / "clip.wav").write_bytes(b"RIFF\0\0\0\0")
    with pytest.raises(BadInputError, match="is a file already, and not text"):
        check_file("clip.wav")


def test_address_that_holds_anything_of_others_is_refused(lab):
    store = remote(parse(lab))
    store.put("theirs/notes.txt", b"mine")
    store.put("run/run.json", b"{}")
    store.put("run/notes.txt", b"mine")
    store.put("cut/mfcc_40-00000.arrow", b"of an upload that was stopped")
    with pytest.raises(BadInputError, match=r"holds what is not of a run \(notes\.txt\)"):
        check_directory(f"{lab}/theirs", RUN)
    with pytest.raises(BadInputError, match=r"holds a run \(run\.json\)"):
        check_directory(f"{lab}/run", ENSEMBLE)
    assert str(check_directory(f"{lab}/run", RUN)).endswith("/run")
    assert str(check_directory(f"{lab}/cut", DATASET)).endswith("/cut")
    assert str(check_directory(f"{lab}/new", NEW)).endswith("/new")


def test_dataset_put_over_an_earlier_one_removes_that_ones_files_alone(lab, node, tmp_path):
    store = remote(parse(lab))
    folder = make_dataset(tmp_path / "made" / "set", num_speakers=2, per_speaker=4)
    earlier = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    earlier.pop("checksum", None)
    earlier["files"] = {"unaligned.csv": ""}
    feature = next(iter(earlier["features"].values()))
    feature["shards"] = [feature["shards"][0] | {"file": "old-00000.arrow"}]
    store.put("dataset.json", json.dumps(earlier).encode())
    for name in ("old-00000.arrow", "unaligned.csv", "my.arrow", "notes/a.txt"):
        store.put(name, b"old")
    ours = {file.name for file in folder.iterdir() if file.is_file()}
    upload_dataset(folder, parse(lab))
    assert set(store.list()) == {*ours, "my.arrow", "notes/a.txt"}


def test_a_place_that_cannot_be_reached_is_refused_in_seconds(monkeypatch):
    """Nothing has begun, so nothing is lost: a minute's patience is for later requests."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.delenv("SERPLATFORM_STORAGE_PATIENCE", raising=False)
    begun = time.monotonic()
    with pytest.raises(SerplatformError, match="s3://nobucket/first: cannot open"):
        check_directory("s3://nobucket/first", RUN)
    assert time.monotonic() - begun < 10
