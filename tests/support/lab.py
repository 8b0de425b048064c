"""A lab of several hosts on one machine, for tests of what happens between machines.

Each host has its own network, process, mount and host name namespace, an address on a bridge
of the lab's own, a private home, ``/tmp/ray`` and ``/dev/shm``, and an ``sshd``; the other files
are shared, as on a cluster with a network drive. Needs root, ``iproute2`` and
``openssh-server``. Everything is removed when the lab is closed, and also when the process
that made it is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

_PROGRAMS = ("ip", "sshd", "ssh", "ssh-keygen", "rsync", "unshare", "setpriv", "mount")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: First process of a host: it sets up what is private, runs sshd and adopts orphans.
_HOST = r"""
set -eu
mount --make-rprivate /
hostname "$2"
mkdir -p /tmp/ray /run/sshd
mount --bind "$1/ray" /tmp/ray
mount -t tmpfs -o size=1g tmpfs /dev/shm
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/hosts" /etc/hosts
"$(command -v sshd)" -D -e -f "$1/sshd_config" 2>"$1/sshd.log" &
while kill -0 $!; do wait -n || true; done
"""

#: Removes a lab. With ``wait``, when the pipe on its standard input closes.
_SWEEP = r"""
[ "${1:-}" = wait ] && read -r closed
[ "${1:-}" = wait ] && shift
lab=$1
for name in $(ip netns list | sed -n "s/^\($lab-[0-9]*\)\( .*\)\?$/\1/p"); do
  for process in $(ip netns pids "$name"); do kill -9 "$process" 2>/dev/null; done
  ip netns del "$name"
done
# sockets that linger keep a nameless namespace, and its end of the link, for minutes
for link in $(ip -o link | sed -n "s/^[0-9]*: \($lab"v"[0-9]*\)@.*/\1/p"); do
  ip link del "$link"
done
ip link del "$lab" 2>/dev/null
exit 0
"""


def lacking() -> str | None:
    """Why there can be no lab on this machine; None where there can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_SYSTEM_PATH) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    with tempfile.TemporaryDirectory() as directory:
        tried = subprocess.run(
            ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "mount", "--bind"]
            + [directory] * 2,
            capture_output=True,
            text=True,
            check=False,
        )
    return None if tried.returncode == 0 else f"namespaces are refused: {tried.stderr.strip()}"


class Host:
    """One host of a lab.

    Attributes:
        name: also its host name.
        address: its IPv4 address on the lab's bridge.
        directory: its private files; ``home`` is its user's home.
    """

    def __init__(self, lab: Lab, number: int) -> None:
        self.lab = lab
        self.number = number
        self.name = f"{lab.name}-{number}"
        self.address = f"{lab.network}.{number}"
        self.directory = lab.directory / f"host-{number}"
        self.home = self.directory / "home"
        self._link = f"{lab.name}v{number}"
        self._unshare: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Boot: a fresh host with the same address, and nothing of what ran before."""
        shutil.rmtree(self.directory / "ray", ignore_errors=True)
        for name in ("ray", "home"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self._write_settings()
        if not Path("/run/netns", self.name).exists():
            self._join_bridge()
        log = (self.directory / "host.log").open("ab")
        with log:
            self._unshare = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.name),
                    *("unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child"),
                    *("--mount-proc", "bash", "-c", _HOST, "host", str(self.directory), self.name),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": _SYSTEM_PATH},
            )

    def lose(self) -> None:
        """The host is gone at once, with all that ran on it; :meth:`start` boots it again."""
        if self._unshare is not None:
            init = self._init()
            if init is not None:
                init.kill()
            self._unshare.kill()
            self._unshare.wait()
            self._unshare = None

    def _init(self) -> psutil.Process | None:
        """The host's first process."""
        assert self._unshare is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._unshare.pid).children()
            return children[0] if children else None
        return None

    def processes(self) -> list[psutil.Process]:
        """What runs on the host, its first process first, parents before children."""
        init = self._init() if self._unshare is not None else None
        if init is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            return [init, *init.children(recursive=True)]
        return []

    def find(self, text: str) -> list[psutil.Process]:
        """The host's processes whose command line holds ``text``."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if text in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def freeze(self) -> None:
        """Stop every process, as when a machine hangs; :meth:`thaw` lets them go on."""
        for _ in range(2):  # the second time for what was born meanwhile
            self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo :meth:`freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def disconnect(self) -> None:
        """Pull the network cable."""
        _run("ip", "link", "set", self._link, "down")

    def reconnect(self) -> None:
        """Put the network cable in again."""
        _run("ip", "link", "set", self._link, "up")

    def run(self, command: str, *, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host over ssh, as its user in a login shell."""
        return subprocess.run(
            [
                *("ssh", "-F", "none", "-i", str(self.lab.user_key), "-o", "LogLevel=ERROR"),
                *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
                *("-o", "ConnectTimeout=10", f"root@{self.address}"),
                f"bash -lc {shlex.quote(command)}",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def _join_bridge(self) -> None:
        inside = ["ip", "-n", self.name]
        _run("ip", "netns", "add", self.name)
        _run("ip", "link", "add", self._link, "type", "veth", "peer", "e0", "netns", self.name)
        _run("ip", "link", "set", self._link, "master", self.lab.name, "up")
        _run(*inside, "addr", "add", f"{self.address}/24", "dev", "e0")
        _run(*inside, "link", "set", "e0", "up")
        _run(*inside, "link", "set", "lo", "up")
        # nothing is forwarded; Ray finds its own address by the route it would take
        _run(*inside, "route", "add", "default", "via", f"{self.lab.network}.254")

    def _write_settings(self) -> None:
        others = [line for line in _lines("/etc/passwd") if not line.startswith("root:")]
        user = f"root:x:0:0:root:{self.home}:/bin/bash"
        (self.directory / "passwd").write_text("\n".join([user, *others]) + "\n")
        names = [f"{h.address} {h.name}" for h in self.lab.hosts]
        (self.directory / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names]) + "\n")
        settings = [
            f"HostKey {self.lab.host_key}",
            f"AuthorizedKeysFile {self.lab.user_key}.pub",
            f"ListenAddress {self.address}",
            f"PidFile {self.directory}/sshd.pid",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "MaxStartups 100",
            f"SetEnv PATH={_SYSTEM_PATH}",
        ]
        (self.directory / "sshd_config").write_text("\n".join(settings) + "\n")


