"""Searches whose dataset and run lie on object storage: other nodes, outages, kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serplatform.run_directory import RunDirectory
from serplatform.storage.location import parse
from serplatform.storage.mirror import open_copy
from serplatform.storage.remote import remote
from serplatform.testing.synthetic import make_dataset
from tests.support.object_storage import (
    CREDENTIALS,
    Wire,
    make_bucket,
    object_storage,
    put_folder,
)
from tests.support.search_checks import run_faults, write_tiny_space

pytest.importorskip("moto", reason="moto[server] is not installed")
pytestmark = [pytest.mark.ray, pytest.mark.slow]

DATA = "s3://lab/data"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = make_dataset(
        tmp_path_factory.mktemp("made") / "set", per_speaker=8, seconds=(0.2, 0.4)
    )
    with object_storage() as address, pytest.MonkeyPatch.context() as patch:
        make_bucket(address, "lab")
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)
        put_folder(folder, DATA)
        yield address


@pytest.fixture
def wire(service, tmp_path, monkeypatch):
    """This node's only way to the storage, and a cache of its own."""
    wire = Wire(service)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", wire.address)
    monkeypatch.setenv("SERPLATFORM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SERPLATFORM_STORAGE_PATIENCE", "4")
    remote.cache_clear()
    yield wire
    wire.close()


class Command:
    """A command in a process of its own, and what it says."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self._log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serplatform", *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def wait_for(self, text: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.said():
            assert time.monotonic() < deadline, self.said()
            assert self.process.poll() is None, self.said()
            time.sleep(0.1)

    def said(self) -> str:
        return self._log.read_text()

    def end(self, seconds: float = 180) -> int:
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()


@pytest.fixture
def run_command(tmp_path):
    begun = []

    def start(*arguments):
        begun.append(Command(tmp_path / f"log-{len(begun)}", *arguments))
        return begun[-1]

    yield start
    for command in begun:
        command.process.kill()


def _search(tmp_path, out, *more, epochs=12, trials=4):
    space = write_tiny_space(tmp_path / "csa.yaml", "csa", max_epochs=epochs)
    return (
        *("search", "csa", "--data", DATA, "--out", out, "--space", str(space)),
        *("--trials", str(trials), "--concurrent", "1", "--pruner", "none", "--combiner", "none"),
        *("--no-explain", *more),
    )


def test_search_is_killed_and_goes_on_from_the_address_alone(
    wire, run_command, tmp_path, monkeypatch
):
    out = "s3://lab/runs/killed"
    first = run_command(*_search(tmp_path, out, epochs=400, trials=3))
    first.wait_for("trial 0 csa trained")
    first.wait_for("trial 1 csa started")
    time.sleep(1.0)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(10)
    time.sleep(3.0)
    before = remote(parse(out)).read("trials/trial-00000.json")
    shutil.rmtree(tmp_path / "cache")
    again = run_command("search", "--resume", "--out", out, "--no-explain")
    assert again.end() == 0, again.said()
    assert "AKIATESTKEY" not in again.said()
    path = open_copy(out, without=("state",))
    assert run_faults(path, ended=True) == []
    run = RunDirectory(path)
    assert sorted(run.records()) == [0, 1, 2]
    assert run.record_file(0).read_bytes() == before
    assert run.read_run()["dataset"]["path"] == DATA
    everything = remote(parse(out)).list()
    assert "report.html" in everything
    assert not [key for key in everything if key.startswith(("lease/", "state/"))]
    for key in everything:
        content = remote(parse(out)).read(key)
        assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() not in content, key
        assert CREDENTIALS["AWS_ACCESS_KEY_ID"].encode() not in content, key


def test_outage_during_a_search_loses_nothing(wire, run_command, tmp_path):
    out = "s3://lab/runs/outage"
    command = run_command(*_search(tmp_path, out, epochs=400))
    command.wait_for("trial 0 csa trained")
    wire.set("cut")
    command.wait_for("trial 2 csa trained")  # training goes on
    wire.set("open")
    assert command.end() == 0, command.said()
    path = open_copy(out, without=("state",))
    assert run_faults(path, ended=True) == []
    assert len(RunDirectory(path).records()) == 4


def test_outage_that_lasts_ends_with_where_the_work_lies(wire, run_command, tmp_path):
    out = "s3://lab/runs/lasting"
    command = run_command(*_search(tmp_path, out, epochs=400, trials=3))
    command.wait_for("trial 0 csa trained")
    wire.set("cut")
    assert command.end() == 1, command.said()
    said = command.said()
    assert "are not published yet; they are kept in" in said
    assert f"serplatform search --resume --out {out}" in said
    assert "Traceback" not in said
    wire.set("open")
    missing = {f"trials/trial-{n:05d}.json" for n in range(3)} - set(remote(parse(out)).list())
    assert "trials/trial-00002.json" in missing
    again = run_command("search", "--resume", "--out", out, "--no-explain")
    assert again.end() == 0, again.said()
    assert "trial 2 csa started" not in again.said()  # published, not trained again
    path = open_copy(out, without=("state",))
    assert run_faults(path, ended=True) == []
    assert len(RunDirectory(path).records()) == 3


_ON_TWO_NODES = """
import os, sys, time, json
from ray.cluster_utils import Cluster
root = sys.argv[1]
os.environ["SERPLATFORM_CACHE"] = f"{root}/head"
cluster = Cluster(initialize_head=True, head_node_args={
    "num_cpus": 1, "env_vars": {"SERPLATFORM_CACHE": f"{root}/head"}})
cluster.add_node(num_cpus=1, env_vars={"SERPLATFORM_CACHE": f"{root}/other"})
try:
    from serplatform.cli.main import run
    code = run([*json.loads(sys.argv[2]), "--address", cluster.address])
finally:
    import ray
    ray.shutdown()
    cluster.shutdown()
sys.exit(code)
"""


def test_nodes_that_share_no_files_train_one_search(wire, tmp_path):
    out = "s3://lab/runs/nodes"
    arguments = list(_search(tmp_path, out, epochs=20, trials=6))
    arguments[arguments.index("--concurrent") + 1] = "2"
    done = subprocess.run(
        [sys.executable, "-c", _ON_TWO_NODES, str(tmp_path), json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for node in ("head", "other"):
        assert list(Path(tmp_path, node, "datasets").glob("*/dataset.json")), node
        assert list(Path(tmp_path, node, "runs").glob("*/nodes/models/*")), node
    path = open_copy(out, without=("state",))
    assert run_faults(path, ended=True) == []
