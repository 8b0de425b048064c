"""Time training steps with glibc's default allocator settings and with freed memory kept.

Each case is a process of its own that trains a small convolution + BLSTM classifier on random
frames, one thread: ``default``; ``call``, with ``keep_freed_memory()``; ``environment``, with
the variables that must be set before a process starts. ``--thread`` trains in a second thread,
as a trial actor does. Prints one JSON object.

    python benchmarks/allocator.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time

ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "2147483647",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}


def train(steps: int, batch_size: int, num_frames: int) -> dict[str, float]:
    """Seconds a step, by kind, after three steps to warm up."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    convolution = nn.Sequential(
        nn.Conv1d(23, 64, 5, padding=2), nn.BatchNorm1d(64), nn.ReLU(), nn.Conv1d(64, 64, 3)
    )
    blstm = nn.LSTM(64, 64, bidirectional=True, batch_first=True)
    head = nn.Linear(128, 8)
    model = nn.ModuleList([convolution, blstm, head])
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    begun = used = None
    for step in range(steps + 3):
        if step == 3:
            begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        length = num_frames - 7 * (step % 10)  # batches of buckets differ in length
        frames = torch.randn(batch_size, 23, length)
        hidden, _ = blstm(convolution(frames).transpose(1, 2))
        loss = nn.functional.cross_entropy(
            head(hidden.mean(dim=1)), torch.zeros(batch_size, dtype=torch.long)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert begun is not None
    assert used is not None
    ended = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_s": (time.perf_counter() - begun) / steps,
        "user_s": (ended.ru_utime - used.ru_utime) / steps,
        "system_s": (ended.ru_stime - used.ru_stime) / steps,
        "page_faults": (ended.ru_minflt - used.ru_minflt) / steps,
        "peak_memory_mb": ended.ru_maxrss / 1024,
    }


def measure(case: str, options: argparse.Namespace) -> dict[str, float]:
    """Run one case in a fresh process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment.update(OMP_NUM_THREADS="1", **(ENVIRONMENT if case == "environment" else {}))
    command = [sys.executable, __file__, "--case", case]
    command += ["--steps", str(options.steps), "--batch-size", str(options.batch_size)]
    command += ["--frames", str(options.frames), *(["--thread"] if options.thread else [])]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measure every case and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--frames", type=int, default=370)
    parser.add_argument("--thread", action="store_true", help="train in a second thread")
    parser.add_argument("--case", choices=["default", "call", "environment"])
    options = parser.parse_args()
    if options.case is None:
        import torch

        cases = {name: measure(name, options) for name in ("default", "call", "environment")}
        default = cases["default"]
        report = {
            "command": " ".join(["python", "benchmarks/allocator.py", *sys.argv[1:]]),
            "machine": platform.machine(),
            "libc": " ".join(platform.libc_ver()),
            "torch": torch.__version__,
            "date": time.strftime("%Y-%m-%d"),
            "cases": cases,
            "speedup": {n: default["wall_s"] / c["wall_s"] for n, c in cases.items()},
            "system_share": {
                n: c["system_s"] / (c["user_s"] + c["system_s"]) for n, c in cases.items()
            },
        }
        print(json.dumps(report, indent=2))
        return
    if options.case == "call":
        from serplatform.models.kernels.memory import keep_freed_memory

        if not keep_freed_memory():
            raise SystemExit("the allocator did not take the settings")
    result: dict[str, float] = {}

    def work() -> None:
        result.update(train(options.steps, options.batch_size, options.frames))

    if options.thread:
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    else:
        work()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
