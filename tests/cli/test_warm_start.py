"""``search --warm-start`` and a space's ``try_first`` from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serplatform.cli.main import run as run_command_line
from serplatform.run_directory import RunDirectory
from serplatform.testing.synthetic import make_dataset
from tests.support.search_checks import run_faults, write_tiny_space


def search(work: Path, *words: str | int | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serplatform", "search", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=work,
        timeout=300,
        check=False,
    )


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_starts_from_what_an_earlier_one_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dataset(tmp_path / "data", per_speaker=8, seconds=(0.2, 0.4))
    space = write_tiny_space(tmp_path / "moma.yaml", "moma", max_epochs=2)
    usual = ["moma", "--data", "data", "--combiner", "none", "--no-explain", "--space", space]
    done = search(tmp_path, *usual, "--trials", 2, "--out", "earlier")
    assert done.returncode == 0, done.stderr
    earlier = RunDirectory(tmp_path / "earlier").records()
    wanted = {k: v for k, v in earlier[1]["params"].items() if k.startswith("model.dropout")}

    with space.open("a", encoding="utf-8") as stream:
        stream.write("try_first: [{model.dropout: 0.25}]\n")
    words = [*usual, "--out", "new", "--warm-start", "earlier", "--trials", 2, "--pruner", "none"]
    done = search(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"Warm start from .*/earlier: 1 of its configurations are tried first; 2 of its trials "
        "tell the sampler",
        done.stderr,
    )
    assert run_faults(tmp_path / "new", ended=True) == []
    told = json.loads((tmp_path / "new" / "run.json").read_text())["warm_start"]
    assert [(s["num_points"], s["num_observations"]) for s in told] == [(1, 2)]

    again = ["--resume", "--out", "new", "--trials", 3]
    assert run_command_line(_absolute(tmp_path, *again, "--warm-start", "earlier")) == 2
    assert "--warm-start: a run has one from its beginning on" in capsys.readouterr().err
    done = search(tmp_path, *again)
    assert done.returncode == 0, done.stderr
    records = RunDirectory(tmp_path / "new").records()
    assert [records[n]["paper"] for n in sorted(records)] == [True, False, False]
    assert records[1]["params"]["model.dropout"] == 0.25
    assert records[2]["params"].items() >= wanted.items()
    assert run_faults(tmp_path / "new", ended=True) == []


def _absolute(work: Path, *words: Any) -> list[str]:
    names = {"new", "earlier"}
    return ["search", *(str(work / w) if w in names else str(w) for w in words)]


def test_what_is_no_run_is_refused_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dataset(tmp_path / "data", per_speaker=8, seconds=(0.2, 0.4))
    out = tmp_path / "run"
    words = ["search", "csa", "--data", str(tmp_path / "data"), "--out", str(out)]
    assert run_command_line([*words, "--warm-start", str(tmp_path / "nothing")]) == 2
    told = capsys.readouterr()
    assert "nothing: not a run directory" in told.err
    assert "Traceback" not in told.err
    assert not out.exists()
