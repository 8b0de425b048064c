"""Depth against width: MOMA with 1 to 6 blocks in a mixture and 1 to 3 mixtures one on another.

    python benchmarks/moma_depth.py DATA WORK --out benchmarks/results/moma_depth.json
        [--protocol speaker-kfold:4] [--feature log_mel_23] [--hidden 32] [--epochs 10] [--seeds 2]

Every cell is one configuration, trained on every fold and with every seed by ``serplatform
search``; a seed's run is kept in WORK and resumed. Numbers are of dev rows, whose best epoch is
kept: the mean dev UAR of a cell, and how far dev NLL lies above the training loss, at the kept
epoch and at the last one.

Beside OUT.json stands OUT.parquet: the dev posteriors of every cell and seed, from which
``recompute.py`` computes what is ``pooled`` and ``over_folds`` again. A cell's dev UAR and NLL are
means over folds, then over seeds; training losses are the trials' own records.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from publish import write

from serplatform.datasets.dataset import Dataset
from serplatform.environment import hardware, now, versions
from serplatform.report.figures.depth_and_width import DEPTH, WIDTH, loss_gap
from serplatform.report.load import ReportTrial
from serplatform.run_directory import RunDirectory

BLOCKS, LAYERS = (1, 3, 6), (1, 2, 3)


def space(arguments: argparse.Namespace) -> dict[str, Any]:
    """The grid; a YAML file may hold JSON."""
    cells = [{WIDTH: b, DEPTH: d} for d, b in itertools.product(LAYERS, BLOCKS)]
    cells.remove({WIDTH: 3, DEPTH: 1})  # the paper's, which is the first trial
    return {
        "architecture": "moma",
        "description": "MOMA over blocks and stacked mixtures, all else fixed.",
        "fixed": {
            "model.hidden_dim": arguments.hidden,
            "model.attention_dim": arguments.hidden,
            "data.feature": arguments.feature,
            "data.trim": True,
            "training.learning_rate": 2e-3,
            "training.batch_size": 16,
            "training.max_epochs": arguments.epochs,
        },
        "parameters": {
            WIDTH: {"type": "choice", "values": list(BLOCKS)},
            DEPTH: {"type": "choice", "values": list(LAYERS)},
        },
        "try_first": cells,
    }


def cell(trials: list[ReportTrial]) -> dict[str, Any]:
    """Numbers of one cell over seeds and folds."""
    uar = [[fold["uar"] for fold in trial.fold_dev] for trial in trials]
    last = []
    for trial in trials:
        ends = {entry["fold"]: entry for entry in trial.history}  # the last of each fold
        last += [entry["dev"]["nll"] - entry["train_loss"] for entry in ends.values()]
    return {
        "dev_uar": float(np.mean(uar)),
        "dev_uar_by_seed": [float(np.mean(folds)) for folds in uar],
        "dev_nll": float(np.mean([[f["nll"] for f in t.fold_dev] for t in trials])),
        "gap_at_kept_epoch": float(np.mean([loss_gap(trial) for trial in trials])),
        "gap_at_last_epoch": float(np.mean(last)),
        "parameters": trials[0].record["num_parameters"],
    }


def main() -> None:
    """Search, read, publish."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--protocol", default="speaker-kfold:4")
    parser.add_argument("--feature", default="log_mel_23")
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    grid = arguments.work / "grid.yaml"
    grid.write_text(json.dumps(space(arguments), indent=1), encoding="utf-8")
    trials: list[ReportTrial] = []
    commands = []
    for seed in range(arguments.seeds):
        run = arguments.work / f"seed-{seed}"
        command = ["search", "moma", "--data", str(arguments.data), "--out", str(run)]
        command += ["--space", str(grid), "--protocol", arguments.protocol, "--seed", str(seed)]
        command += ["--trials", str(len(BLOCKS) * len(LAYERS)), "--sampler", "random"]
        command += ["--pruner", "none", "--combiner", "none", "--no-reference", "--no-explain"]
        commands.append(shlex.join(["serplatform", *command]))
        there = (run / "run.json").is_file()
        if not there or RunDirectory(run).read_run()["status"] != "complete":
            command += ["--resume"] * there
            subprocess.run([sys.executable, "-m", "serplatform", *command], check=True)
        trials += [
            ReportTrial(run_path=run, record=r) for r in RunDirectory(run).records().values()
        ]
    finished = [trial for trial in trials if trial.state == "complete"]
    dataset = Dataset.open(arguments.data)
    tables = {
        f"{t.params[WIDTH]}x{t.params[DEPTH]}.{t.run_path.name}": RunDirectory(
            t.run_path
        ).read_posteriors(t.record["trial"])
        for t in finished
    }
    runs = [RunDirectory(path).read_run() for path in dict.fromkeys(t.run_path for t in trials)]
    content = {
        "what": "MOMA by blocks in a mixture and stacked mixtures; dev rows, kept epoch by dev UAR",
        "date": now(),
        "command": shlex.join(["python", "benchmarks/moma_depth.py", *sys.argv[1:]]),
        "searches": commands,
        "commits": sorted({str(run["versions"]["commit"]) for run in runs}),
        "part": "dev",
        "protocol": runs[0]["protocol"]["name"],
        "folds_hash": runs[0]["folds_hash"],
        "classes": runs[0]["classes"],
        "dataset": {"corpus": dataset.meta["corpus"], "fingerprint": dataset.meta["fingerprint"]},
        "utterances": len(dataset),
        "speakers": len(set(dataset.speaker_ids)),
        "fixed": space(arguments)["fixed"],
        "seconds": sum(trial.record["seconds"] for trial in finished),
        "cells": [
            {"blocks": b, "mixtures": d, **cell(own)}
            for d, b in itertools.product(LAYERS, BLOCKS)
            if (own := [t for t in finished if (t.params[WIDTH], t.params[DEPTH]) == (b, d)])
        ],
        "hardware": hardware(),
        "versions": versions(),
    }
    places = {str(arguments.work): "WORK", str(arguments.data): "DATA"}
    write(arguments.out, tables, content, pairs=[], hidden=places, part="dev")


if __name__ == "__main__":
    main()
