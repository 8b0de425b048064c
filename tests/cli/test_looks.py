"""Looks at test rows are counted in the run, and the count stands beside every test number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serplatform.artifacts.files import read_json, write_json
from serplatform.cli.main import run as command
from serplatform.ensembles.build import build_ensemble
from serplatform.run_directory import RunDirectory
from tests.support.synthetic_run import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", num_trials=5, num_speakers=6, per_speaker=16)


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert command([str(word) for word in words]) == 0
    return capsys.readouterr().out


def combine(capsys: pytest.CaptureFixture[str], run: Path, out: str, *more: str) -> str:
    return told(capsys, "ensemble", run, "--out", run.parent / out, *more)


def test_each_look_is_counted_and_the_same_ensemble_again_is_not_a_new_one(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = combine(capsys, run, "a")
    assert "First look at these test rows (other runs on them are not counted)." in first
    assert "by speaker, look 1\n" in first
    assert "First look" in combine(capsys, run, "again")
    second = combine(capsys, run, "b", "--combiner", "greedy", "--seed", "3")
    assert "Look 2 at these test rows: a choice between looks" in second
    looks = RunDirectory(run).looks()
    assert [(look["combiner"], look["seed"]) for look in looks] == [("product", 0), ("greedy", 3)]
    assert all(look["time"] and "ensemble" in look["measured"] for look in looks)
    assert [read_json(run.parent / e / "ensemble.json")["look"] for e in ("a", "again", "b")] == [
        *(1, 1, 2)
    ]
    told(capsys, "report", run.parent / "a")  # measures nothing that was not measured
    assert len(RunDirectory(run).looks()) == 2
    assert "Look 1 of 2 at these test rows" in (run.parent / "a" / "report.html").read_text()


def test_a_page_of_a_run_without_an_ensemble_is_a_look(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "report", run)
    assert [look["combiner"] for look in RunDirectory(run).looks()] == ["single"]
    assert "First look" in (run / "report.html").read_text()
    assert "Look 2 " in combine(capsys, run, "a")


def test_an_ensemble_of_several_runs_is_a_look_at_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make_run(tmp_path / n, num_trials=2, seed=s) for s, n in enumerate(("x", "y"))]
    combine(capsys, runs[1], "a")
    words = [*map(str, runs), "--out", str(tmp_path / "both")]
    assert command(["ensemble", *words]) == 0
    assert [len(RunDirectory(r).looks()) for r in runs] == [1, 2]
    assert read_json(tmp_path / "both" / "ensemble.json")["look"] == 2


def test_trials_alone_have_no_test_values_unless_they_are_asked_for(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def board(text: str) -> list[str]:
        lines = text.splitlines()
        start = next(i for i, line in enumerate(lines) if line.split()[:1] == ["rank"])
        return [line for line in lines[start + 1 :] if line.split()[0].isdigit()]

    text = combine(capsys, run, "a")
    assert ["–" in row.split() for row in board(text)] == [False, True, True, True, True]
    made = read_json(run.parent / "a" / "ensemble.json")
    members = [member for fold in made["folds"] for member in fold["members"]]
    assert not any("test" in row for row in [*members, *made["candidates"]])
    assert not any("test" in member["gain"] for member in members)
    text = combine(capsys, run, "a", "--test-values")
    assert not any("–" in row.split() for row in board(text))
    assert "Look 2 at" in text
    assert all("test" in row for row in read_json(run.parent / "a" / "ensemble.json")["candidates"])
    told(capsys, "report", run.parent / "a")
    assert len(RunDirectory(run).looks()) == 2


def test_looks_of_an_earlier_version_are_said_to_be_unknown(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description = read_json(run / "run.json")
    del description["sealed"]
    write_json(run / "run.json", description, checksum=True)
    assert "earlier ones may not have been counted" in combine(capsys, run, "a")
    made = json.loads((run.parent / "a" / "ensemble.json").read_text())
    del made["look"], made["checksum"]
    (run.parent / "a" / "ensemble.json").write_text(json.dumps(made))
    told(capsys, "report", run.parent / "a")
    page = (run.parent / "a" / "report.html").read_text()
    assert "earlier ones may not have been counted" in page


LOOKS = """
import sys
from serplatform.run_directory import RunDirectory
for n in range(20):
    RunDirectory(sys.argv[1]).look({"ensemble": f"{n % 10}"}, combiner="mean", seed=0)
"""


def test_processes_that_look_at_once_lose_nothing_and_a_half_file_is_ignored(run: Path) -> None:
    looking = [
        subprocess.Popen([sys.executable, "-c", LOOKS, str(run)], env=dict(os.environ))
        for _ in range(3)
    ]
    assert [process.wait(60) for process in looking] == [0, 0, 0]
    (run / "looks" / ".look-half.json.partial").write_text('{"time": ')
    (run / "looks" / "look-damaged.json").write_text('{"time": ')  # it was a look
    looks = RunDirectory(run).looks()
    assert len(looks) == 11
    assert {tuple(look["measured"].values()) for look in looks} == {
        (),
        *((str(n),) for n in range(10)),
    }


def test_a_run_that_may_only_be_read_says_that_looks_are_not_counted(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("serplatform.run_directory.write_json", refused)
    build_ensemble([run], run.parent / "ens")
    count = RunDirectory(run).look({"ensemble": "x"}, combiner="mean", seed=0)
    assert str(count).endswith("earlier ones may not have been counted.")


def test_caveats_stand_beside_the_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", num_trials=3, num_speakers=6, per_speaker=16)
    copies = "4 utterances in 2 group(s) are identical recordings (same audio hash); each group is"
    plan, description = read_json(run / "folds.json"), read_json(run / "run.json")
    for content in (plan, description["protocol"]):
        content["speaker_independent"] = False
        content["notes"] = [copies]
    write_json(run / "folds.json", plan)
    write_json(run / "run.json", description, checksum=True)
    record = read_json(run / "trials" / "trial-00000.json")
    record["params"]["data.normalization"] = "speaker"
    write_json(run / "trials" / "trial-00000.json", record, checksum=True)
    lines = combine(capsys, run, "a").splitlines()
    starts = ["Protocol speaker-kfold:3 shares speakers", "Only 6 test speakers:", "4 utt"]
    for start in [*starts, "The mean dev value that ranks trials", "First look"]:
        assert sum(line.startswith(start) for line in lines) == 1, start
    assert sum(line.startswith("Normalised by speaker: uses") for line in lines) == 1