class Lab:
    """Hosts on a bridge of their own.

    Use it as a context manager. Names and addresses are taken by a lock, so that several labs
    can stand side by side; what a lab of the same name left behind is removed first.

    Args:
        directory: for the hosts' private files; an empty one.
        hosts: how many.

    Raises:
        RuntimeError: a host does not come up.
    """

    def __init__(self, directory: Path, hosts: int = 3) -> None:
        self.directory = directory
        self._lock, place = _claim()
        self.name = f"serlab{place}"
        self.network = f"10.77.{place}"
        self.host_key = directory / "host_key"
        self.user_key = directory / "user_key"
        self.hosts: list[Host] = []
        self.hosts += [Host(self, number + 1) for number in range(hosts)]
        self._sweeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        _run("sh", "-c", _SWEEP, "sweep", self.name)
        self._sweeper = subprocess.Popen(
            ["sh", "-c", _SWEEP, "sweep", "wait", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": _SYSTEM_PATH},
            start_new_session=True,  # Ctrl-C is not meant for it
            cwd="/",
        )
        for key in (self.host_key, self.user_key):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        _run("ip", "link", "add", self.name, "type", "bridge")
        _run("ip", "addr", "add", f"{self.network}.254/24", "dev", self.name)
        _run("ip", "link", "set", self.name, "up")
        for host in self.hosts:
            host.start()
        self.wait(self.hosts)

    def wait(self, hosts: Sequence[Host], *, timeout: float = 60) -> None:
        """Wait until hosts answer to ssh."""
        for host in hosts:
            deadline = time.monotonic() + timeout
            while (done := host.run("hostname")).returncode != 0:
                if time.monotonic() > deadline:
                    logs = [host.directory / name for name in ("host.log", "sshd.log")]
                    text = "\n".join(p.read_text() for p in logs if p.exists())
                    raise RuntimeError(f"{host.name} does not come up: {done.stderr}\n{text}")
                time.sleep(0.2)

    def close(self) -> None:
        """Remove everything."""
        for host in self.hosts:
            host.lose()
        if self._sweeper is not None:
            self._sweeper.communicate(timeout=60)
            self._sweeper = None
        self._lock.close()


def _claim() -> tuple[IO[bytes], int]:
    """A number that no other lab has, and the lock that keeps it until closed."""
    for place in range(1, 250):
        # addresses and names are the machine's: the lock must not depend on TMPDIR
        path = Path("/run", f"serplatform-lab-{place}.lock")
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        return file, place
    raise RuntimeError("there are too many labs on this machine")


def _lines(path: str) -> Iterator[str]:
    return iter(Path(path).read_text(encoding="utf-8").splitlines())


def _run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PATH": _SYSTEM_PATH}
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:6])}: {done.stderr.strip() or done.returncode}")
