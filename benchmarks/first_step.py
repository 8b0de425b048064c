"""Seconds from the command to the first training step of its first trial, and what they go to.

Runs `serplatform search` of one small trial on a dataset and watches the run from outside: the
lines that it tells, its first worker's process, and the state that is saved after the first epoch,
whose own seconds are taken off.

    python benchmarks/first_step.py data/demo [--architecture moma] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import psutil


def first_step(data: Path, architecture: str, out: Path) -> dict[str, float]:
    """Seconds after the command's start: what was told when, the first worker, the first step."""
    words = ["search", architecture, "--small", "--data", str(data), "--out", str(out)]
    words += ["--trials", "1", "--combiner", "none", "--no-explain", "--set", "max_epochs=2"]
    begun = time.monotonic()
    before = time.time()
    process = subprocess.Popen(
        [sys.executable, "-m", "serplatform", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    found: dict[str, float] = {}

    def follow() -> None:
        for line in process.stderr or ():
            found.setdefault(f"told: {line.strip()[:60]}", time.monotonic() - begun)

    threading.Thread(target=follow, daemon=True).start()
    progress = out / "state" / "trial-00000" / "progress.json"
    while process.poll() is None and "first step" not in found:
        time.sleep(0.02)
        if progress.exists():
            written = progress.stat().st_mtime - before
            epoch = json.loads(progress.read_text(encoding="utf-8"))["history"][0]
            found["first epoch saved"] = written
            found["first step"] = written - float(epoch["seconds"])
    children = (
        psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    )
    for child in children:
        if "ray::" in " ".join(child.cmdline()) or child.name().startswith("ray::"):
            used = child.cpu_times()
            key = f"processor seconds of {child.name()}"
            found[key] = max(found.get(key, 0.0), used.user + used.system)
    if process.poll() is None:
        used = psutil.Process(process.pid).cpu_times()
        found["processor seconds of the command"] = used.user + used.system
    process.wait()
    if "first step" not in found:
        raise SystemExit(f"the trial saved no epoch (exit code {process.returncode})")
    return found


def main() -> None:
    """Measure some times and print the median and each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--architecture", default="moma")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    times = []
    for _ in range(asked.repeats):
        with tempfile.TemporaryDirectory() as folder:
            found = first_step(asked.data.absolute(), asked.architecture, Path(folder, "run"))
        times.append(found["first step"])
        for name, seconds in sorted(found.items(), key=lambda item: item[1]):
            print(f"{seconds:7.2f}  {name}")
        print(f"load {os.getloadavg()[0]:.1f}\n")
    print(f"first step after {median(times):.2f} s (median of {[round(t, 2) for t in times]})")


if __name__ == "__main__":
    main()
