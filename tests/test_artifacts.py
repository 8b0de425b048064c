"""Files are written whole or not at all, and what is removed is ours."""

import json
import re
import subprocess
import sys

import pyarrow as pa
import pytest

from serplatform.artifacts.files import (
    atomic_path,
    partial_path,
    read_json,
    read_parquet,
    remove_own,
    unfinished_folder,
    write_json,
    write_parquet,
    write_text,
)

#: a file name's bytes that are not UTF-8, as Python reads them
RAW = "w\udcff\udcfe"


def test_next_writer_takes_over_what_a_killed_one_left(tmp_path):
    target = tmp_path / "page.html"
    died = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys; from serplatform.artifacts.files import atomic_path\n"
            "with atomic_path(sys.argv[1]) as part: part.write_text('half' * 9); os._exit(9)",
            str(target),
        ],
        check=False,
    )
    assert died.returncode == 9
    assert [p.name for p in tmp_path.iterdir()] == [".page.html.partial"]
    (tmp_path / ".page.html.mine.partial").write_text("of somebody")
    write_text(target, "whole")
    assert target.read_text() == "whole"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".page.html.mine.partial", "page.html"]


def test_next_folder_takes_away_what_a_killed_process_left_and_no_other(tmp_path):
    target = tmp_path / "bundle"
    code = (
        "import os, sys; from pathlib import Path\n"
        "from serplatform.artifacts.files import unfinished_folder\n"
        "with unfinished_folder(Path(sys.argv[1])) as part:\n"
        "    (part / 'half').write_text('x'); os._exit(9)"
    )
    died = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert died.returncode == 9
    (left,) = tmp_path.iterdir()
    (tmp_path / ".bundle.mine.partial").mkdir()  # of somebody
    with unfinished_folder(target) as first:
        assert not left.exists()
        with unfinished_folder(target) as second:
            assert first.is_dir()
            second.rename(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".bundle.mine.partial", "bundle"]


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    target = tmp_path / "table.csv"
    with atomic_path(target) as first:
        first.write_text("first")
        with atomic_path(target) as second:
            assert second != first
            second.write_text("second")
        assert target.read_text() == "second"
        assert first.read_text() == "first"
    assert target.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_fault_while_writing_leaves_the_old_file_and_names_it(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(OSError, match=r"No space.*table\.csv"), atomic_path(target):
        raise OSError(28, "No space left on device")
    assert target.read_text() == "old"
    assert not partial_path(target).exists()


def test_link_in_the_place_of_a_half_written_file_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    partial_path(tmp_path / "x").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        write_text(tmp_path / "x", "ours")
    assert (tmp_path / "precious").read_text() == "mine"


def test_name_that_is_not_utf8_is_written_escaped_and_read_from_json(tmp_path):
    write_json(tmp_path / "a.json", {"path": RAW, "ü": "é"}, checksum=True)
    assert read_json(tmp_path / "a.json") == {"path": RAW, "ü": "é"}
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["path"] == RAW
    write_text(tmp_path / "a.html", f"<p>{RAW}é</p>")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == r"<p>w\udcff\udcfeé</p>"


def test_table_lies_in_a_folder_whose_name_is_not_utf8(tmp_path):
    table = pa.table({"a": [1, 2]})
    write_parquet(tmp_path / RAW / "t.parquet", table)
    assert read_parquet(tmp_path / RAW / "t.parquet") == table


def test_only_files_of_a_layout_are_removed_and_links_are_left(tmp_path):
    own = re.compile(r"a\.json|b-\d+(/c\.bin)?")
    folder = tmp_path / "state"
    for name in ("a.json", ".a.json.partial", "b-1/c.bin", "b-2/c.bin", "b-2/notes", ".n.partial"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "link").symlink_to(folder)
    remove_own(tmp_path / "link", own)
    assert (folder / "a.json").exists()
    remove_own(folder, own)
    left = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert left == [".n.partial", "b-2/notes"]
    assert not (folder / "b-1").exists()
    for name in left:
        (folder / name).unlink()
    remove_own(folder, own)
    assert not folder.exists()
    remove_own(folder, own)  # nothing there: nothing done
