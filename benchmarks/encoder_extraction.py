"""Extraction of a frozen encoder's layers: ``prepare`` on two cores against a plain loop on one.

The loop is what most people write: one process, one thread, clip by clip, all layers of one
pass kept. ``prepare`` starts Ray, reads and checks the corpus, stores frames, and is timed as a
whole command, its start included. Then a second ``prepare`` adds layers to the same dataset.

    python benchmarks/encoder_extraction.py ENCODER DATASET [--clips 400]

Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pyarrow.parquet as pq
import torch
from threadpoolctl import threadpool_limits

from serplatform.corpora.audio import read_audio
from serplatform.encoders.open import open_encoder
from serplatform.environment import hardware, now, versions


def plain_loop(encoder_path: str, files: list[Path]) -> float:
    """Seconds for all files, loading of the weights included."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    with threadpool_limits(limits=1):
        encoder = open_encoder(encoder_path)
        layers = range(encoder.num_layers + 1)
        for file in files:
            encoder.hidden_states(read_audio(file).samples, layers)
    return time.perf_counter() - began


def prepare(source: Path, out: Path, feature: str) -> float:
    """Seconds of the whole command."""
    command = [sys.executable, "-m", "serplatform", "prepare", "csv", str(source)]
    command += ["--out", str(out), "--features", feature, "--workers", "2", "--allow-outside"]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("encoder")
    parser.add_argument("dataset", type=Path, help="prepared before: its recordings are taken")
    parser.add_argument("--clips", type=int, default=400)
    options = parser.parse_args()
    meta = json.loads((options.dataset / "dataset.json").read_text(encoding="utf-8"))
    table = pq.read_table(options.dataset / "utterances.parquet").slice(0, options.clips)
    root = Path(meta["request"]["root"])
    files = [root / path for path in table["path"].to_pylist()]
    seconds: dict[str, Any] = {"plain_loop": plain_loop(options.encoder, files)}
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch, "clips.csv"), Path(scratch, "data")
        rows = zip(
            files, table["emotion"].to_pylist(), table["speaker_id"].to_pylist(), strict=True
        )
        lines = [f"{file},{emotion},{speaker}" for file, emotion, speaker in rows]
        source.write_text("\n".join(["file,emotion,speaker", *lines, ""]), encoding="utf-8")
        seconds["prepare"] = prepare(source, out, f"pretrained:{options.encoder}@all:pooled")
        before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.arrow")}
        seconds["again"] = prepare(source, out, f"pretrained:{options.encoder}@all:pooled")
        seconds["one_layer_added"] = prepare(source, out, f"pretrained:{options.encoder}@1")
        kept = {name: (out / name).stat().st_mtime_ns for name in before} == before
    result = {
        "command": " ".join(sys.argv),
        "when": now(),
        "hardware": hardware(),
        "versions": versions(),
        "clips": len(files),
        "audio_seconds": sum(table["duration"].to_pylist()),
        "seconds": seconds,
        "ratio": seconds["plain_loop"] / seconds["prepare"],
        "stored_layers_untouched": kept,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
