"""``serplatform reproduce`` from outside: what is trained, what is shown, what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from serplatform.cli.main import run as run_command_line
from serplatform.run_directory import RunDirectory
from tests.support.reproduced import TABLE, make_corpus


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    path = tmp_path_factory.mktemp("reproduce")
    (path / "two.yaml").write_text(TABLE, encoding="utf-8")
    make_corpus(path / "ravdess")
    return path


@pytest.fixture
def reproduce(work, capsys):
    """Run the command in this process; return exit code, JSON (or None) and stderr."""

    def call(*words, data="ravdess", out="out"):
        options = ["--data", str(work / data)] if data else []
        capsys.readouterr()
        command = ["reproduce", str(work / "two.yaml"), *options, "--out", str(work / out)]
        code = run_command_line([*command, "--json", *map(str, words)])
        captured = capsys.readouterr()
        lines = captured.out.splitlines()
        return code, json.loads(lines[-1]) if lines else None, captured.err

    return call


def statuses(outcome, column):
    return {row["name"]: row["cells"][column]["status"] for row in outcome["rows"]}


@pytest.mark.ray
def test_what_is_missing_is_trained_once_and_shown(work, reproduce, ray_cluster):
    code, outcome, told = reproduce("--seeds", 1)
    assert code == 0
    assert "trial 0 Narrow started" in told
    assert "trial 1 Wide <b> trained" in told
    assert statuses(outcome, "ravdess") == {
        "narrow": "measured",
        "wide": "measured",
        "both": "measured",
        "both-dev": "measured",
        "iemocap-only": "not in the paper",
    }
    assert set(statuses(outcome, "iemocap").values()) == {"not run"}
    assert "IEMOCAP · iem4-session5 · not run: needs IEMOCAP (--data …)" in told
    for kind in ("csv", "json", "html"):
        assert os.path.getsize(outcome["files"][kind]) > 1000
    written = json.loads((work / "out/two/table.json").read_text())
    assert {**written, "files": outcome["files"]} == outcome

    begun = time.monotonic()
    code, again, told = reproduce("--seeds", 1)
    assert code == 0
    assert "2 of 2 trainings done" in told
    assert " started" not in told
    assert again["rows"] == outcome["rows"]
    assert time.monotonic() - begun < 10

    # another seed is added to what there is; the rest of the table without the data
    code, more, told = reproduce("--rows", "narrow", "--resume", "--seeds", 2, data=None)
    assert code == 0
    assert "1 of 2 trainings done" in told
    assert "trial 2 Narrow, seed 1 started" in told
    assert more["rows"][0]["cells"]["ravdess"]["trials"] == [[0], [2]]

    code = run_command_line(["search", "--resume", "--out", more["columns"][0]["run"]])
    assert code == 2


@pytest.mark.ray
def test_a_budget_that_is_spent_leaves_a_table_that_says_so(reproduce, ray_cluster):
    code, outcome, told = reproduce("--time-budget", "0.001s", out="budget")
    assert code == 0
    assert "The time budget is spent" in told
    assert "Resume with:\n  serplatform" in told
    assert set(statuses(outcome, "ravdess").values()) == {"not trained yet", "not in the paper"}


def test_a_table_without_data_shows_what_it_needs(reproduce):
    code, outcome, told = reproduce(data=None, out="empty")
    assert code == 0
    assert {column["status"] for column in outcome["columns"]} == {"not run"}
    assert "not run: needs RAVDESS, speech (--data …)" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rows", "narow"], "Did you mean 'narrow'?"),
        (["--stand-in", "lozo"], "Did you mean 'loso'?"),
        (["--word-vectors", "nowhere.txt"], "no such file"),
        (["--time-budget", "soon"], "is not a duration"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(work, reproduce, words, told):
    code, _, errors = reproduce(*words, out="refused")
    assert code == 2
    assert told in errors
    assert not (work / "refused").exists()


def test_resume_needs_something_to_go_on_with(reproduce):
    code, _, errors = reproduce("--resume", data=None, out="nothing")
    assert code == 2
    assert "holds no trainings of two" in errors


def test_without_a_table_the_known_ones_are_listed(capsys):
    assert run_command_line(["reproduce", "--json"]) == 0
    captured = capsys.readouterr()
    tables = json.loads(captured.out)["tables"]
    assert len(tables) == 12
    assert "fgcme-table1" in captured.err
    assert run_command_line(["reproduce", "fgcme-table"]) == 2
    assert "Did you mean 'fgcme-table1'?" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
def test_an_interrupted_table_goes_on_from_where_it_was(work):
    (work / "long.yaml").write_text(TABLE.replace("max_epochs: 2", "max_epochs: 400"))
    words = ["reproduce", "long.yaml", "--data", "ravdess", "--out", "long", "--rows", "narrow"]
    command = [sys.executable, "-m", "serplatform", *words, "--seeds", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=work, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if " started" in line:
            break
    deadline = time.monotonic() + 100
    while not list((work / "long/runs").glob("*/state/*/progress.json")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    assert "Resume with:\n  serplatform reproduce long.yaml" in told
    (run,) = (work / "long/runs").iterdir()
    saved = json.loads((RunDirectory(run).state_directory(0) / "progress.json").read_text())
    assert saved["history"]
    done = subprocess.run(
        [*command, "--json"],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "(resumed)" in done.stderr
    record = RunDirectory(run).records()[0]
    assert record["history"][: len(saved["history"])] == saved["history"]
