"""``prepare``, ``ensemble`` and ``report`` killed at random moments, and run again."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serplatform.artifacts.files import file_sha256, read_json
from serplatform.cli.main import run as run_command
from serplatform.datasets.dataset import Dataset
from tests.support.synthetic_run import make_run

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("SERPLATFORM_KILLS", "6"))
PROGRAM = [sys.executable, "-m", "serplatform"]


def start(words):
    return subprocess.Popen(
        [*PROGRAM, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def kill_and_repeat(words, check, *, seed):
    """Kill the command at moments spread over its whole time, and check what it leaves."""
    begun = time.monotonic()
    assert start(words).wait(timeout=300) == 0
    whole = time.monotonic() - begun
    rng = random.Random(seed)  # noqa: S311
    killed = 0
    for _ in range(KILLS):
        process = start(words)
        time.sleep(rng.uniform(0.3, 1.0) * whole)
        killed += process.poll() is None
        process.kill()
        process.wait()
        check()
    assert start(words).wait(timeout=300) == 0
    assert killed >= KILLS // 2


def test_a_killed_ensemble_leaves_the_last_whole_one_or_says_so(tmp_path, capsys):
    run = make_run(tmp_path / "run", num_trials=12)
    ens = tmp_path / "ens"

    def check():
        capsys.readouterr()
        code = run_command(["report", str(ens), "--out", str(tmp_path / "page.html")])
        # between its two files the old description meets the new table: named, not shown
        assert code == 0 or "posteriors.parquet" in capsys.readouterr().err

    kill_and_repeat(["ensemble", run, "--out", ens], check, seed=0)
    told = read_json(ens / "ensemble.json")
    assert told["posteriors_sha256"] == file_sha256(ens / "posteriors.parquet")
    assert sorted(p.name for p in ens.iterdir()) == ["ensemble.json", "posteriors.parquet"]


def test_a_killed_report_leaves_the_last_whole_page(tmp_path):
    run = make_run(tmp_path / "run", num_trials=12)
    page = tmp_path / "pages" / "page.html"

    def check():
        assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")

    kill_and_repeat(["report", run, "--out", page], check, seed=1)
    assert [p.name for p in page.parent.iterdir()] == ["page.html"]


@pytest.mark.ray
def test_a_killed_prepare_goes_on_and_gives_the_same_dataset(tmp_path):
    words = ["prepare", "demo", "--workers", "2", "--features", "log_mel_23"]
    whole, other = tmp_path / "whole", tmp_path / "other"
    begun = time.monotonic()
    assert start([*words, "--out", whole]).wait(timeout=300) == 0
    took = time.monotonic() - begun
    rng = random.Random(2)  # noqa: S311
    killed = 0
    for _ in range(KILLS):
        process = start([*words, "--out", other])
        time.sleep(rng.uniform(0.1, 0.7) * took)
        killed += process.poll() is None
        process.kill()
        process.wait()
        if (other / "dataset.json").exists():
            assert Dataset.open(other).check() == []
            shutil.rmtree(other)  # it was quicker: the next begins anew
        elif other.exists():
            assert run_command(["data", str(other)]) == 2
    deadline = time.monotonic() + 60
    while start([*words, "--out", other]).wait(timeout=300) != 0:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert killed >= KILLS // 2
    found, wanted = (json.loads((path / "dataset.json").read_text()) for path in (other, whole))
    assert found["fingerprint"] == wanted["fingerprint"]
    assert found["files"] == wanted["files"]
    assert sorted(p.name for p in other.iterdir()) == sorted(p.name for p in whole.iterdir())
    assert Dataset.open(other).check() == []
    assert not list(Path(other).rglob("*.partial"))
