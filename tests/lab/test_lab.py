"""The lab itself: hosts of their own, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.lab import Lab, lacking

ROOT = Path(__file__).parents[2]
reason = lacking()
pytestmark = pytest.mark.skipif(reason is not None, reason=f"no lab of hosts here: {reason}")


def traces(name: str) -> list[str]:
    """What a lab of that name has in the kernel and among the processes."""
    found = [f"namespace {n}" for n in os.listdir("/run/netns") if n.startswith(f"{name}-")]
    found += [f"link {n}" for n in os.listdir("/sys/class/net") if n.startswith(name)]
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            line = Path("/proc", process, "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f" {name}-" in line:
            found.append(line)
    return found


def test_hosts_have_addresses_names_homes_and_processes_of_their_own(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with Lab(tmp_path / "one") as lab, Lab(tmp_path / "two", hosts=1) as other:
        assert other.network != lab.network
        for host in lab.hosts:
            done = host.run("hostname; echo ~; ls /tmp/ray; ls /proc | grep -c '^[0-9]'")
            name, home, processes = done.stdout.split()
            assert (name, home) == (host.name, str(host.home))
            assert int(processes) < 12
        first, second, third = lab.hosts
        reach = f"import socket; socket.create_connection(('{second.address}', 22), timeout=2)"
        ask = f'{sys.executable} -c "{reach}"'
        assert first.run(ask).returncode == 0
        second.disconnect()
        assert first.run(ask).returncode != 0
        second.reconnect()
        lab.wait([second])
        third.freeze()
        assert {p.status() for p in third.processes()} == {"stopped"}
        third.thaw()
        lab.wait([third])
        third.lose()
        assert third.processes() == []
        third.start()
        lab.wait([third])
        assert third.run("hostname").stdout.strip() == third.name
    assert traces(lab.name) == traces(other.name) == []


def test_labs_of_programs_with_other_temporary_directories_are_apart(tmp_path, monkeypatch):
    first = Lab(tmp_path / "one")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    second = Lab(tmp_path / "two")
    try:
        assert first.network != second.network
    finally:
        first.close()
        second.close()


def test_a_lab_vanishes_with_the_process_that_made_it(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from tests.support.lab import Lab\n"
        "with Lab(Path(sys.argv[1])) as lab:\n"
        "    print(lab.name, flush=True); time.sleep(60)\n"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert maker.stdout is not None
    name = maker.stdout.readline().strip()
    assert traces(name)
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    maker.stdout.close()
    deadline = time.monotonic() + 20
    while left := traces(name):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
