"""How a search ends on signals, and whether it goes on: 3 kinds × process or group × moments.

Each signal meets a small search on the demo corpus in its own session, as ``timeout``, Slurm,
systemd or a closing terminal would send it. The moments are spread over the phases, each waited for
by what the command has printed or written: imports, preparing the demo, starting Ray, the first
trial, a later trial, the ensemble, the report. It is recorded how the command ended: exit code,
seconds, the status in ``run.json``, the command that it printed, tracebacks, processes and session
directories left after a few seconds; then the printed command is given and must complete the run.

    python benchmarks/signals.py --moments 10 --out signals.json
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from serplatform.environment import hardware, now, versions

KINDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: phases in their order: what the command has printed when one begins, and the most seconds that
#: are waited in it
PHASES = {
    "imports": (None, 1.2),
    "demo": ("using the built-in demo corpus", 6.0),
    "start": ("Searching ", 3.0),
    "first trial": ("trial 0 ", 4.0),
    "later trial": ("trial 1 ", 4.0),
    "ensemble": ("Combining the finished trials", 0.6),
    "report": ("Writing the report", 0.3),
}
#: seconds after a command's end within which all its processes must have gone
GRACE = 6.0
#: seconds in which a command must have ended
LIMIT = 10.0

SPACE = """
architecture: csa
description: a small search of a few short trials
fixed: {model.channels: 8, training.learning_rate: 0.01, training.max_epochs: 4}
parameters:
  model.dropout: {type: float, low: 0.0, high: 0.5}
"""


class Family:
    """All processes that a command has had, looked at while it runs."""

    def __init__(self, number: int) -> None:
        self._root = psutil.Process(number)
        self._seen: set[psutil.Process] = set()

    def look(self) -> None:
        """Note the present descendants."""
        with contextlib.suppress(psutil.Error):
            self._seen.update(self._root.children(recursive=True))

    def left(self) -> list[str]:
        """Names of those that are still there."""
        found = []
        for process in self._seen:
            with contextlib.suppress(psutil.Error):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline())[:100])
        return found


def plan_moments(count: int) -> list[tuple[str, float]]:
    """Phases with a fraction of each one's seconds, spread evenly: at least one a phase."""
    phases = list(PHASES)
    rng = random.Random(0)  # noqa: S311 - moments, not secrets
    return [(phases[n % len(phases)], rng.random()) for n in range(count)]


def strike(
    folder: Path, kind: signal.Signals, group: bool, phase: str, fraction: float
) -> dict[str, Any]:
    """Start the search, signal it at a moment, and give the command that it prints."""
    space = folder / "space.yaml"
    space.write_text(SPACE, encoding="utf-8")
    run, log, temporary = folder / "run", folder / "log", folder / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    if phase == "demo":  # else the one that is in the user's cache already
        environment["XDG_CACHE_HOME"] = str(folder / "cache")
    words = ["search", "csa", "--space", str(space), "--out", str(run), "--trials", "3"]
    with log.open("wb") as stream:
        command = subprocess.Popen(
            [sys.executable, "-m", "serplatform", *words],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environment,
            start_new_session=True,
        )
    family = Family(command.pid)
    mark, longest = PHASES[phase]
    begun = time.monotonic()
    while command.poll() is None and time.monotonic() - begun < 600:
        family.look()
        if mark is None or mark.encode() in log.read_bytes():
            break
        time.sleep(0.05)
    time.sleep(0.25 + fraction * longest if phase == "imports" else fraction * longest)
    family.look()
    over_before = command.poll() is not None
    struck = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(command.pid, kind)
    while command.poll() is None and time.monotonic() - struck < 60:
        family.look()
        time.sleep(0.02)
    seconds = time.monotonic() - struck
    if command.poll() is None:
        command.kill()
        command.wait()
    deadline = time.monotonic() + GRACE
    while (left := family.left()) and time.monotonic() < deadline:
        time.sleep(0.2)
    told = log.read_text(encoding="utf-8", errors="replace")
    status = None
    if (run / "run.json").exists():
        status = json.loads((run / "run.json").read_text(encoding="utf-8"))["status"]
    goes_on = [line.strip() for line in told.splitlines() if line.startswith("  serplatform ")]
    result: dict[str, Any] = {
        "signal": kind.name,
        "to": "group" if group else "process",
        "phase": phase,
        "over_before": over_before,
        "code": command.returncode,
        "seconds": round(seconds, 2),
        "acknowledged": "Stopping" in told or phase == "imports",
        "status": status,
        "command": goes_on[-1] if goes_on else None,
        "traceback": "Traceback" in told,
        "processes_left": left,
        "directories_left": [path.name for path in temporary.glob("serplatform-*")],
        "resumed": None,
    }
    # where nothing had begun there is nothing to resume: the same command is given again
    again = shlex.split(goes_on[-1])[1:] if goes_on else words
    if not over_before:
        done = subprocess.run(
            [sys.executable, "-m", "serplatform", *again],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            check=False,
        )
        final = None
        with contextlib.suppress(OSError, ValueError, KeyError):
            final = json.loads((run / "run.json").read_text(encoding="utf-8"))["status"]
        complete = final == "complete" and (run / "report.html").exists()
        result["resumed"] = done.returncode == 0 and complete
        if not result["resumed"]:
            result["resumption"] = done.stderr.decode(errors="replace")[-500:]
    result["faults"] = list(_faults(result))
    if result["faults"]:
        result["told"] = told[-3000:]
    return result


