"""Run ``serplatform`` commands on a Ray cluster, from its head node.

    ray submit CLUSTER.yaml cluster/submit.py -- search moma --data … --out …   stay with it
    ray submit CLUSTER.yaml cluster/submit.py -- --detach search moma …         leave it there
    ray submit CLUSTER.yaml cluster/submit.py -- --jobs                         what was left there
    ray submit CLUSTER.yaml cluster/submit.py -- --watch [JOB]                  follow what it says
    ray submit CLUSTER.yaml cluster/submit.py -- --stop [JOB]                   like Ctrl-C
    python cluster/submit.py --fetch CLUSTER.yaml RUN [TO]                      copy results here

``ray submit`` copies this file to the head and runs it there with nothing but the installed
package; the command it becomes is the same one, attached to the running cluster. Without
``--detach`` it ends when the connection does; a detached one goes on, and keeps its output and
exit code in ``~/serplatform-jobs/JOB``. Without JOB the last one is meant. RUN is a directory on
the head, relative to the home there, or a URI.

``ray submit`` joins the words with spaces and hands them to a shell on the head: quote a word
that holds a space or another special character twice. Its exit code is 1 for any failure; the
command's own is in what ``--jobs`` and ``--watch`` print.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

JOBS = Path("~/serplatform-jobs")

#: seconds that a stopped command is given to write its books
STOP_WAIT = 120.0


def find_command() -> str:
    """Path of ``serplatform``: beside the running Python, else on PATH."""
    beside = Path(sys.executable).parent / "serplatform"
    command = str(beside) if os.access(beside, os.X_OK) else shutil.which("serplatform")
    if command is None:
        fail(
            f"no 'serplatform' beside {sys.executable} or on PATH; "
            "install it on every node in setup_commands of the cluster file",
            code=1,
        )
    return command


def fail(message: str, code: int = 2) -> NoReturn:
    """Say what is wrong, and end."""
    print(f"submit.py: {message}", file=sys.stderr)
    sys.exit(code)


def run(arguments: list[str]) -> NoReturn:
    """Become ``serplatform ARGUMENTS`` on the cluster."""
    command = find_command()
    os.execve(command, ["serplatform", *arguments], environment())  # noqa: S606 (no shell is meant)


def environment() -> dict[str, str]:
    """Environment of a command that uses the cluster which runs here."""
    return {"SERPLATFORM_ADDRESS": "auto", "RAY_AUTH_MODE": "token", **os.environ}


# -- detached commands, on the head


class Job:
    """A detached command: a directory with ``job.json``, ``log`` and, at the end, ``exit``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = directory.name
        self.log = directory / "log"

    @classmethod
    def create(cls, arguments: list[str]) -> Job:
        """A directory for a new job, under a name that is free."""
        base = f"{arguments[0]}-{time.strftime('%Y%m%d-%H%M%S')}"
        for count in range(1, 1000):
            directory = JOBS.expanduser() / (base if count == 1 else f"{base}-{count}")
            with contextlib.suppress(FileExistsError):
                directory.mkdir(parents=True)
                return cls(directory)
        fail(f"{JOBS}: no free name for {base}", code=1)

    @classmethod
    def find(cls, words: list[str]) -> Job:
        """The job of that name; the last one where none is given."""
        found = list(cls.all())
        if len(words) > 1:
            fail(f"give one job, not {' '.join(words)}")
        if not found:
            fail(f"there are no jobs in {JOBS}; start one with --detach COMMAND")
        chosen = [job for job in found if not words or job.name == words[0]]
        if not chosen:
            fail(f"no job {words[0]!r}; there are: {', '.join(job.name for job in found)}")
        return chosen[-1]

    @classmethod
    def all(cls) -> Iterator[Job]:
        """Every job, the oldest first."""
        files = JOBS.expanduser().glob("*/job.json")
        for file in sorted(files, key=lambda file: file.stat().st_mtime_ns):
            yield cls(file.parent)

    def write(self, name: str, content: Any) -> None:
        """Write a JSON file under a temporary name, and rename it."""
        part = self.directory / f".{name}.partial"
        part.write_text(json.dumps(content), encoding="utf-8")
        part.rename(self.directory / name)

    def read(self) -> dict[str, Any]:
        """What was started, and as which processes."""
        content: dict[str, Any] = json.loads((self.directory / "job.json").read_text("utf-8"))
        return content

    @property
    def command(self) -> str:
        return shlex.join(["serplatform", *self.read()["arguments"]])

    @property
    def exit_code(self) -> int | None:
        """The command's exit code; None while it runs, and when it was killed with its guard."""
        try:
            return int(json.loads((self.directory / "exit").read_text("utf-8")))
        except FileNotFoundError:
            return None

    @property
    def runs(self) -> bool:
        """Whether the process that guards it is still there."""
        guard = self.read()["guard"]
        return bool(start_time(guard["pid"]) == guard["start"])

    def outcome(self) -> str:
        """One or two words for a list."""
        code = self.exit_code
        if code is not None:
            return f"exit {code}"
        return "running" if self.runs else "killed"


