"""`serplatform predict - --stream` over an hour of speech: memory, delay, and whether it is right.

    python benchmarks/stream_hour.py RUN DATA FOLDER --out benchmarks/results/stream_hour.json
        [--minutes 60] [--first 2]

The clips of a dataset, in an order that is drawn once and again and again, are written as raw PCM
to the command's standard input. In minutes 1, 10, 30 and the last a line is awaited after each
second, so that a window's delay is from its last sample to its line; processor time is that of all
the command's threads (Linux). Afterwards the first ten minutes are given to the same model with
``--window 3 --hop 1``. Of each clip the answer that stands at its last whole second is compared
with its emotion, for the state that is carried over all clips and for windows. Where the run's
model was trained on these clips, the two can be compared with one another, and neither says how
good the model is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from serplatform.corpora.audio import TARGET_RATE, read_audio
from serplatform.datasets.dataset import Dataset
from serplatform.environment import hardware, now, versions
from serplatform.run_directory import RunDirectory

WINDOWS = ["--window", "3", "--hop", "1"]
COMPARED_MINUTES = 10
#: (emotion, last whole second of the stream that the clip fills)
Clip = tuple[str, int]


def seconds_of(data: Dataset, folder: Path, clips: list[Clip]) -> Iterator[bytes]:
    """Samples of the dataset's clips, a second at a time; notes each clip that is whole."""
    order = np.random.default_rng(0).permutation(len(data))
    columns = data.utterances.select(["path", "emotion"]).to_pydict()
    rest, samples = b"", 0
    for row in itertools.cycle(order.tolist()):
        audio = read_audio(folder / columns["path"][row]).samples
        rest, samples = rest + (audio * 32_767).astype("<i2").tobytes(), samples + len(audio)
        clips.append((columns["emotion"][row], samples // TARGET_RATE))
        while len(rest) >= 2 * TARGET_RATE:
            yield rest[: 2 * TARGET_RATE]
            rest = rest[2 * TARGET_RATE :]


def processor_ms(pid: int) -> float:
    """Of all threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return 1e-6 * sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def command(run: str, *more: str) -> list[str]:
    """Of the classifier of standard input."""
    words = ["predict", run, "-", "--stream", "--format", "jsonl", *more]
    return [sys.executable, "-m", "serplatform", *words]


def right(lines: Sequence[bytes], clips: Sequence[Clip]) -> dict[str, Any]:
    """Share of clips whose emotion is the answer that ends with their last whole second."""
    rows = [json.loads(line) for line in lines]
    answers = {round(row["end"]): row["emotion"] for row in rows if row.get("part") != "whole"}
    found = [answers[end] == emotion for emotion, end in clips if end in answers]
    return {"clips": len(found), "right": float(np.mean(found))}


def main() -> None:
    """Stream, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path, help="that the dataset's paths begin in")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--first", type=int, default=2, help="seconds until the first line")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    process = subprocess.Popen(
        command(given.run), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    source, sink = process.stdout, process.stdin
    assert source is not None
    assert sink is not None
    clips: list[Clip] = []
    data, begun_at, measured = Dataset.open(given.data), now(), []
    audio = seconds_of(data, given.folder, clips)
    head: list[bytes] = []
    for _ in range(given.first):
        head.append(next(audio))
        sink.write(head[-1])
    lines = [source.readline()]  # loading ends here
    for minute in range(1, given.minutes + 1):
        watched = minute in (1, 10, 30, given.minutes)
        found = []
        for content in itertools.islice(audio, 60 - given.first * (minute == 1)):
            if minute <= COMPARED_MINUTES:
                head.append(content)
            before, begun = processor_ms(process.pid), time.perf_counter()
            sink.write(content)
            if watched:
                lines.append(source.readline())
                delay = 1e3 * (time.perf_counter() - begun)
                found.append((processor_ms(process.pid) - before, delay))
        if watched:
            (cpu, wall), (slow, late) = np.percentile(found, (50, 99), axis=0)
            memory = psutil.Process(process.pid).memory_info().rss / 2**20
            measured.append(
                {
                    "minute": minute,
                    "memory_mib": round(memory, 1),
                    "processor_ms": {"median": cpu, "p99": slow},
                    "delay_ms": {"median": wall, "p99": late},
                }
            )
            print(json.dumps(measured[-1]), flush=True)
        else:
            lines += [source.readline() for _ in range(60)]
    sink.close()
    lines += source.readlines()
    status = process.wait()
    windows = subprocess.run(
        command(given.run, *WINDOWS), input=b"".join(head), stdout=subprocess.PIPE, check=True
    ).stdout.splitlines()
    compared = [clip for clip in clips if clip[1] <= len(head)]
    content = {
        "what": "predict - --stream over speech without an end",
        "date": begun_at,
        "command": "python benchmarks/stream_hour.py RUN DATA FOLDER"
        f" --minutes {given.minutes} --out benchmarks/results/{given.out.name}",
        "model": RunDirectory(Path(given.run)).read_run()["command"],
        "minutes": given.minutes,
        "clips": len(compared),
        "exit": status,
        "note": json.loads(lines[-1])["note"],
        "measured": measured,
        "right": {
            "carried": right(lines, compared),
            " ".join(WINDOWS): right(windows, compared),
        },
        "dataset": {"corpus": data.meta["corpus"], "fingerprint": data.fingerprint},
        "hardware": hardware(),
        "versions": versions(),
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content["right"]))


if __name__ == "__main__":
    main()
