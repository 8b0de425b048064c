"""``serplatform search`` from outside: exit codes, messages, files, interruption, resumption."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from serplatform.artifacts.files import read_parquet
from serplatform.artifacts.trial import DEV_METRICS
from serplatform.cli.main import run as run_command_line
from serplatform.protocols.plan import plan_hash, read_plan
from serplatform.testing.synthetic import make_dataset
from serplatform.training.trial_config import resolve
from tests.support.in_process import run_here
from tests.support.search_checks import run_faults, study_trials, write_tiny_space


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A directory with a dataset and space files."""
    path = tmp_path_factory.mktemp("cli")
    make_dataset(path / "data", per_speaker=8, seconds=(0.2, 0.4))
    make_dataset(path / "other", per_speaker=8, seconds=(0.2, 0.4), seed=1)
    for name in ("csa", "moma"):
        write_tiny_space(path / f"{name}.yaml", name, max_epochs=2)
    write_tiny_space(path / "long.yaml", "moma", max_epochs=15)
    return path


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
PROGRAM = [sys.executable, "-m", "serplatform"]


def command(work, *words, resume=False):
    options = ["search", "--resume"] if resume else ["search", "--data", str(work / "data")]
    return [*PROGRAM, *options, *map(str, words)]


def spaces(work, *names):
    return [word for name in names for word in ("--space", str(work / f"{name}.yaml"))]


