"""Files to rows: what a spreadsheet writes is read, and no line is lost in silence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serplatform.corpora.table_columns import is_name
from serplatform.corpora.table_dialect import TextTable, read_table
from serplatform.errors import BadInputError

ROWS = [["a.wav", "sad", "José"], ["b.wav", "happy", "Zoë"]]
PLAIN = "file,emotion,speaker\na.wav,sad,José\nb.wav,happy,Zoë\n"


def read(folder: Path, content: str | bytes) -> TextTable:
    path = folder / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, is_name, "a header")


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (PLAIN, None),
        (PLAIN.replace("\n", "\r"), None),
        (PLAIN.replace("\n", "\r\n") + "\x1a", None),
        (PLAIN.replace(",", ";"), None),
        (PLAIN.encode("utf-8-sig"), None),
        (PLAIN.encode("utf-16"), None),
        (PLAIN.encode("utf-32"), None),
        (PLAIN.encode("utf-16-le"), "read as utf-16-le"),
        (PLAIN.encode("utf-16-be"), "read as utf-16-be"),
        (PLAIN.encode("cp1252"), "read as Windows-1252, line 2 as 'a.wav,sad,José'"),
        ("sep=;\r\n" + PLAIN.replace(",", ";"), "1 before the header"),
        ('"sep=\t"\n' + PLAIN.replace(",", "\t"), "1 before the header"),
        ("# by a tool, version 3\n#\n" + PLAIN, "2 before the header"),
        ("Report of May, 3 pages\n\n" + PLAIN, "1 before the header"),
        (PLAIN.replace("b.wav", "\n,,\nfile,emotion,speaker\n# half\nb.wav"), "2 blank"),
        (PLAIN.replace("b.wav", "\n,,\nfile,emotion,speaker\n# half\nb.wav"), "1 the header again"),
        (PLAIN.replace("b.wav", "\n,,\nfile,emotion,speaker\n# half\nb.wav"), "1 comments"),
        (PLAIN.replace("\n", ",\n"), None),
        (PLAIN.replace("José", '="José"').replace("sad", '"\xa0sad\u200b "'), None),
        ("\n".join(",".join(f"'{c}'" for c in r.split(",")) for r in PLAIN.split()), None),
    ],
)
def test_dialects_give_the_same_rows(
    tmp_path: Path, content: str | bytes, note: str | None
) -> None:
    table = read(tmp_path, content)
    assert [cells for _, cells in table.records] == ROWS
    assert [name.lower() for name in table.header] == ["file", "emotion", "speaker"]
    assert note in " ".join(table.notes) if note else not table.notes


def test_names_of_rows_that_r_writes_are_a_column_without_name(tmp_path: Path) -> None:
    table = read(tmp_path, '"file","emotion"\n"1","a.wav","sad"\n"2","b.wav",""\n')
    assert table.header == ["", "file", "emotion"]
    assert [cells for _, cells in table.records] == [["1", "a.wav", "sad"], ["2", "b.wav", ""]]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('a.wav,"hello,sad\nb.wav,bye,sad\nc.wav,"ok",sad\n', 2),
        ('a.wav,"hello,sad\nb.wav,bye,sad\n', 2),
        ('a.wav,hi,sad\nb.wav,"hello,sad\nc.wav,bye",sad\n', 3),
        ('a.wav,sad,"hello\nb.wav,sad,bye"\nc.wav,sad,ok\n', 2),
        ('a.wav, sad, "hello\nb.wav, sad, bye"\n', 2),
        ('a.wav,"one\ntwo",sad\nb.wav,"three,sad\nc.wav,x,sad\n', 4),
        ("a.wav,sad,x\n" * 9 + 'b.wav,sad,"' + "c.wav,sad,y\n" * 20_000, 11),
    ],
)
def test_a_quote_that_swallows_rows_is_an_error_with_its_line(
    tmp_path: Path, rows: str, line: int
) -> None:
    with pytest.raises(BadInputError, match=f"t.csv: line {line} opens a quote that swallows"):
        read(tmp_path, "file,text,emotion\n" + rows)


def test_quoted_texts_of_several_lines_are_read(tmp_path: Path) -> None:
    text = 'file,emotion,text\na.wav,sad,"Well,\nno, thanks,\n""never"""\nb.wav,sad,"x" y\n'
    (first, a), (second, b) = read(tmp_path, text).records
    assert (first, a[2], second, b[2]) == (2, 'Well,\nno, thanks,\n"never"', 5, "x y")
    ((_, cells),) = read(tmp_path, 'file,emotion,text,\na.wav,sad,"x\ny",\n').records
    assert cells == ["a.wav", "sad", "x\ny"]


def test_names_of_several_lines_are_read(tmp_path: Path) -> None:
    text = 'file,emotion,text\n"new\na.wav",sad,no\n"b,\nc.wav",sad,"x\ny, z"\n'
    found = [cells for _, cells in read(tmp_path, text).records]
    assert found == [["new\na.wav", "sad", "no"], ["b,\nc.wav", "sad", "x\ny, z"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04\x14\0xl", "a spreadsheet (.xlsx, .ods) or archive; export it as CSV"),
        (b"PAR1\0\0", "Parquet; write it as CSV: pandas.read_parquet"),
        (b'{"file": "a.wav", "emotion": "sad"}\n', "is JSON; write it as CSV: pandas.read_json"),
        (b'\n [{"file": "a.wav"}]\n', "is JSON"),
        (b"\x1f\x8b\x08", "is compressed (gzip); unpack it"),
        (b"<!DOCTYPE html>", "is HTML or XML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run 'git lfs pull'"),
        (b"file,emotion\na.wav,sad\nb\0.wav,sad\n", "line 3 holds the byte 0"),
        ("file,emotion\na.wav,ё\n".encode("utf-16")[:-1], "is not UTF-16"),
        ("file,emotion\na.wav,日\n".encode("euc-jp") + b"\x8f\x9d", "is not UTF-8; save the table"),
        (b" \n\n", "the file is empty"),
        (b"sep=;\n", "every cell is empty"),
        (b",,\n,,\n", "every cell is empty"),
    ],
)
def test_what_is_no_table_of_text_is_refused_with_the_remedy(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(BadInputError, match=re.escape(message)):
        read(tmp_path, content)