def start_time(process: int) -> str | None:
    """When a process started, in ticks of this machine's clock; None when it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return fields.rpartition(")")[2].split()[19]


def detach(arguments: list[str]) -> None:
    """Start a command that goes on when the connection ends."""
    if not arguments:
        fail("--detach needs a command: --detach search moma …")
    find_command()
    job = Job.create(arguments)
    read_end, write_end = os.pipe()
    subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), "--guard"]  # noqa: RUF005 (reads better)
        + [str(job.directory), str(write_end), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[write_end],
        start_new_session=True,
    )
    os.close(write_end)
    with os.fdopen(read_end, "rb") as started:
        if started.read() != b"started":
            fail(f"could not start; see {job.log}", code=1)
    print(f"Started as {job.name}; it goes on without this connection.")
    print(f"Follow it:  ray submit CLUSTER.yaml cluster/submit.py -- --watch {job.name}")
    print(f"Stop it:    ray submit CLUSTER.yaml cluster/submit.py -- --stop {job.name}")


def guard(directory: str, started: int, arguments: list[str]) -> None:
    """Run a job's command and write down how it ends (a process of its own)."""
    job = Job(Path(directory))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with job.log.open("ab") as log:
        command = subprocess.Popen(
            [find_command(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
    ends = {
        "guard": {"pid": os.getpid(), "start": start_time(os.getpid())},
        "command": {"pid": command.pid, "start": start_time(command.pid)},
    }
    job.write("job.json", {"arguments": arguments, "started": time.time(), **ends})
    os.write(started, b"started")
    os.close(started)
    code = command.wait()
    job.write("exit", code if code >= 0 else 128 - code)


def watch(job: Job, patience: float | None = None) -> int:
    """Print what a job says until it ends.

    Args:
        job: to follow.
        patience: seconds after which to give up; None: as long as it takes.

    Returns:
        its exit code; 1 when it was killed.
    """
    print(f"{job.name}: {job.command}", flush=True)
    begun = time.monotonic()
    with job.log.open("rb") as log:
        while True:
            ended = job.exit_code is not None or not job.runs  # looked at before the last read
            while chunk := log.read(65536):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
            if ended:
                break
            if patience is not None and time.monotonic() - begun > patience:
                fail(f"{job.name} still runs after {patience:.0f} s", code=1)
            time.sleep(0.5)
    code = job.exit_code
    if code is None:
        print(
            f"{job.name} was killed, or its machine restarted; "
            "a search goes on with: --detach search --resume --out RUN"
        )
        return 1
    print(f"{job.name} ended with exit code {code}")
    return code


def stop(job: Job) -> int:
    """Interrupt a job's command, which then writes its books, and wait for its end."""
    command = job.read()["command"]
    if job.exit_code is None and start_time(command["pid"]) == command["start"]:
        os.kill(command["pid"], signal.SIGINT)
    return watch(job, STOP_WAIT)


def list_jobs() -> None:
    """One line a job."""
    for job in Job.all():
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.read()["started"]))
        print(f"{job.name}  {begun}  {job.outcome():8s}  {job.command}")


# -- results, on the user's own machine


def fetch(words: list[str]) -> int:
    """Copy a run from the head, or from object storage, to this machine."""
    if len(words) not in (2, 3) or not words[0].endswith((".yaml", ".yml")):
        fail(
            "on your own machine, without `ray submit`: "
            "python cluster/submit.py --fetch CLUSTER.yaml RUN [TO]"
        )
    cluster, source = words[:2]
    target = Path(words[2] if len(words) == 3 else source.rstrip("/").rpartition("/")[2])
    if "://" in source:
        from pyarrow import fs

        fs.copy_files(source.rstrip("/"), str(target.resolve()))
    else:
        remote = source if source.startswith(("/", "~")) else f"~/{source}"
        ray = Path(sys.executable).parent / "ray"
        program = str(ray) if ray.exists() else "ray"
        target.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [program, "rsync-down", cluster, f"{remote.rstrip('/')}/", f"{target}/"], check=False
        )
        if done.returncode != 0:
            with contextlib.suppress(OSError):
                target.rmdir()  # only when nothing came
            fail(f"{source} could not be copied from the head of {cluster}", code=1)
    print(f"{source} is in {target}")
    return 0


def main(words: list[str]) -> int:
    """Do what the first word says; every other command line is one of ``serplatform``."""
    option, rest = (words[0], words[1:]) if words else ("", [])
    if option == "--guard":
        guard(rest[0], int(rest[1]), rest[2:])
    elif option == "--detach":
        detach(rest)
    elif option == "--jobs":
        list_jobs()
    elif option == "--watch":
        return watch(Job.find(rest))
    elif option == "--stop":
        return stop(Job.find(rest))
    elif option == "--fetch":
        return fetch(rest)
    else:
        run(words)
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
