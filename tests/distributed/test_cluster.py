"""How Ray is started and joined, and what a cluster may grow to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from serplatform.distributed import local_ray
from serplatform.distributed.cluster import TO_COME, connect, largest_resources, nodes_to_come
from serplatform.errors import BadInputError, SerplatformError


@pytest.fixture(autouse=True)
def _other_tests_keep_their_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that is not real leaves the token of the Ray that the session shares."""
    if ray.is_initialized():
        monkeypatch.setenv("RAY_AUTH_TOKEN", os.environ["RAY_AUTH_TOKEN"])
        monkeypatch.setattr(local_ray.ray_internals, "forget_token", lambda: None)


BOOTSTRAP = """
max_workers: 8
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}}
  gpu: {max_workers: 6, resources: {CPU: 8, GPU: 1}}
  big: {resources: {CPU: 96, GPU: 8}}
"""


def test_cluster_that_scales_counts_the_nodes_it_may_start(tmp_path: Path) -> None:
    bootstrap = tmp_path / "bootstrap.yaml"
    bootstrap.write_text(BOOTSTRAP, encoding="utf-8")
    grown = largest_resources({"CPU": 4.0, "memory": 7.0}, bootstrap)
    assert grown.pop(TO_COME) == 1.0
    assert grown == {"CPU": 6 * 8.0 + 2 * 96.0, "GPU": 6 * 1.0 + 2 * 8.0, "memory": 7.0}
    nodes = nodes_to_come(bootstrap)
    assert [node.get("GPU", 0.0) for node in nodes] == [0.0] + 6 * [1.0] + 2 * [8.0]


def test_nodes_that_run_now_are_never_forgotten(tmp_path: Path) -> None:
    bootstrap = tmp_path / "bootstrap.yaml"
    bootstrap.write_text("max_workers: 0\nhead_node_type: h\navailable_node_types: {h: {}}\n")
    assert largest_resources({"CPU": 4.0}, bootstrap) == {"CPU": 4.0}


@pytest.mark.parametrize(
    "text", [None, "", "max_workers: many", "[1, 2", "available_node_types: 3"]
)
def test_without_a_description_the_cluster_is_what_it_is(tmp_path: Path, text: str | None) -> None:
    bootstrap = tmp_path / "bootstrap.yaml"
    if text is not None:
        bootstrap.write_text(text, encoding="utf-8")
    assert largest_resources({"CPU": 2.0}, bootstrap) == {"CPU": 2.0}


def test_a_cluster_of_ones_own_never_joins_one_that_happens_to_run(failing) -> None:
    asked = failing()
    connect(num_cpus=2)
    # without an address Ray looks for /tmp/ray/ray_current_cluster first
    assert (asked[0]["address"], asked[0]["num_cpus"]) == ("local", 2)


def test_what_a_cluster_may_grow_to_can_be_said_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERPLATFORM_MAX_RESOURCES", "CPU=64, GPU=8")
    grown = largest_resources({"CPU": 4.0, "memory": 7.0}, tmp_path / "none")
    assert grown == {"CPU": 64.0, "GPU": 8.0, "memory": 7.0, TO_COME: 1.0}


@pytest.mark.parametrize("text", ["64", "CPU=many", "CPU=1=2"])
def test_what_is_said_there_must_be_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SERPLATFORM_MAX_RESOURCES", text)
    with pytest.raises(BadInputError, match=r"SERPLATFORM_MAX_RESOURCES=.*write, for example, CPU"):
        largest_resources({"CPU": 4.0}, tmp_path / "none")


Failing = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Failing:
    """A function that makes the next starts of Ray raise; it returns what each was asked."""
    asked: list[dict[str, Any]] = []

    def fail(*errors: BaseException, wrote: str = "") -> list[dict[str, Any]]:
        left = list(errors)

        def init(**options: Any) -> None:
            asked.append(options)
            session = Path(options.get("_temp_dir", tmp_path)) / "session_1"
            (session / "logs").mkdir(parents=True)
            (session / "logs/raylet.out").write_text(wrote, encoding="utf-8")
            if left:
                raise left.pop(0)

        monkeypatch.setattr(ray, "init", init)
        return asked

    # short enough for a socket, which tmp_path is not
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(local_ray.atexit, "register", lambda *_: None)
    return fail


