"""How much of an epoch is not forward, backward and step; and what saving a state costs.

Trains ``moma`` on random features, one thread. ``bare`` runs the model's arithmetic alone on
batches collated beforehand; ``loop`` is ``FoldTrainer.run_epoch`` with everything it does
(cutting and collating batches, the dev metrics, keeping the best weights). Both are measured
alternately and the medians compared. Prints one JSON object.

    OMP_NUM_THREADS=1 python benchmarks/training_loop.py
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from serplatform.datasets.batching import batches
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.models.kernels.memory import keep_freed_memory
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset
from serplatform.training.inference import EVALUATION_FRAMES
from serplatform.training.loop import FoldTrainer
from serplatform.training.optim import build_optimizer
from serplatform.training.trial_config import resolve


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--speakers", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = keep_freed_memory()
    with tempfile.TemporaryDirectory() as directory:
        path = make_dataset(
            directory, num_speakers=options.speakers, per_speaker=30, seconds=(0.8, 1.6)
        )
        print(json.dumps(measure(path, options) | {"keep_freed_memory": kept}, indent=2))


def measure(path: Path, options: argparse.Namespace) -> dict[str, object]:
    """Seconds of an epoch both ways, and of a saved state."""
    dataset = Dataset.open(path)
    plan = make_plan(dataset.utterances, "speaker-kfold:5", 0)
    config = resolve("moma", {"model.hidden_dim": options.hidden}, "benchmark")
    data = FoldData(dataset, plan, 0, config.data)
    trainer = FoldTrainer(config, data, seed=0)
    other = FoldTrainer(config, data, seed=0)
    model, criterion = other.model, other._criterion
    optimizer = build_optimizer(config.training, model.parameters())
    rows = {part: data.rows(part) for part in ("train", "dev")}
    rng = np.random.default_rng(0)
    cut = batches(data.lengths("train"), batch_size=config.training.batch_size, rng=rng)
    train = [data.collate(rows["train"][positions]) for positions in cut]
    cut = batches(data.lengths("dev"), batch_size=None, frames_per_batch=EVALUATION_FRAMES)
    dev = [data.collate(rows["dev"][positions]) for positions in cut]

    def bare() -> None:
        model.train()
        for batch in train:
            loss = criterion(model(batch, criterion).logits, batch.labels).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            for batch in dev:
                model(batch)

    def saving() -> None:
        trainer.save_state(path / "state")

    seconds: dict[str, list[float]] = {"bare": [], "loop": [], "save_state": []}
    for epoch in range(options.epochs + 1):
        for name, work in (("bare", bare), ("loop", trainer.run_epoch), ("save_state", saving)):
            begun = time.process_time() if name != "save_state" else time.perf_counter()
            work()
            ended = time.process_time() if name != "save_state" else time.perf_counter()
            if epoch:
                seconds[name].append(ended - begun)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "utterances": {part: len(r) for part, r in rows.items()},
        "mean_frames": float(data.lengths("train").mean()),
        "num_parameters": trainer.num_parameters,
        "epoch_cpu_seconds": {name: median[name] for name in ("bare", "loop")},
        "loop_overhead": median["loop"] / median["bare"] - 1,
        "save_state_seconds": median["save_state"],
        "state_megabytes": sum(f.stat().st_size for f in (path / "state").iterdir()) / 1e6,
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
