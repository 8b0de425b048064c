"""How Ray starts on a machine that is kept busy: which commands fail, and what they leave.

Busy processes keep the machine at a load, the measured starts counted among it. Each start is a
whole ``serplatform prepare csv`` of a few synthetic clips into a directory of its own, the smallest
command that starts Ray. It is recorded how each ended: exit code, seconds, what stderr said first,
whether there was a traceback, and what was left a few seconds later: processes of Ray, directories
of its sessions, an output directory after a failure.

    python benchmarks/starts_under_load.py --starts 200 --load 20 --jobs 4 --out starts.json
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile

from serplatform.environment import hardware, now, versions

#: seconds after a command's end within which all its processes must have gone
GRACE = 6.0


def write_corpus(folder: Path, clips: int) -> Path:
    """A table of a few half-second tones."""
    rng = np.random.default_rng(0)
    lines = ["path,speaker,emotion"]
    time_axis = np.arange(8000) / 16_000
    for number in range(clips):
        tone = 0.3 * np.sin(2 * np.pi * (150 + 40 * number) * time_axis)
        name = f"clip{number:02d}.wav"
        soundfile.write(folder / name, tone + 0.01 * rng.standard_normal(8000), 16_000)
        lines.append(f"{name},s{number % 3},{('angry', 'sad')[number % 2]}")
    table = folder / "table.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


class Burner:
    """Busy processes that bring the machine to a load; a context manager.

    Args:
        load: that the machine is to have, as ``uptime`` shows it.
    """

    def __init__(self, load: float) -> None:
        self._load = load
        self._busy: list[subprocess.Popen[bytes]] = []
        self._ended = threading.Event()
        self.loads: list[float] = []

    def __enter__(self) -> Burner:
        threading.Thread(target=self._regulate, daemon=True).start()
        deadline = time.monotonic() + 240
        while os.getloadavg()[0] < 0.9 * self._load and time.monotonic() < deadline:
            time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for process in self._busy:
            process.kill()

    def _regulate(self) -> None:
        """Every two seconds, as many busy processes as lack among those that want to run now."""
        while not self._ended.wait(2.0):
            running = int(
                Path("/proc/loadavg").read_text(encoding="ascii").split()[3].split("/")[0]
            )
            self.loads.append(os.getloadavg()[0])
            others = max(0, running - len(self._busy) - 1)
            wanted = max(0, round(self._load) - others)
            while len(self._busy) < wanted:
                self._busy.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            while len(self._busy) > wanted:
                self._busy.pop().kill()


class Family:
    """All processes that a command has had, looked at four times a second while it runs."""

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


def start_once(folder: Path, table: Path, number: int) -> dict[str, Any]:
    """Run the command once, and look at what it leaves."""
    out = folder / f"out-{number}"
    # a short directory of its own for everything temporary: what is left there is this start's
    with tempfile.TemporaryDirectory(prefix="st-", dir="/tmp") as temporary:
        words = ["prepare", "csv", str(table), "--out", str(out), "--features", "log_mel_23"]
        begun = time.monotonic()
        log = folder / f"log-{number}"
        with log.open("wb") as stream:
            command = subprocess.Popen(
                [sys.executable, "-m", "serplatform", *words],
                stdout=subprocess.DEVNULL,
                stderr=stream,
                env={**os.environ, "TMPDIR": temporary, "OMP_NUM_THREADS": "1"},
            )
        family = Family(command.pid)
        while command.poll() is None:
            family.look()
            time.sleep(0.25)
        seconds = time.monotonic() - begun
        deadline = time.monotonic() + GRACE
        while (left := family.left()) and time.monotonic() < deadline:
            time.sleep(0.5)
        directories = [path.name for path in Path(temporary).iterdir()]
    told = log.read_text(encoding="utf-8", errors="replace")
    lines = told.splitlines()
    return {
        "code": command.returncode,
        "seconds": round(seconds, 1),
        "load": round(os.getloadavg()[0], 1),
        "first": lines[0] if lines else "",
        "last": lines[-1] if lines and command.returncode else "",
        "tries": 1 + sum("trying again" in line for line in lines),
        "traceback": "Traceback" in told,
        "processes_left": left,
        "directories_left": directories,
        "output_left": command.returncode != 0 and out.exists(),
    }


def measure(starts: int, load: float, jobs: int) -> dict[str, Any]:
    """Start so often, ``jobs`` at a time."""
    with tempfile.TemporaryDirectory(prefix="starts-") as name:
        folder = Path(name)
        table = write_corpus(folder, clips=6)
        with Burner(load) as burner, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            results = []
            for result in pool.map(lambda n: start_once(folder, table, n), range(starts)):
                results.append(result)
                print(len(results), json.dumps(result), file=sys.stderr, flush=True)
            loads = burner.loads
    seconds = sorted(result["seconds"] for result in results)
    return {
        "starts": starts,
        "jobs": jobs,
        "load_asked": load,
        "load_median": round(statistics.median(loads), 1) if loads else None,
        "codes": dict(collections.Counter(str(result["code"]) for result in results)),
        "tries": dict(collections.Counter(str(result["tries"]) for result in results)),
        "tracebacks": sum(result["traceback"] for result in results),
        "left_processes": sum(bool(result["processes_left"]) for result in results),
        "left_directories": sum(bool(result["directories_left"]) for result in results),
        "left_output": sum(result["output_left"] for result in results),
        "seconds": {
            "median": statistics.median(seconds),
            "p95": seconds[int(0.95 * (len(seconds) - 1))],
            "max": seconds[-1],
        },
        "failures": [result for result in results if result["code"] != 0],
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--load", type=float, default=20.0, help="0: no busy processes")
    parser.add_argument("--jobs", type=int, default=4, help="starts at a time")
    parser.add_argument("--out", type=Path, help="JSON file; default: stdout")
    return parser.parse_args()


def main() -> None:
    options = _parse()
    result = {
        "command": " ".join(sys.argv),
        "date": now(),
        "hardware": hardware(),
        "versions": versions(),
        **measure(options.starts, options.load, options.jobs),
    }
    text = json.dumps(result, indent=2) + "\n"
    if options.out is None:
        sys.stdout.write(text)
    else:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