def _faults(result: dict[str, Any]) -> list[str]:
    """What is not as promised."""
    if result["over_before"]:
        return [f"exit {result['code']} before the signal"] if result["code"] else []
    faults = []
    finished = result["code"] == 0 and result["status"] == "complete"  # it was quicker
    if result["code"] != 130 and not finished:
        faults.append(f"exit {result['code']}")
    if result["seconds"] > LIMIT:
        faults.append(f"{result['seconds']} s")
    if result["status"] not in (None, "interrupted") and not finished:
        faults.append(f"status {result['status']}")
    if result["status"] is not None and result["command"] is None and not finished:
        faults.append("no command that goes on")
    faults += [name for name in ("traceback", "processes_left", "directories_left") if result[name]]
    if not result["resumed"]:
        faults.append("not resumed")
    return faults


def measure(moments: int, kinds: Sequence[signal.Signals]) -> dict[str, Any]:
    """Every kind, to the process and to its group, at so many moments."""
    from serplatform.distributed.prepare import ensure_demo

    subprocess.run(  # in a process of its own, which takes its Ray along
        [sys.executable, "-c", f"from {ensure_demo.__module__} import ensure_demo; ensure_demo()"],
        check=True,
    )
    results = []
    for kind in kinds:
        for group in (False, True):
            for phase, fraction in plan_moments(moments):
                # short: Ray's sockets lie below
                folder = Path(tempfile.mkdtemp(prefix="sg-", dir="/tmp"))
                try:
                    results.append(strike(folder, kind, group, phase, fraction))
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                print(len(results), json.dumps(results[-1]), file=sys.stderr, flush=True)
    met = [result for result in results if not result["over_before"]]
    seconds = sorted(result["seconds"] for result in met)
    return {
        "signals": len(results),
        "over_before": len(results) - len(met),
        "codes": dict(collections.Counter(str(result["code"]) for result in met)),
        "statuses": dict(collections.Counter(str(result["status"]) for result in met)),
        "resumed": sum(bool(result["resumed"]) for result in met),
        "seconds": {"median": statistics.median(seconds), "max": seconds[-1]} if seconds else None,
        "faults": [result for result in results if result["faults"]],
        "all": results,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=10, help="of each kind and addressee")
    names = [kind.name for kind in KINDS]
    parser.add_argument("--kinds", nargs="+", choices=names, default=names)
    parser.add_argument("--out", type=Path, help="JSON file; default: stdout")
    options = parser.parse_args()
    result = {
        "command": " ".join(sys.argv),
        "date": now(),
        "hardware": hardware(),
        "versions": versions(),
        **measure(options.moments, [signal.Signals[name] for name in options.kinds]),
    }
    text = json.dumps(result, indent=2) + "\n"
    if options.out is None:
        sys.stdout.write(text)
    else:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
