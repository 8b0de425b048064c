"""Memory of `serplatform predict - --stream` and its delay a window, over an hour of speech.

The clips of a folder, one after another, are written to its standard input as raw PCM. In minutes
1, 10, 30 and the last a line is awaited after each second, so that a window's delay is from its
last sample to its line; processor time is that of all the command's threads (Linux).

    python benchmarks/stream_hour.py RUN FOLDER [--minutes 60] [--first 2] [--rows FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from serplatform.corpora.audio import AUDIO_SUFFIXES, TARGET_RATE, read_audio


def seconds_of(folder: Path) -> Iterator[bytes]:
    """Samples of the folder's clips, again and again, a second at a time."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix in AUDIO_SUFFIXES)
    rest = b""
    for path in itertools.cycle(paths):
        rest += (read_audio(path).samples * 32_767).astype("<i2").tobytes()
        while len(rest) >= 2 * TARGET_RATE:
            yield rest[: 2 * TARGET_RATE]
            rest = rest[2 * TARGET_RATE :]


def processor_ms(pid: int) -> float:
    """Of all threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return 1e-6 * sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--first", type=int, default=2, help="seconds until the first line")
    parser.add_argument("--rows", type=Path, help="write the lines there")
    given = parser.parse_args()
    words = ["predict", given.run, "-", "--stream", "--format", "jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-m", "serplatform", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    source, sink = process.stdout, process.stdin
    assert source is not None
    assert sink is not None
    audio = seconds_of(given.folder)
    for _ in range(given.first):
        sink.write(next(audio))
    lines = [source.readline()]  # loading ends here
    for minute in range(1, given.minutes + 1):
        watched = minute in (1, 10, 30, given.minutes)
        found = []
        for content in itertools.islice(audio, 60 - given.first * (minute == 1)):
            before, begun = processor_ms(process.pid), time.perf_counter()
            sink.write(content)
            if watched:
                lines.append(source.readline())
                delay = 1e3 * (time.perf_counter() - begun)
                found.append((processor_ms(process.pid) - before, delay))
        if watched:
            (cpu, wall), (slow, late) = np.percentile(found, (50, 99), axis=0)
            memory = psutil.Process(process.pid).memory_info().rss / 2**20
            print(
                f"minute {minute}: {memory:.1f} MiB; a window's processor time p50 {cpu:.1f} ms, "
                f"p99 {slow:.1f} ms; its delay p50 {wall:.1f} ms, p99 {late:.1f} ms",
                flush=True,
            )
        else:
            lines += [source.readline() for _ in range(60)]
    sink.close()
    lines += source.readlines()
    print("last:", json.loads(lines[-1])["note"], f"exit {process.wait()}")
    if given.rows:
        given.rows.write_bytes(b"".join(lines))


if __name__ == "__main__":
    main()
