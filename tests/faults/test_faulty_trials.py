"""Trials that raise, run out of memory, become NaN or hang: recorded with the reason, retried where
that helps, and the others go on. The faults are planted by an architecture of these tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from serplatform.run_directory import RunDirectory
from serplatform.testing.synthetic import make_dataset
from tests.support.search_checks import run_faults

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1500)]

PLANTED = Path(__file__).with_name("planted.py")
EPOCHS = 6
#: seconds that an epoch may take; a worker that starts on a busy machine needs some
TIMEOUT = int(os.environ.get("SERPLATFORM_TRIAL_TIMEOUT", "40"))
TRAINING = ("ray::TrialActor", "ray::ResourceTrainable")
DIED = "the process that trained it died"
REASONS = {
    "raise": "RuntimeError: a planted error",
    "memory": "MemoryError: planted: cannot allocate memory",
    "cuda": "torch.OutOfMemoryError: CUDA out of memory (planted)",
    "nan": "became infinite or not a number in epoch",
    "hang": f"no epoch ended in {TIMEOUT} s, so its process was ended",
    "stone": f"no epoch ended in {TIMEOUT} s, so its process was ended",
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(
        tmp_path_factory.mktemp("faulty") / "data", per_speaker=8, seconds=(0.2, 0.4)
    )


@pytest.fixture
def begin(dataset, tmp_path):
    """Start a search of the planted architecture; its trials choose among ``faults``."""
    processes = []

    def start(faults, *words, again=False, resume=False):
        space = tmp_path / "planted.yaml"
        fixed = {"training.max_epochs": EPOCHS, "training.batch_size": 8}
        parameters = {"model.mark": {"type": "int", "low": 0, "high": 1_000_000}}
        if len(faults) == 1:
            fixed["model.fault"] = faults[0]
        else:
            parameters["model.fault"] = {"type": "choice", "values": faults}
        content = {"architecture": "planted", "description": "faults", "fixed": fixed}
        space.write_text(json.dumps({**content, "parameters": parameters}))
        marks = tmp_path / "marks"
        marks.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "SERPLATFORM_PLUGINS": str(PLANTED),
            "PLANTED_MARKS": str(marks),
            "OMP_NUM_THREADS": "1",
            **({"PLANTED_AGAIN": "1"} if again else {}),
        }
        out = tmp_path / "run"
        command = [sys.executable, "-m", "serplatform", "search", "--out", str(out)]
        command += ["--resume"] if resume else ["planted", "--data", str(dataset)]
        if not resume:
            command += ["--space", str(space), "--sampler", "random", "--pruner", "none"]
        log = tmp_path / f"log-{len(processes)}"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*command, *map(str, words)], stdout=stream, stderr=stream, env=environment
            )
        processes.append(process)
        return process, out, log

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def kind(record):
    return record["params"].get("model.fault", "none")


def test_what_happens_once_is_overcome(begin):
    faults = ["none", "raise", "memory", "cuda", "nan", "hang", "stone"]
    process, out, log = begin(faults, "--trials", 12, "--trial-timeout", f"{TIMEOUT}s", "--seed", 2)
    assert process.wait(timeout=1200) == 0, log.read_text()
    text = log.read_text()
    assert "Traceback" not in text
    assert run_faults(out, ended=True) == []
    records = RunDirectory(out).records()
    assert {kind(record) for record in records.values()} == set(faults)
    for number, record in records.items():
        retried = [line for line in text.splitlines() if f"trial {number} planted is tried" in line]
        if kind(record) == "nan":
            assert record["state"] == "failed"
            assert REASONS["nan"] in record["error"]
        else:
            assert record["state"] == "complete"
            assert record["epochs"] == EPOCHS * len(record["fold_dev"])
        if kind(record) in ("none", "nan"):
            assert retried == []
        else:
            assert len(retried) == 1
            assert REASONS[kind(record)] in retried[0]


def test_what_happens_always_fails_the_trial_alone(begin):
    faults = ["none", "raise", "memory", "cuda", "nan", "stone"]
    options = ["--trials", 10, "--trial-timeout", f"{TIMEOUT}s", "--seed", 0, "--retries", 1]
    process, out, log = begin(faults, *options, again=True)
    assert process.wait(timeout=1200) == 0, log.read_text()
    text = log.read_text()
    assert "Traceback" not in text
    assert run_faults(out, ended=True) == []
    records = RunDirectory(out).records()
    assert {kind(record) for record in records.values()} == set(faults)
    for number, record in records.items():
        if kind(record) == "none":
            assert record["state"] == "complete"
            continue
        assert record["state"] == "failed"
        assert REASONS[kind(record)] in record["error"]
        retries = text.count(f"trial {number} planted is tried again")
        assert retries == (0 if kind(record) == "nan" else 1)


def test_a_worker_group_that_hangs_is_ended_too(begin):
    options = ["--trials", 3, "--trial-timeout", f"{TIMEOUT}s", "--workers", 2, "--seed", 1]
    process, out, log = begin(["stone"], *options)
    assert process.wait(timeout=1200) == 0, log.read_text()
    text = log.read_text()
    assert run_faults(out, ended=True) == []
    records = RunDirectory(out).records()
    assert [record["state"] for record in records.values()] == ["complete"] * 3
    for number in records:
        assert f"trial {number} planted is tried again: no epoch ended in {TIMEOUT} s" in text


def test_a_stopped_process_is_one_that_hangs(begin):
    process, out, log = begin(["slow"], "--trials", 2, "--trial-timeout", f"{TIMEOUT}s")
    deadline = time.monotonic() + 100
    while not list((out / "state").glob("trial-*/progress.json")):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    for child in psutil.Process(process.pid).children(recursive=True):
        # idle, or in a step: Tune makes a class of this name of ours
        if child.cmdline()[0:1] and child.cmdline()[0].startswith(TRAINING):
            child.send_signal(signal.SIGSTOP)
    assert process.wait(timeout=1200) == 0, log.read_text()
    assert f"no epoch ended in {TIMEOUT} s" in log.read_text()
    assert run_faults(out, ended=True) == []
    states = [record["state"] for record in RunDirectory(out).records().values()]
    assert states == ["complete", "complete"]


def test_a_hanging_trial_does_not_hold_an_interruption_up(begin):
    process, out, log = begin(["stone"], "--trials", 3, again=True)
    marks = out.parent / "marks"
    deadline = time.monotonic() + 100
    while not list(marks.iterdir()):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=100) == 130
    took = time.monotonic() - begun
    assert "Resume with:" in log.read_text()
    assert took < 30
    process, _, log = begin([], "--trial-timeout", f"{TIMEOUT}s", resume=True)
    assert process.wait(timeout=1200) == 0, log.read_text()
    assert run_faults(out, ended=True) == []
