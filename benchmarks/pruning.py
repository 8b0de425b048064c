"""Which pruner leaves the best ensemble at equal time, replayed from trials that were all trained.

``tabulate`` trains configurations of the packaged spaces of reduced sizes to their end: for each
architecture the first is its paper's (at those sizes), the others are drawn at random. It keeps
what a trial reports after every epoch, the processor seconds of the epoch, and the posteriors of
dev and test rows. It saves as it goes, and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from search_table import HeldFold

from serplatform.artifacts.files import atomic_path
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.environment import hardware, versions
from serplatform.models.kernels.memory import keep_freed_memory
from serplatform.protocols.plan import make_plan, plan_hash
from serplatform.seeding import derive_seed
from serplatform.studies.space import SearchSpace, make_space, paper_point, read_space_file
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import TrialConfig, resolve

RESULTS = Path(__file__).parent / "results"


#: configurations on one vector an utterance, for a dataset that has these features
VECTORS = {
    "architecture": "functionals_mlp",
    "description": "a perceptron on one vector an utterance",
    "fixed": {
        "data.trim": False,
        "model.functionals": "mean",
        "model.deltas": False,
        "training.batch_size": 128,
        "training.max_epochs": 20,
        "training.patience": 20,
    },
    "parameters": {
        "data.feature": {
            "type": "choice",
            "values": ["egemaps_v02", *(f"pretrained:whisper-tiny.en@{n}:pooled" for n in (1, 3))],
        },
        "data.normalization": {"type": "choice", "values": ["train", "speaker"]},
        "model.hidden_dim": {"type": "choice", "values": [32, 128, 512]},
        "model.input_dropout": {"type": "float", "low": 0.0, "high": 0.8},
        "model.dropout": {"type": "float", "low": 0.1, "high": 0.9},
        "training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "training.weight_decay": {"type": "float", "low": 1e-3, "high": 1.0, "log": True},
        "training.mixup": {"type": "choice", "values": [0.0, 0.4]},
    },
}


def space_of(architecture: str) -> SearchSpace:
    """The packaged space of reduced sizes, or :data:`VECTORS` for ``functionals_mlp-vectors``."""
    if architecture == "functionals_mlp-vectors":
        return make_space(VECTORS, "benchmarks/pruning.py")
    return make_space(*read_space_file(f"{architecture}-small"))


def configurations(space: SearchSpace, count: int) -> list[dict[str, Any]]:
    """The paper's settings where the space holds them, then random ones."""
    paper = paper_point(space)
    found = [] if paper is None else [{**space.fixed, **paper}]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    while len(found) < count:
        found.append({**space.fixed, **space.suggest(study.ask())})
    return found


def train(config: TrialConfig, folds: Iterable[FoldData], seed: int) -> list[dict[str, Any]]:
    """One row a fold: the objective and the seconds of each epoch, and the posteriors."""
    rows = []
    begun = time.process_time()
    for fold, part in enumerate(folds):
        trainer = FoldTrainer(config, part, seed=derive_seed(seed, "fold", fold))
        reported, seconds = [], []
        while not trainer.finished:
            trainer.run_epoch()
            reported.append(trainer.best_metrics["uar"])
            seconds.append(time.process_time() - begun)
            begun = time.process_time()
        posteriors = {p: trainer.posteriors(p).astype(np.float16) for p in ("dev", "test")}
        rows.append(
            {
                "fold": fold,
                "reported": np.array(reported, np.float32),
                "seconds": np.array(seconds, np.float32),
                **{part: values.ravel() for part, values in posteriors.items()},
            }
        )
    return rows


def tabulate(data: str, protocol: str, counts: dict[str, int], out: Path, command: str) -> None:
    """Train what is missing in ``out``."""
    torch.set_num_threads(1)
    keep_freed_memory()
    dataset = Dataset.open(data)
    plan = make_plan(dataset.utterances, protocol, 0, classes=dataset.classes)
    rows: list[dict[str, Any]] = pq.read_table(out).to_pylist() if out.exists() else []
    have = {(row["architecture"], row["configuration"]) for row in rows}
    held: dict[Any, list[FoldData]] = {}
    meta: dict[str, Any] = {
        "command": command,
        "protocol": plan.protocol,
        "folds_hash": plan_hash(plan),
        "dataset_fingerprint": dataset.fingerprint,
        "corpus": dataset.meta["title"],
        "classes": list(plan.classes),
        "versions": versions(),
        "hardware": hardware(),
    }
    spaces = {name: space_of(name) for name in counts}
    drawn = {name: configurations(spaces[name], count) for name, count in counts.items()}
    for number, name in itertools.product(range(max(counts.values())), counts):
        if number >= counts[name] or (name, number) in have:
            continue
        values = drawn[name][number]
        config = resolve(spaces[name].architecture, values, "table")
        vectors = name.endswith("-vectors")
        kind = HeldFold if vectors else FoldData
        if config.data not in held or not vectors:
            held[config.data] = [
                kind(dataset, plan, f, config.data) for f in range(len(plan.folds))
            ]
        folds = held[config.data]
        meta["truth"] = [{p: f.labels(p).tolist() for p in ("dev", "test")} for f in folds]
        trained = train(config, folds, derive_seed(0, "trial", name, number))
        shared = {"architecture": name, "configuration": number, "values": json.dumps(values)}
        rows += [shared | row for row in trained]
        table = pa.Table.from_pylist(rows)
        with atomic_path(out) as temporary:
            described = table.replace_schema_metadata({"serplatform": json.dumps(meta)})
            pq.write_table(described, temporary, compression="zstd")
        spent = sum(float(row["seconds"].sum()) for row in trained)
        reached = np.mean([row["reported"][-1] for row in trained])
        print(f"{name} {number}: {spent:.1f} s, dev UAR {reached:.3f}", flush=True)


def main() -> None:
    """Tabulate, or replay and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("tabulate", help="train the configurations")
    making.add_argument("--data", required=True, help="a prepared dataset")
    making.add_argument("--protocol", required=True)
    making.add_argument("--out", type=Path, required=True)
    making.add_argument("counts", nargs="+", help="ARCHITECTURE=CONFIGURATIONS")
    options = parser.parse_args()
    command = shlex.join(["python", "benchmarks/pruning.py", *sys.argv[1:]])
    if options.command == "tabulate":
        counts = {name: int(n) for name, n in (text.split("=") for text in options.counts)}
        tabulate(options.data, options.protocol, counts, options.out, command)


if __name__ == "__main__":
    main()
