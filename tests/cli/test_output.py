"""Durations in and out, the JSON line, and output that survives whatever it goes to."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serplatform.cli.answer import grid
from serplatform.cli.main import run
from serplatform.cli.output import JSON, PLAIN, encodable, result
from serplatform.console import is_live, parse_duration, say
from serplatform.errors import BadInputError
from tests.support.synthetic_run import make_run

ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("90s", 90.0),
        ("15m", 900.0),
        ("2h", 7200.0),
        ("1h30m", 5400.0),
        ("0.5h", 1800),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "soon", "-5", "2 days", "1e3", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="is not a duration"):
        parse_duration(text)


def test_json_is_the_only_thing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    result("done", {"uar": 0.5}, as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"uar": 0.5}
    assert captured.err == "done\n"


class _Stdout(io.TextIOWrapper):
    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    @property
    def content(self) -> bytes:
        return bytes(self.buffer.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252", "utf-16"])
def test_json_stays_json_whatever_the_terminal_can_show(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    values = {"é … 😀": "a\udcffb", "x": "\\é"}
    stdout = _Stdout(encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    result("done …", values, as_json=True)
    assert json.loads(stdout.content.decode(encoding)) == values


def test_text_is_written_in_plain_characters_or_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", _Stdout("ascii"))
    text = "0.5 ± 0.1 × 2 … ─│ é \udcff"
    assert encodable(text, PLAIN) == r"0.5 +- 0.1 x 2 ... -| \xe9 \udcff"
    assert encodable(text, JSON).startswith(r"0.5 \u00b1 0.1")
    monkeypatch.setattr(sys, "stdout", _Stdout("utf-8"))
    assert encodable(text, PLAIN) == text.replace("\udcff", r"\udcff")


@pytest.mark.parametrize(("term", "live"), [("xterm", True), ("dumb", False), (None, False)])
def test_lines_are_redrawn_only_where_that_is_possible(
    monkeypatch: pytest.MonkeyPatch, term: str | None, live: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    assert is_live() == live


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell in which $S is the program."""
    program = f"{sys.executable} -m serplatform"
    env = {**os.environ, "S": program, **environment}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, env=env, check=False, timeout=120
    )


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, ASCII_LOCALE],
    ids=["ascii", "latin-1", "C locale"],
)
def test_terminal_without_unicode_gets_plain_text(environment: dict[str, str]) -> None:
    done = shell("$S corpora && $S corpora --json | tail -1", **environment)
    assert done.returncode == 0, done.stderr
    assert b"audb.load(NAME, ...)" in done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert "audb.load(NAME, …)" in found["corpora"][0]["obtain"]
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("$S corpora --json 2>&-", 0, b'{"corpora"', b""),
        ("$S corpora --json 2>/dev/full", 0, b'{"corpora"', b""),
        ("$S corpora --json >&-", 0, b"", b"ravdess"),
        ("$S corpora >&- 2>&- <&-", 0, b"", b""),
        ("$S corpora >/dev/full", 1, b"", b"Error: standard output: No space left on device"),
        ("$S --help >/dev/full", 1, b"", b"Error: standard output: No space left on device"),
        ("set -o pipefail; $S corpora | true", 1, b"", b""),
        ("$S corpora nonsense 2>/dev/full", 2, b"", b""),
    ],
)
def test_streams_that_are_closed_full_or_broken_end_as_they_should(
    line: str, code: int, out: bytes, err: bytes
) -> None:
    done = shell(line)
    assert (done.returncode, done.stdout[: len(out) or None]) == (code, out)
    assert err in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_closed_stream_is_not_taken_by_the_next_file(tmp_path: Path) -> None:
    run_folder = make_run(tmp_path / "run", num_trials=2)
    done = shell(f"$S report {run_folder} --out {tmp_path}/page.html >&- 2>&-")
    assert done.returncode == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")


def test_messages_that_cannot_be_written_do_not_stop_the_work(tmp_path: Path) -> None:
    program = (
        "from serplatform.cli.output import secure_streams\nfrom serplatform.console import say\n"
        "secure_streams()\n"
        "for number in range(5000): say(f'message {number}')\n"
        "print('done')"
    )
    done = shell(f'({sys.executable} -c "$PROGRAM" 2>&3) 3> >(head -1 >/dev/null)', PROGRAM=program)
    assert done.stdout == b"done\n"


def test_an_option_is_not_taken_for_the_folder_of_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["report", "a-run", "--figures", "--tables"]) == 2
    assert "--figures names no place, as --tables follows" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_command_in_a_folder_that_is_gone_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    done = shell(f"cd {tmp_path}/x && rmdir {tmp_path}/x && $S corpora")
    assert done.returncode == 2
    assert b"Error: the current directory is gone" in done.stderr
    assert b"Traceback" not in done.stderr


def test_name_that_is_not_utf8_is_shown_and_refused_where_ray_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = f"{tmp_path}/d\udcff"
    for command in (["prepare", "demo", "--out", raw], ["search", "moma", "--data", raw]):
        assert run(command) == 2
        assert r"d\xff: is not UTF-8, and Ray takes nothing else" in capsys.readouterr().err
    assert run(["data", raw]) == 2
    say(raw)
    assert raw.replace("\udcff", r"\udcff") in capsys.readouterr().err
    run_folder = make_run(Path(raw), num_trials=2)
    assert run(["report", str(run_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == f"{raw}/report.html"
    assert run(["ensemble", str(run_folder), "--out", f"{raw}-ens"]) == 0
    assert run(["report", f"{raw}-ens"]) == 0


def test_threads_of_the_command_line_do_not_spin_while_they_wait(tmp_path: Path) -> None:
    plugin = tmp_path / "loads_torch.py"
    plugin.write_text("import torch\n")
    done = subprocess.run(
        [sys.executable, "-m", "serplatform", "--plugin", str(plugin), "corpora"],
        capture_output=True,
        text=True,
        env={
            **{key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"},
            "OMP_DISPLAY_ENV": "verbose",  # OpenMP prints what it has read when it is loaded
        },
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr  # it registers nothing
    assert "GOMP_SPINCOUNT = '0'" in done.stderr


def test_tables_that_are_piped_are_not_folded() -> None:
    name = "a run of a long name " * 30
    (line,) = grid(("",), [(name,)], left=(0,)).splitlines()
    assert line.strip() == name.strip()