@pytest.mark.parametrize(
    "error",
    [
        Exception("The current node timed out during startup."),
        RuntimeError("Failed to start GCS"),
        ConnectionError("its head was not there in 120 s"),
        OSError(28, "No space left on device"),
        SystemExit(1),
        ray.exceptions.RpcError("unavailable"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_ray_is_started_again_after_whatever_the_machine_did(
    failing: Failing, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = failing(error, error)
    connect()
    assert len(asked) == 3
    assert capsys.readouterr().err.count("trying again") == 2
    assert not any(Path(options["_temp_dir"]).exists() for options in asked[:2])
    local_ray.OrphanGuard(Path(asked[2]["_temp_dir"])).end()


def test_a_ray_that_never_starts_is_one_sentence_and_leaves_nothing(failing: Failing) -> None:
    complaint = "[2026-11-28 17:00:00,1 E 12 12] (raylet) agent.cc:9: the agent was not there\n"
    asked = failing(*(Exception("The current node timed out") for _ in range(3)), wrote=complaint)
    expected = (
        r"could not be started on this machine \(The current node timed out; its log says: .*"
        r"the agent was not there\); the load of this machine is \d+ on \d+ CPUs: wait .*; then "
        r"give the same command again\. Nothing was left behind"
    )
    with pytest.raises(SerplatformError, match=expected) as raised:
        connect()
    assert raised.value.exit_code == 1
    assert len(asked) == 3
    assert not any(Path(options["_temp_dir"]).exists() for options in asked)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("[Errno 28] No space left on device", "free some room in"),
        ("can't start new thread", "raise the limits of `ulimit -u`"),
        ("bind: Address already in use", "unset RAY_GCS_SERVER_PORT"),
    ],
)
def test_the_remedy_follows_from_what_ray_said(failing: Failing, said: str, remedy: str) -> None:
    failing(*(RuntimeError(said) for _ in range(3)))
    with pytest.raises(SerplatformError, match=remedy):
        connect()


def test_an_argument_that_ray_refuses_is_not_tried_again(failing: Failing) -> None:
    asked = failing(ValueError("the object store is larger than the memory"))
    with pytest.raises(SerplatformError, match="the object store is larger"):
        connect()
    assert len(asked) == 1


@pytest.mark.parametrize("error", [TypeError("ours"), KeyError("ours"), AttributeError("ours")])
def test_a_fault_of_our_own_is_not_hidden(failing: Failing, error: Exception) -> None:
    asked = failing(error)
    with pytest.raises(type(error), match="ours"):
        connect()
    assert not Path(asked[0]["_temp_dir"]).exists()


def test_an_interruption_of_the_start_leaves_nothing(failing: Failing) -> None:
    asked = failing(KeyboardInterrupt("stop"))
    with pytest.raises(KeyboardInterrupt, match="stop"):
        connect()
    assert len(asked) == 1
    assert not Path(asked[0]["_temp_dir"]).exists()


def test_a_slow_start_is_told_after_a_moment(capsys: pytest.CaptureFixture[str]) -> None:
    with local_ray.said_when_slow("Starting Ray", after=0.05):
        time.sleep(0.6)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Starting Ray …"
    assert "so far; the load of this machine is" in lines[-1]
    with local_ray.said_when_slow("Starting Ray again"):
        pass
    assert capsys.readouterr().err == "Starting Ray again …\n"  # and no word on the load


@pytest.mark.parametrize("variable", ["RAY_ADDRESS", "SERPLATFORM_ADDRESS", None])
def test_an_address_where_nothing_answers_is_named_as_the_user_gave_it(
    monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("SERPLATFORM_ADDRESS", raising=False)
    dead = "127.0.0.1:1"
    if variable is not None:
        monkeypatch.setenv(variable, dead)
    culprit = f"^--address {dead}" if variable is None else f"^{variable}={dead}"
    with pytest.raises(BadInputError, match=f"{culprit}: no Ray cluster answers there"):
        connect(None if variable == "RAY_ADDRESS" else dead)


@pytest.mark.parametrize("noted", [None, "127.0.0.1:1"])
def test_auto_passes_over_the_ray_that_another_command_has_for_itself(
    monkeypatch: pytest.MonkeyPatch, noted: str | None
) -> None:
    class Raylet:
        info = {  # noqa: RUF012
            "cmdline": ["/x/raylet", "--temp_dir=/tmp/serplatform-a1", "--gcs-address=127.0.0.1:2"]
        }

    monkeypatch.setattr(psutil, "process_iter", lambda *_: [Raylet])
    monkeypatch.setattr(ray._private.utils, "read_ray_address", lambda: noted)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    expected = (
        "no Ray cluster runs on this machine" if noted is None else f"that is {noted}: no Ray"
    )
    with pytest.raises(BadInputError, match=f"^RAY_ADDRESS=auto.*{expected}"):
        connect()
    Raylet.info = {"cmdline": ["/x/raylet", "--temp_dir=/tmp/ray", "--gcs-address=127.0.0.1:2"]}
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(BadInputError, match=r"auto, that is 127\.0\.0\.1:2: no Ray cluster"):
        connect()


@pytest.mark.parametrize("reached", [True, False])
def test_where_the_network_keeps_rays_processes_apart_they_talk_over_the_loopback(
    monkeypatch: pytest.MonkeyPatch, failing: Failing, reached: bool
) -> None:
    asked = failing()
    # an address that is no machine's, as one behind a tunnel or a firewall
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "192.0.2.77")
    if reached:
        connect()
        assert asked[0]["_node_ip_address"] == "127.0.0.1"
        return

    def unreachable(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(local_ray.socket, "create_connection", unreachable)
    with pytest.raises(SerplatformError, match=r"127\.0\.0\.1: Network is unreachable\); bring"):
        connect()
    assert asked == []


def test_without_room_for_its_threads_ray_is_not_started(
    monkeypatch: pytest.MonkeyPatch, failing: Failing
) -> None:
    asked = failing()
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if len(started) == 20:
            raise RuntimeError("can't start new thread")
        start(thread)
        started.append(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(SerplatformError, match=r"of which 20 can be had .*limits of `ulimit -u`"):
        connect()
    assert asked == []
    assert not any(thread.is_alive() for thread in started)


def test_a_prepare_without_a_cluster_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from serplatform.distributed.prepare import prepare

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(BadInputError, match="no Ray cluster answers there"):
        prepare("demo", None, tmp_path / "out", features=["log_mel_23"], address="127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_too_long_or_full_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    directory = local_ray._directory(0)
    try:
        assert long not in directory.parents
        assert directory.stat().st_mode & 0o777 == 0o700
        socket = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
        assert len(os.fsencode(directory / socket)) < 107
    finally:
        directory.rmdir()
    monkeypatch.setattr(local_ray, "_bases", lambda: [str(long), "/proc/none"])
    with pytest.raises(SerplatformError, match=r"too long for a socket\).*No such file.*TMPDIR"):
        local_ray._directory(0)


#: starts Ray whose agents, as on a machine with much else to do, do not come to speak
_PROGRAM = """
import contextlib, os, threading, time
import psutil
from serplatform.distributed.cluster import connect

def hold():
    while True:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if {"agent.py", "main.py"} & {os.path.basename(w) for w in process.cmdline()}:
                    process.suspend()
        time.sleep(0.05)

threading.Thread(target=hold, daemon=True).start()
connect(num_cpus=1)
import ray
session = ray._private.worker._global_node.get_session_dir_path()
print(session, ray.get(ray.remote(lambda: os.getpid()).remote()), flush=True)
time.sleep(600)
"""


@pytest.mark.ray
def test_ray_starts_without_home_or_agents_and_ends_with_a_killed_driver(
    tmp_path: Path,
) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir()
    environment = {**os.environ, "TMPDIR": str(long), "HOME": "/proc/none"}
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], env=environment, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        session, _, worker = driver.stdout.readline().strip().rpartition(" ")
        family = psutil.Process(driver.pid).children(recursive=True)
        heads = [p for p in family if p.name() in ("gcs_server", "raylet")]
        assert len(heads) == 2
        # in sessions of their own: a signal for the driver's group does not reach them
        assert os.getsid(driver.pid) not in {os.getsid(p.pid) for p in heads}
        assert int(worker) in {p.pid for p in family}
        assert Path(session).is_dir()
        driver.kill()
    _, left = psutil.wait_procs(family, timeout=20)
    assert [p.name() for p in left if p.status() != psutil.STATUS_ZOMBIE] == []
    assert not Path(session).parent.exists()
    assert list(long.iterdir()) == []