def finish(work, *words, **options):
    return subprocess.run(
        command(work, *words, **options),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(work):
    """A search of two architectures, to its report."""
    out = work / "finished"
    done = finish(
        work, "csa", "moma", *spaces(work, "csa", "moma"), "--trials", 4, "--out", out, "--json"
    )
    assert done.returncode == 0, done.stderr
    return out, done


@pytest.mark.ray
def test_search_leaves_every_file_and_says_where(finished, work):
    out, done = finished
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    told = json.loads(lines[0])
    assert told["status"] == "complete"
    assert sum(told["trials"].values()) == 4
    assert Path(told["report"]).read_text(encoding="utf-8").lstrip().startswith("<!")
    assert "Traceback" not in done.stderr
    assert "trial 0 csa started (the paper's configuration, but for " in done.stderr
    assert run_faults(out, ended=True) == []

    described = json.loads((out / "run.json").read_text())
    assert described["status"] == "complete"
    assert described["architectures"] == ["csa", "moma"]
    assert described["folds_hash"] == plan_hash(read_plan(out / "folds.json"))
    assert described["dataset"]["synthetic"] is True
    assert set(described["versions"]) >= {"python", "serplatform", "ray", "torch", "optuna"}
    assert described["seconds"] > 0
    assert described["command"][:2] == ["serplatform", "search"]

    table = read_parquet(out / "trials.parquet")
    metrics = [f"dev_{name}" for name in DEV_METRICS]
    rest = ["fold_dev_uar", "reached_dev_uar", "reached_folds"]
    rest += ["epochs", "seconds", "num_parameters", "peak_memory_mb"]
    rest += ["host", "error"]
    names = table.schema.names
    assert names[:4] == ["trial", "architecture", "state", "paper"]
    assert [n for n in names[4:] if not n.startswith("params.")] == [*metrics, *rest]
    assert "params.model.dropout" in names
    assert table["architecture"].to_pylist() == ["csa", "moma", "csa", "moma"]
    assert table["paper"].to_pylist() == [True, True, False, False]
    studies = study_trials(out / "study.journal")
    assert {study for _, _, study in studies.values()} == {"csa", "moma"}
    for name in ("ensemble.json", "posteriors.parquet"):
        assert (out / "ensemble" / name).exists()


@pytest.mark.ray
def test_the_first_trial_of_each_architecture_is_its_papers(finished):
    out, _ = finished
    described = json.loads((out / "run.json").read_text())
    for number, name in enumerate(("csa", "moma")):
        record = json.loads((out / f"trials/trial-{number:05d}.json").read_text())
        fixed = described["spaces"][name]["fixed"]
        assert resolve(name, record["params"], "trial") == resolve(name, fixed, "the paper's")


@pytest.mark.ray
def test_a_complete_run_says_so_and_extends(finished, capsys, ray_cluster):
    out, _ = finished
    before = {p.name: p.read_bytes() for p in (out / "trials").iterdir()}
    begun = time.process_time()
    assert run_command_line(["search", "--resume", "--out", str(out)]) == 0
    assert "All 4 trials" in capsys.readouterr().err
    assert time.process_time() - begun < 60
    assert {p.name: p.read_bytes() for p in (out / "trials").iterdir()} == before

    words = ["search", "--resume", "--out", out, "--trials", "+1", "--combiner", "none"]
    done = run_here(*words, "--no-explain")
    assert done.returncode == 0, done.stderr
    after = {p.name: p.read_bytes() for p in (out / "trials").iterdir()}
    assert {name: after[name] for name in before} == before
    assert len(after) == 5
    assert run_faults(out, ended=True) == []


def refused(words, capsys):
    """Run a command that must be refused with one clear message; return the message."""
    assert run_command_line([str(word) for word in words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    return told.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mooma"], "Unknown architecture 'mooma'.*Did you mean 'moma'"),
        (["."], r"\.: a directory, no architecture; a dataset is --data \."),
        (["csa", "csa"], "name each once"),
        (["csa", "--set", "chanels=4"], "Unknown parameter 'chanels'.*'model.channels'"),
        (["csa", "--set", "model.channels"], "must be KEY=VALUE"),
        (["csa", "--set", "model.channels=many"], "model.channels"),
        (["csa", "--space", "nowhere.yaml"], "nowhere.yaml"),
        (["csa", "--space", "mooma"], "Unknown search space 'mooma'"),
        (["csa", "--protocol", "speaker-fold:3"], "Unknown protocol 'speaker-fold"),
        (["csa", "--protocol", "speaker-kfold:50"], "50 folds of different speakers need"),
        (["csa", "--objective", "uaar"], "Unknown objective 'uaar'.*'uar'"),
        (["csa", "--objective", "uar,uar"], "give each objective once"),
        (["csa", "--sampler", "tpee"], "Unknown sampler 'tpee'.*'tpe'"),
        (["csa", "--pruner", "ash"], "Unknown pruner 'ash'.*'asha'"),
        (["csa", "--combiner", "greddy"], "Unknown combiner 'greddy'.*'greedy'"),
        (["csa", "--trials", "0"], "--trials 0: must be a whole number of at least 1"),
        (["csa", "--trials", "many"], "--trials many"),
        (["csa", "moma", "--trials", "1"], "fewer than the 2 architectures"),
        (["csa", "--time-budget", "soon"], "'soon' is not a duration"),
        (["csa", "--workers", "500"], "500 CPU of"),
        (["csa", "--workers", "0"], "--workers"),
        (["csa", "--gpus-per-trial", "1.5"], "must be a whole number"),
        (["csa", "--storage", "nosuch://host/db"], "--storage nosuch://host/db: cannot be opened"),
        (["csa", "--address", "127.0.0.1:1"], "no Ray cluster answers there"),
        (["csa", "--resume"], "not a run directory"),
    ],
)
def test_bad_options_are_refused_and_leave_nothing(work, tmp_path, capsys, words, message):
    out = tmp_path / "run"
    err = refused(["search", *words, "--data", work / "data", "--out", out], capsys)
    assert re.search(message, err, re.DOTALL), err
    assert not out.exists()


def test_a_named_model_of_text_is_refused_where_there_is_none(tmp_path, capsys):
    kind = {"per_speaker": 4, "seconds": (0.2, 0.3), "wordless": 24, "features": {"log_mel_40": 40}}
    data = make_dataset(tmp_path / "data", **kind)
    out = tmp_path / "run"
    words = ["search", "lstm_attn_text", "--data", data, "--out", out]
    err = refused(words, capsys)
    assert "so lstm_attn_text cannot be trained on it; prepare it again with --align" in err
    assert "unknown word" not in err
    assert not out.exists()


def test_bad_places_are_refused(work, tmp_path, capsys, finished):
    out, _ = finished
    file = tmp_path / "file"
    file.touch()
    base = ["search", "csa", "--trials", 1]
    for words, message in [
        ([*base, "--data", tmp_path / "none", "--out", tmp_path / "r"], "no such dataset"),
        ([*base, "--data", work / "data", "--out", file], "is a file; give a directory"),
        ([*base, "--data", work / "data", "--out", out], "already holds a run"),
        (["search", "--resume"], "--resume needs --out"),
        (["search", "--resume", "--out", out, "--data", work / "other"], "is not the one that"),
        (["search", "csa", "--resume", "--out", out], "searches csa, moma, not csa"),
        (["search", "--resume", "--out", out, "--seed", 3], "--seed 3: the run has 0"),
        (["search", "--resume", "--out", out, "--set", "channels=4"], "--set channels=4"),
        (["search", "--resume", "--out", out, "--trials", "-1"], "--trials -1"),
    ]:
        assert message in refused(words, capsys)
    assert run_faults(out, ended=True) == []
    assert not (tmp_path / "r").exists()


def test_changed_folds_and_datasets_are_noticed(work, tmp_path, capsys, finished):
    out, _ = finished
    folds = out / "folds.json"
    content = folds.read_text()
    try:
        plan = json.loads(content)
        first = plan["folds"][0]
        first["train"], first["test"] = first["test"], first["train"]
        folds.write_text(json.dumps(plan))
        assert "folds" in refused(["search", "--resume", "--out", out], capsys)
        folds.write_text(content[: len(content) // 2])
        assert "damaged" in refused(["search", "--resume", "--out", out], capsys)
    finally:
        folds.write_text(content)
    described = (out / "run.json").read_text()
    try:
        (out / "run.json").write_text(described[:-40])
        assert "damaged" in refused(["search", "--resume", "--out", out], capsys)
    finally:
        (out / "run.json").write_text(described)


def start(work, *words, log, **options):
    with log.open("wb") as stream:
        return subprocess.Popen(
            command(work, *words, **options),
            stdout=stream,
            stderr=stream,
            env=ENVIRONMENT,
            start_new_session=True,
        )


def wait_until(condition, process):
    deadline = time.monotonic() + 400
    while not condition():
        assert process.poll() is None, "the search ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def epochs_saved(out):
    return sum(
        len(json.loads(file.read_text())["history"])
        for file in (out / "state").glob("trial-*/progress.json")
    )


def resume_words(text):
    """The words of the resume command that a message gives."""
    line = next(line for line in text.splitlines() if line.startswith("  serplatform search"))
    return shlex.split(line)[1:]


@pytest.mark.ray
@pytest.mark.parametrize(
    ("signals", "to_group"),
    [
        ([signal.SIGTERM], True),
        pytest.param([signal.SIGTERM], False, marks=pytest.mark.slow),
        pytest.param([signal.SIGHUP], True, marks=pytest.mark.slow),
        pytest.param([signal.SIGINT], False, marks=pytest.mark.slow),
        pytest.param([signal.SIGINT], True, marks=pytest.mark.slow),
        pytest.param([signal.SIGINT, signal.SIGINT], True, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_search_goes_on_by_the_command_it_prints(
    work, tmp_path, ray_cluster, signals, to_group
):
    out, log = tmp_path / "run", tmp_path / "log"
    words = ["moma", *spaces(work, "long"), "--trials", 2, "--out", out, "--retries", 2]
    process = start(work, *words, log=log)
    wait_until(lambda: epochs_saved(out) > 2, process)
    family = psutil.Process(process.pid).children(recursive=True)
    for number in signals:
        (os.killpg if to_group else os.kill)(process.pid, number)
        time.sleep(0.2)
    begun = time.monotonic()
    assert process.wait(timeout=100) == 130
    assert time.monotonic() - begun < 10
    _, left = psutil.wait_procs(family, timeout=10)
    assert [p.name() for p in left if p.status() != psutil.STATUS_ZOMBIE] == []
    text = log.read_text()
    assert "Traceback" not in text
    assert "Stopping ..." in text
    assert re.search(r"Interrupted\. (.* stopped half-way; .*)?Resume with:", text)
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert run_faults(out, ended=False) == []
    saved = {
        int(file.parent.name[-5:]): json.loads(file.read_text())["history"]
        for file in (out / "state").glob("trial-*/progress.json")
    }
    assert saved

    words = resume_words(text)
    assert words == ["search", "--resume", "--out", str(out), "--retries", "2"]
    done = run_here(*words)
    assert done.returncode == 0, done.stderr
    assert re.search(r"started \(the paper's configuration, but for .*\) \(resumed", done.stderr)
    assert run_faults(out, ended=True) == []
    assert json.loads((out / "run.json").read_text())["status"] == "complete"
    for number, history in saved.items():
        record = json.loads((out / f"trials/trial-{number:05d}.json").read_text())
        assert record["history"][: len(history)] == history


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("Searching", signal.SIGTERM),
        ("Searching", signal.SIGINT),
        ("Combining", signal.SIGTERM),
        ("Combining", signal.SIGINT),
    ],
)
def test_an_interruption_at_the_edges_is_one_too(work, tmp_path, moment, number):
    out, log = tmp_path / "run", tmp_path / "log"
    process = start(work, "csa", *spaces(work, "csa"), "--trials", 2, "--out", out, log=log)
    wait_until(lambda: moment in log.read_text(), process)
    if moment == "Searching":
        time.sleep(1.5)  # Ray is starting
    os.kill(process.pid, number)
    assert process.wait(timeout=60) == 130
    text = log.read_text()
    assert "Traceback" not in text
    done = subprocess.run(
        [*PROGRAM, *resume_words(text)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert run_faults(out, ended=True) == []


def read_terminal(descriptor, seconds):
    """What a terminal receives until nothing more comes for so long, or it is closed."""
    content = b""
    while select.select([descriptor], [], [], seconds)[0]:
        try:
            piece = os.read(descriptor, 65536)
        except OSError as error:
            if error.errno == errno.EIO:  # the other end is closed
                break
            raise
        if not piece:
            break
        content += piece
    return content


@pytest.mark.ray
def test_the_live_display_renders_and_gives_the_cursor_back(work, tmp_path):
    out = tmp_path / "run"
    ours, theirs = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        command(work, "moma", *spaces(work, "long"), "--trials", 3, "--out", out),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    content = b""
    deadline = time.monotonic() + 200
    while epochs_saved(out) < 3 and time.monotonic() < deadline:
        content += read_terminal(ours, 0.1)
    content += read_terminal(ours, 0.5) if process.poll() is not None else b""
    os.kill(process.pid, signal.SIGINT)
    while process.poll() is None and time.monotonic() < deadline:
        content += read_terminal(ours, 0.2)
    content += read_terminal(ours, 0.2)
    os.close(ours)
    text = content.decode(errors="replace")
    assert process.returncode == 130, text
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert hide in text
    assert text.rindex(show) > text.rindex(hide)
    assert re.search(r"architecture.*fold.*epoch.*dev UAR", text)
    assert "0 of 3 ended, 2 running" in text
    assert re.search(r"Interrupted\. (.* stopped half-way; .*)?Resume with:", text)
    assert "Traceback" not in text


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root")
def test_a_read_only_place_is_one_message(work, tmp_path, capsys):
    place = tmp_path / "place"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting needs root: {mounted.stderr.decode().strip()}")
    try:
        words = ["search", "csa", "--data", work / "data", "--out", place / "run", "--trials", 1]
        assert run_command_line([str(word) for word in words]) == 1
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    told = capsys.readouterr()
    assert told.err.count("Read-only file system") == 1
    assert "Traceback" not in told.err
    assert told.out == ""


@pytest.mark.ray
@pytest.mark.slow
def test_a_time_budget_is_kept_from_command_to_report(work, tmp_path):
    out = tmp_path / "run"
    begun = time.monotonic()
    words = ["csa", *spaces(work, "csa"), "--time-budget", "45s", "--out", out, "--json"]
    done = finish(work, *words)
    took = time.monotonic() - begun
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "time"
    search = json.loads((out / "run.json").read_text())
    assert took < 45 * 1.05 + 30  # the ensemble and the report come after
    assert search["seconds"] < 45 * 1.05
    resumed = finish(work, "--out", out, resume=True)
    assert resumed.returncode == 0
    assert "The time budget" in resumed.stderr
