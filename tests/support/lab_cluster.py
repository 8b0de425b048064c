"""A Ray cluster on the hosts of a lab, handled with Ray's own commands as a user would.

The cluster file is ``cluster/onprem.yaml`` with the lab's addresses and key in it. Its setup
commands, which would install the package from a package index, are replaced by a link to the
environment that the tests run in, with the package of this checkout; all else is left as it is.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.support.lab import Host, Lab

ROOT = Path(__file__).parents[2]
ENVIRONMENT = Path(sys.executable).parent.parent

#: Little memory is needed, and a node's share is taken when it starts.
_START_OPTIONS = "--num-cpus={cpus} --object-store-memory=100000000 --disable-usage-stats"


def onprem_file(lab: Lab, *, cpus: int = 1, start_options: str = "") -> dict[str, Any]:
    """``cluster/onprem.yaml`` for the hosts of a lab, the first being the head.

    Args:
        lab: whose hosts form the cluster.
        cpus: that each host offers.
        start_options: further options of every ``ray start``.
    """
    head, *workers = lab.hosts
    content: dict[str, Any] = yaml.safe_load((ROOT / "cluster/onprem.yaml").read_text())
    content["cluster_name"] = lab.name
    content["provider"].update(head_ip=head.address, worker_ips=[w.address for w in workers])
    content["auth"].update(ssh_user="root", ssh_private_key=str(lab.user_key))
    content["min_workers"] = content["max_workers"] = len(workers)
    made, installed, on_path = content["setup_commands"]
    if "venv" not in made or "pip install" not in installed or "PATH" not in on_path:
        raise ValueError("cluster/onprem.yaml has other setup commands than this lab knows")
    content["setup_commands"] = [
        f"ln -sfn {ENVIRONMENT} ~/serplatform/environment",
        f"echo 'export OMP_NUM_THREADS=1 PYTHONPATH={ROOT}' >> ~/.bashrc",
        on_path,
    ]
    options = f"{_START_OPTIONS.format(cpus=cpus)} {start_options}".strip()
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        content[key] = [
            f"{line} {options}" if "ray start" in line else line for line in content[key]
        ]
    return content


class LabCluster:
    """A running Ray cluster on a lab; a context manager, which brings it down at the end.

    Args:
        lab: whose hosts form it.
        cpus: that each host offers.
        start_options: further options of every ``ray start``.

    Raises:
        RuntimeError: ``ray up`` fails, or not all hosts join in time.
    """

    def __init__(self, lab: Lab, *, cpus: int = 1, start_options: str = "") -> None:
        self.lab = lab
        self.file = lab.directory / "cluster.yaml"
        self.home = lab.directory / "user"
        self._content = onprem_file(lab, cpus=cpus, start_options=start_options)
        self.is_up = False

    @property
    def head(self) -> Host:
        return self.lab.hosts[0]

    def __enter__(self) -> Self:
        token = self.home / ".ray" / "auth_token"
        token.parent.mkdir(parents=True)
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self.file.write_text(yaml.safe_dump(self._content))
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_up:
            self.down()

    def ray(
        self, *words: str, timeout: float = 600, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run one of Ray's commands on the user's own machine."""
        done = subprocess.run(
            [str(ENVIRONMENT / "bin" / "ray"), *words],
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"ray {words[0]} failed:\n{done.stdout}\n{done.stderr}")
        return done

    def environment(self) -> Mapping[str, str]:
        """Environment of the user's commands: a home of its own, with the token."""
        path = f"{ENVIRONMENT / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
        kept = {name: os.environ[name] for name in ("LANG",) if name in os.environ}
        return {
            **kept,
            "PATH": path,
            "HOME": str(self.home),
            "RAY_TMPDIR": str(self.home),
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def up(self, *, timeout: float = 300) -> None:
        """``ray up``, and wait until every host has joined."""
        self.ray("up", "-y", "--no-config-cache", str(self.file), check=True, timeout=timeout)
        self.is_up = True
        self.wait(len(self.lab.hosts), timeout=timeout)

    def down(self) -> subprocess.CompletedProcess[str]:
        """``ray down``."""
        self.is_up = False
        return self.ray("down", "-y", str(self.file))

    def submit(self, *words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """``ray submit CLUSTER cluster/submit.py -- WORDS``."""
        return self.ray(*self.submit_words(*words), timeout=timeout)

    def submit_words(self, *words: str) -> list[str]:
        """The words of :meth:`submit`, after ``ray``."""
        return ["submit", "--no-config-cache", str(self.file), "cluster/submit.py", "--", *words]

    def start_submit(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        """:meth:`submit` without waiting; its output goes to ``log``."""
        with log.open("wb") as stream:
            return subprocess.Popen(
                [str(ENVIRONMENT / "bin" / "ray"), *self.submit_words(*words)],
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def nodes(self) -> list[str]:
        """Addresses of the nodes that Ray counts as alive, from the head's own view."""
        code = (
            "import ray; from ray._private.state import state; ray.init('auto', "
            "log_to_driver=False, logging_level='ERROR'); "
            "print('nodes', *[n['NodeManagerAddress'] for n in ray.nodes() if n['Alive']])"
        )
        done = self.head.run(f'{ENVIRONMENT}/bin/python -c "{code}"')
        found = [line for line in done.stdout.splitlines() if line.startswith("nodes ")]
        return sorted(found[0].split()[1:]) if found else []

    def wait(self, count: int, *, timeout: float = 300) -> None:
        """Wait until so many nodes are alive."""
        deadline = time.monotonic() + timeout
        while len(nodes := self.nodes()) != count:
            if time.monotonic() > deadline:
                monitor = self.head.run("tail -n 40 /tmp/ray/session_latest/logs/monitor.out")
                raise RuntimeError(f"only {nodes} joined, not {count}\n{monitor.stdout}")
            time.sleep(2)
