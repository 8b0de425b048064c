"""Feature extraction: ours on two CPUs against a plain librosa loop on one thread.

Both read the same files and compute the same features in one run; ours also measures level,
speech bounds and hash of each clip, writes the dataset and verifies nothing less than
``serplatform prepare`` does. Starting Ray and the first import in a worker are reported apart.

    python benchmarks/extraction.py speed                      # demo corpus, 1,000 clips
    python benchmarks/extraction.py speed --ravdess DIR
    python benchmarks/extraction.py memory --utterances 2000 --utterances 20000

Prints one JSON object: hardware, versions, date, command, numbers.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

FEATURES = ("log_mel_23", "log_mel_40", "mfcc_40")
CPUS = 2


def librosa_loop(files: list[Path]) -> float:
    """Seconds a clip of the loop that most people write, on one thread."""
    import librosa
    import numpy as np
    from threadpoolctl import threadpool_limits

    def clip(path: Path) -> None:
        samples, rate = librosa.load(path, sr=16_000)
        spans = {"n_fft": 512, "win_length": 400, "hop_length": 160}
        for n_mels in (23, 40):
            mel = librosa.feature.melspectrogram(y=samples, sr=rate, n_mels=n_mels, **spans)
            np.log(np.maximum(mel, 1e-10))
        librosa.feature.mfcc(y=samples, sr=rate, n_mfcc=40, n_mels=64, **spans)

    with threadpool_limits(limits=1):
        for path in files[:3]:  # imports, caches, compilation
            clip(path)
        began = time.perf_counter()
        for path in files:
            clip(path)
        return (time.perf_counter() - began) / len(files)


def ours(corpus: str, source: Path, out: Path, workers: int) -> tuple[float, float, int]:
    """Seconds a clip, seconds of the whole call, clips; Ray runs and its workers are warm."""
    from serplatform.distributed.prepare import prepare

    seen: list[Any] = []
    summary = prepare(corpus, source, out, features=FEATURES, workers=workers, progress=seen.append)
    utterances = summary.meta["counts"]["utterances"]
    return seen[-1].seconds / utterances, summary.seconds, utterances


def speed(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Alternate both, several times; the median of each."""
    from serplatform.distributed.cluster import connect
    from serplatform.distributed.prepare import prepare

    began = time.perf_counter()
    connect(num_cpus=CPUS)
    started = time.perf_counter() - began
    if arguments.ravdess:
        corpus, source = "ravdess", Path(arguments.ravdess)
    else:
        made = scratch / "demo"
        prepare("demo", None, made, features=["log_mel_23"], options={"utterances": 1_000})
        corpus, source = "csv", scratch / "demo" / "index.csv"
        rows = [
            f"{p.relative_to(made)},{p.stem.split('_')[-1]},{p.parent.name}"
            for p in sorted(made.glob("audio/*/*.flac"))
        ]
        source.write_text("\n".join(["file,emotion,speaker", *rows]) + "\n")
    root = source if source.is_dir() else source.parent
    files = sorted(p for p in root.rglob("*") if p.suffix in (".wav", ".flac"))
    shutil.rmtree(scratch / "warm", ignore_errors=True)
    ours(corpus, source, scratch / "warm", CPUS)
    loop, two, one, whole = [], [], [], []
    for number in range(arguments.repeats):
        loop.append(librosa_loop(files))
        per_clip, seconds, clips = ours(corpus, source, scratch / f"two-{number}", CPUS)
        two.append(per_clip)
        whole.append(seconds)
        one.append(ours(corpus, source, scratch / f"one-{number}", 1)[0])
    return {
        "corpus": corpus if arguments.ravdess else "demo",
        "clips": clips,
        "features": FEATURES,
        "repeats": arguments.repeats,
        "ray_start_seconds": round(started, 2),
        "librosa_ms_a_clip": round(1e3 * statistics.median(loop), 3),
        "ours_2_cpus_ms_a_clip": round(1e3 * statistics.median(two), 3),
        "ours_1_cpu_ms_a_clip": round(1e3 * statistics.median(one), 3),
        "speedup_2_cpus": round(statistics.median(loop) / statistics.median(two), 2),
        "speedup_1_cpu": round(statistics.median(loop) / statistics.median(one), 2),
        "whole_prepare_seconds": round(statistics.median(whole), 2),
    }


class Watch(threading.Thread):
    """Largest private memory (USS) of this process and of any extraction worker, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.driver = 0.0
        self.worker = 0.0
        self.stopped = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        me = psutil.Process()
        while not self.stopped.wait(0.2):
            self.driver = max(self.driver, me.memory_full_info().uss / 1e6)
            for process in me.children(recursive=True):
                try:
                    if "extract" in " ".join(process.cmdline()):
                        self.worker = max(self.worker, process.memory_full_info().uss / 1e6)
                except psutil.Error:
                    continue


def memory(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Peak memory of driver and workers for corpora of several sizes, each in a new process."""
    import subprocess

    rows = []
    for utterances in arguments.utterances or [2_000, 20_000]:
        command = [sys.executable, __file__, "one", "--utterances", str(utterances)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1])["result"])
    return {
        "rows": rows,
        "worker_growth": round(rows[-1]["worker_peak_mb"] / rows[0]["worker_peak_mb"], 3),
        "driver_growth": round(rows[-1]["driver_peak_mb"] / rows[0]["driver_peak_mb"], 3),
    }


def one(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Peak memory of one preparation."""
    from serplatform.distributed.cluster import connect
    from serplatform.distributed.prepare import prepare

    connect(num_cpus=CPUS)
    watch = Watch()
    watch.start()
    (utterances,) = arguments.utterances
    summary = prepare(
        "demo",
        None,
        scratch / "demo",
        options={"utterances": utterances, "speakers": 40},
        workers=CPUS,
    )
    watch.stopped.set()
    watch.join()
    return {
        "utterances": utterances,
        "seconds": round(summary.seconds, 1),
        "worker_peak_mb": round(watch.worker, 1),
        "driver_peak_mb": round(watch.driver, 1),
    }


def main() -> None:
    """Run one benchmark and print its JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["speed", "memory", "one"])
    parser.add_argument("--ravdess", help="directory of the corpus; without it, the demo corpus")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--utterances", type=int, action="append")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result = {"speed": speed, "memory": memory, "one": one}[arguments.what](
            arguments, Path(scratch)
        )
    packages = ("serplatform", "ray", "librosa", "numpy", "scipy", "soundfile", "soxr")
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except ImportError:
            versions[package] = "source tree"
    print(
        json.dumps(
            {
                "benchmark": f"extraction {arguments.what}",
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "command": " ".join(["python benchmarks/extraction.py", *sys.argv[1:]]),
                "hardware": {
                    "processor": _processor(),
                    "cpus": os.cpu_count(),
                    "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
                    "load_at_end": [round(x, 2) for x in os.getloadavg()],
                },
                "versions": {"python": platform.python_version(), **versions},
                "result": result,
            }
        )
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
