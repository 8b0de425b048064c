"""Starts a Ray of this machine's own, whatever the machine is like, and leaves nothing of it."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from serplatform import stopping
from serplatform.console import end_stage, say, stage
from serplatform.distributed import ray_internals
from serplatform.distributed.orphans import OrphanGuard
from serplatform.errors import SerplatformError

#: Seconds that the head may take to be there, at each try; Ray's own limit of 30 is hit on a
#: machine of two cores with a load of 20.
WAITS = (120.0, 180.0, 240.0)

#: Ray's own limits, in its processes, that a loaded machine would hit: agents and workers are
#: Python processes, which take 20 s of such a machine to import what they need. And when the
#: command is killed, a worker that is just starting looks for its dead head for 20 s, not 60.
_ENVIRONMENT = {
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_gcs_rpc_server_connect_timeout_s": "30",
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
    # workers start when a trial or a task needs them
    "RAY_prestart_worker_first_driver": "0",
}

#: Bytes of a directory's path, such that a socket below it stays within the 107 of an address:
#: ``/session_<time>_<process>/sockets/plasma_store`` comes after it.
_LONGEST = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.9")
_PREFIX = "serplatform-"

#: Threads of Ray's processes with two workers: driver 27, head 26, raylet 28, agents 43, each
#: worker 24.
_THREADS = 170

#: Bytes that must be free for what Ray logs.
_LEAST_SPACE = 32 << 20

#: Bytes of Ray's object store: settings and results pass through it, data sets never; and the
#: least that Ray takes.
_STORE, _LEAST_STORE = 512 << 20, 80 << 20
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has its shared memory

#: What an error or a log of Ray says → what to do.
_REMEDIES = (
    (r"No space left|ENOSPC|disk quota", "free some room in {place}, or set TMPDIR"),
    (
        r"Resource temporarily unavailable|start new thread|Too many open files|Cannot allocate",
        "end other programs, or raise the limits of `ulimit -u`, `ulimit -n` and of memory",
    ),
    (
        r"Address already in use|[Pp]ort .*(?:taken|in use)|bind\(",
        "unset RAY_GCS_SERVER_PORT and other ports in RAY_… variables, or free the port",
    ),
)


def start(num_cpus: int | None) -> None:
    """Start a Ray of ``num_cpus`` CPUs (None: all) that ends with this process.

    Raises:
        SerplatformError: it does not start; nothing is left of it.
    """
    # else the word that its processes know each other by is in the home directory, or another's
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    ray_internals.forget_token()
    check_threads()
    address = _own_address()
    reasons: list[str] = []
    for wait in WAITS:
        with said_when_slow("Starting Ray"):
            reason = _try(num_cpus, wait, len(reasons), address)
        if reason is None:
            return
        text, may_pass = reason
        reasons.append(text)
        if not may_pass:
            break
        if len(reasons) < len(WAITS):
            say(f"Ray did not start ({text}); trying again.")
    told = "\n".join(reasons)
    fitting = (r.format(place=_bases()[0]) for pattern, r in _REMEDIES if re.search(pattern, told))
    remedy = next(
        fitting,
        f"{load()}: wait until it has less to do, or start a cluster with `ray start --head` and "
        "give --address auto",
    )
    raise SerplatformError(
        f"Ray could not be started on this machine ({reasons[-1]}); {remedy}; then give the same "
        "command again. Nothing was left behind"
    )


def check_threads() -> None:
    """See that Ray can have its threads: without them its C++ aborts a process, also ours."""
    release = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(_THREADS):
            thread = threading.Thread(target=release.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except (RuntimeError, MemoryError) as error:
        raise SerplatformError(
            f"Ray could not be started on this machine: it takes some {_THREADS} threads, of which "
            f"{len(threads)} can be had ({error}); {_REMEDIES[1][1]}; then give the same command "
            "again. Nothing was left behind"
        ) from None
    finally:
        release.set()
        for thread in threads:
            thread.join()


def _own_address() -> str | None:
    """Address by which Ray's processes reach each other: Ray's own choice (None), which a tunnel
    or a firewall may keep from us, or the loopback; where that fails too, Ray would end us."""
    from ray.util import get_node_ip_address

    faults: list[str] = []
    for host in (get_node_ip_address(), "127.0.0.1"):
        try:
            with (
                socket.create_server((host, 0)) as server,
                socket.create_connection(server.getsockname(), timeout=5),
            ):
                return "127.0.0.1" if faults else None
        except OSError as error:
            faults.append(f"{host}: {error.strerror or error}")
    raise SerplatformError(
        f"Ray's processes could not reach each other: this machine has no network of its own "
        f"({'; '.join(faults)}); bring its loopback up (`ip link set lo up`), then give the same "
        "command again"
    )


def _try(
    num_cpus: int | None, wait: float, attempt: int, address: str | None
) -> tuple[str, bool] | None:
    """Start Ray once; None when it runs, else why it does not and whether that may pass."""
    import ray

    guard = OrphanGuard(_directory(attempt))
    try:
        with contextlib.ExitStack() as undo, ray_internals.patient_start(guard.watch, wait):
            # Ray's processes inherit them; other children of this process need not be as patient
            for name in _ENVIRONMENT.keys() - os.environ.keys():
                os.environ[name] = _ENVIRONMENT[name]
                undo.callback(os.environ.pop, name, None)
            ray.init(
                # "local": else Ray would join whatever cluster was started on this machine
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                namespace="serplatform",
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(guard.directory),
                _node_ip_address=address,
                **_object_store(guard.directory),
            )
    except BaseException as error:
        if stopping.is_asked():  # its C++ half, taken down while it joins, could end us with 1:
            raise  # the guard sees to it when we are gone
        reason = _sentence(error, guard.directory)
        try:
            ray.shutdown()
        except (RuntimeError, OSError, ValueError, AttributeError, AssertionError) as other:
            # it closes what may not have been opened
            logging.getLogger(__name__).info("after a failed start: %s", other)
        guard.end()
        # of the machine: Ray raises bare exceptions too
        kinds = (RuntimeError, OSError, ValueError, SystemExit, ray.exceptions.RayError)
        if not isinstance(error, kinds) and type(error) is not Exception:
            raise
        return reason, not isinstance(error, ValueError)
    _started.append(guard)
    atexit.register(end_started)  # before Ray would end by itself
    stopping.on_end(guard.end)
    return None


#: of the Ray that this process has started
_started: list[OrphanGuard] = []


def end_started() -> None:
    """End the Ray that this process has started or joined, and remove what its own has left."""
    import ray

    ray.shutdown()
    ray_internals.forget_token()
    atexit.unregister(end_started)
    while _started:
        guard = _started.pop()
        stopping.not_on_end(guard.end)
        guard.end()


def _directory(attempt: int) -> Path:
    """A new private directory for Ray's sockets and logs; another one at another attempt, where
    there is one."""
    usable = usable_directories()
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=usable[min(attempt, len(usable) - 1)]))


def usable_directories() -> list[str]:
    """Where Ray's sockets and logs may lie: writable, with space, and short; the preferred first.

    Raises:
        SerplatformError: nowhere.
    """
    usable: list[str] = []
    faults: dict[str, str] = {}
    for base in dict.fromkeys(_bases()):
        try:
            if len(os.fsencode(base)) + len(f"/{_PREFIX}12345678") > _LONGEST:
                raise OSError(0, "its name is too long for a socket")
            with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=base) as probe:
                if shutil.disk_usage(probe).free < _LEAST_SPACE:
                    raise OSError(0, f"less than {_LEAST_SPACE >> 20} MB are free")
                Path(probe, "probe").write_bytes(bytes(4096))
            usable.append(base)
        except OSError as error:
            faults[base] = str(error.strerror)
    if not usable:
        tried = ", ".join(f"{base} ({fault})" for base, fault in faults.items())
        raise SerplatformError(
            f"Ray needs a directory for its sockets and logs, and found none: {tried}; set TMPDIR "
            "to a directory with a short name that can be written to"
        )
    return usable


def is_own(directory: str) -> bool:
    """Whether the Ray that keeps its files there is one that :func:`start` made."""
    return Path(directory).name.startswith(_PREFIX)


def _bases() -> list[str]:
    """Directories in which Ray's may be made, the preferred first."""
    named = [os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR", "XDG_RUNTIME_DIR")]
    return [
        str(Path(base).absolute())
        for base in (*named[:2], "/tmp", named[2], str(_SHARED_MEMORY), "/var/tmp")  # noqa: S108
        if base
    ]


def _object_store(directory: Path) -> dict[str, int | str]:
    """Size and place of Ray's object store: in shared memory, if that has room for it."""
    import psutil

    wanted = max(_LEAST_STORE, min(_STORE, psutil.virtual_memory().total // 5))
    if not _SHARED_MEMORY.is_dir():
        return {"object_store_memory": wanted}  # not Linux
    free = shutil.disk_usage(_SHARED_MEMORY).free if os.access(_SHARED_MEMORY, os.W_OK) else 0
    if free * 0.9 >= _LEAST_STORE:
        return {"object_store_memory": min(wanted, int(free * 0.9))}
    say(
        f"Note: {_SHARED_MEMORY} has {free / 1e6:.0f} MB free: Ray keeps what its processes share "
        f"in {directory.parent}."
    )
    return {"object_store_memory": _LEAST_STORE, "_plasma_directory": str(directory)}


def _sentence(error: BaseException, directory: Path) -> str:
    """What went wrong, in one line, with the last error in the logs of Ray's processes."""
    text = (" ".join(str(error).split()) or type(error).__name__)[:300]
    # the head's own logs first
    for pattern in ("raylet.err", "gcs_server.err", "raylet.out", "gcs_server.out", "*agent.log"):
        for file in sorted(directory.glob(f"session_*/logs/{pattern}")):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            for line in reversed(lines):
                if found := re.search(r"\s[EFC]\s.*?\]\s*(.+)|\b(\w*Error: .+)", line):
                    complaint = " ".join((found[1] or found[2]).split())
                    return f"{text}; its log says: {complaint[:300]}"
    return text


def load() -> str:
    """How busy the machine is, in words."""
    cpus = os.cpu_count() or 1
    return f"the load of this machine is {os.getloadavg()[0]:.0f} on {cpus} CPUs"


@contextlib.contextmanager
def said_when_slow(what: str, after: float = 6.0) -> Iterator[None]:
    """Tell what is waited for, and how long, after so many seconds and then less and less often."""
    stage(what)
    done = threading.Event()
    begun = time.monotonic()

    def wait() -> None:
        moment = after
        while not done.wait(begun + moment - time.monotonic()):
            seconds = time.monotonic() - begun
            say(f"{what} … {seconds:.0f} s so far; {load()}")
            moment *= 3 if moment < 8 * after else 2

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        end_stage()
