"""Trials an hour of ``serplatform search`` against a hand-written Optuna loop, in one run.

Three ways train the same trials (same configurations, seeds, folds and data; nothing pruned):

- ``loop, one thread``: one process, ``optuna.Study.optimize`` around plain training;
- ``loop, default threads``: the same with torch's own number of threads;
- ``search``: this project's search on all cores, which besides writes posteriors, models and
  records.

Throughput is compared twice: over the training alone (from the first trial's start to the last
trial's end, on either side), and with start-up and imports, which a longer search forgets.

What the machine itself loses when its cores are all busy is measured too: the first loop in as many
processes as it has cores, side by side. No search can be faster than that ceiling.

It also measures what a trial costs besides its training: many trials of one short epoch, wall
seconds of the search between the first and the last record, less the trials' own seconds.

    python benchmarks/search_throughput.py --out benchmarks/results/search_throughput.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from serplatform.environment import hardware, now, versions

SPACE = """
architecture: moma
description: the same work in every trial; the learning rate is searched
fixed: {{model.hidden_dim: 48, model.attention_dim: 32, training.max_epochs: {epochs},
         training.patience: 1000}}
parameters:
  training.learning_rate: {{type: float, low: 1.0e-4, high: 1.0e-3, log: true}}
"""


def prepare(folder: Path, epochs: int) -> tuple[Path, Path]:
    """The demo dataset and a space whose trials cost the same."""
    from serplatform.distributed.prepare import ensure_demo

    space = folder / f"space-{epochs}.yaml"
    space.write_text(SPACE.format(epochs=epochs), encoding="utf-8")
    return ensure_demo(), space


def bare_loop(trials: int, epochs: int) -> None:
    """The loop that a researcher writes: Optuna, torch, and nothing else."""
    import optuna
    import torch

    from serplatform.datasets.dataset import Dataset
    from serplatform.datasets.fold_data import FoldData
    from serplatform.protocols.plan import make_plan
    from serplatform.training.loop import FoldTrainer
    from serplatform.training.trial_config import resolve

    with tempfile.TemporaryDirectory() as name:
        data, _ = prepare(Path(name), epochs)
    dataset = Dataset.open(data)
    plan = make_plan(
        dataset.utterances, dataset.meta["default_protocol"], 0, classes=dataset.classes
    )
    fixed = {
        "model.hidden_dim": 48,
        "model.attention_dim": 32,
        "training.max_epochs": epochs,
        "training.patience": 1000,
    }

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("training.learning_rate", 1e-4, 1e-3, log=True)
        config = resolve("moma", {**fixed, "training.learning_rate": rate}, "benchmark")
        values = []
        for fold in range(len(plan.folds)):
            trainer = FoldTrainer(config, FoldData(dataset, plan, fold, config.data), seed=fold)
            while not trainer.finished:
                trainer.run_epoch()
            values.append(trainer.best_metrics["uar"])
        return sum(values) / len(values)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    begun = time.perf_counter()
    used = time.process_time()
    study.optimize(objective, n_trials=trials)
    result = {
        "seconds": time.perf_counter() - begun,
        "processor_seconds": time.process_time() - used,
        "torch_threads": torch.get_num_threads(),
    }
    print(json.dumps(result))


def run_loop(trials: int, epochs: int, threads: int | None) -> dict[str, Any]:
    """Time the bare loop in a process of its own, start-up and imports included."""
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment.pop(name, None)
        if threads is not None:
            environment[name] = str(threads)
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--bare-loop", "--trials", str(trials), "--epochs", str(epochs)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    result["wall_seconds"] = time.perf_counter() - begun
    return result


def run_search(folder: Path, trials: int, epochs: int) -> dict[str, Any]:
    """Time the search command; the ensemble and report that follow are not counted."""
    data, space = prepare(folder, epochs)
    out = folder / f"run-{trials}-{epochs}"
    command = [sys.executable, "-m", "serplatform", "search", "moma", "--data", str(data)]
    command += ["--space", str(space), "--trials", str(trials), "--pruner", "none"]
    command += ["--combiner", "none", "--out", str(out)]
    begun = time.time()
    subprocess.run(command, check=True, capture_output=True, text=True)
    records = [json.loads(p.read_text()) for p in sorted((out / "trials").glob("*.json"))]
    ends = sorted(record["ended"] for record in records)
    own = [record["seconds"] for record in records]
    run = json.loads((out / "run.json").read_text())
    cores = int(run["resources"]["CPU"])
    concurrent = min(cores, trials)
    steady = ends[-1] - ends[concurrent - 1]
    by_end = sorted(records, key=lambda record: record["ended"])[concurrent:]
    steady_own = sum(record["seconds"] for record in by_end)
    first_start = min(record["ended"] - record["seconds"] for record in records)
    return {
        "trials": len(records),
        "training_window_seconds": ends[-1] - first_start,
        "seconds_to_last_record": ends[-1] - begun,
        "first_step_seconds": first_start - begun,
        "concurrent": concurrent,
        "training_seconds_a_trial": sum(own) / len(own),
        "overhead_seconds_a_trial": (steady * concurrent - steady_own) / max(1, len(by_end)),
    }


def main() -> None:
    """Run the comparison and print or write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--short-trials", type=int, default=40)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--bare-loop", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare_loop:
        bare_loop(options.trials, options.epochs)
        return
    with tempfile.TemporaryDirectory(prefix="serplatform-benchmark-") as name:
        folder = Path(name)
        one = run_loop(options.trials, options.epochs, 1)
        with ThreadPoolExecutor() as pool:
            count = os.cpu_count() or 1
            jobs = [pool.submit(run_loop, options.trials, options.epochs, 1) for _ in range(count)]
            side_by_side = max(job.result()["seconds"] for job in jobs)
        search = run_search(folder, options.trials, options.epochs)
        default = run_loop(options.trials, options.epochs, None)
        short = run_search(folder, options.short_trials, 1)
    result = {
        "date": now(),
        "command": "python benchmarks/search_throughput.py " + " ".join(sys.argv[1:]),
        "hardware": hardware(),
        "versions": versions(),
        "loop_one_thread": one,
        "loop_default_threads": default,
        "search": search,
        "short_trials": short,
        "ceiling_over_one_thread": count * one["seconds"] / side_by_side,
        "speedup_over_one_thread": one["seconds"] / search["training_window_seconds"],
        "speedup_over_default_threads": default["seconds"] / search["training_window_seconds"],
        "speedup_over_one_thread_with_startup": one["wall_seconds"]
        / search["seconds_to_last_record"],
        "speedup_over_default_threads_with_startup": default["wall_seconds"]
        / search["seconds_to_last_record"],
        "overhead_seconds_a_trial": short["overhead_seconds_a_trial"],
        "seconds_to_first_step": short["first_step_seconds"],
    }
    text = json.dumps(result, indent=2)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
