"""Which pruner leaves the best ensemble at equal time, replayed from trials that were all trained.

``tabulate`` trains configurations of the packaged spaces of reduced sizes to their end: for each
architecture the first is its paper's (at those sizes), the others are drawn at random. It keeps
what a trial reports after every epoch, the processor seconds of the epoch, and the posteriors of
dev and test rows. It saves as it goes, and goes on where it stopped.

``replay`` searches such tables at random, with every pruner, counts the seconds spent, and combines
the trials that are complete after a budget. The number of trials kept was chosen by dev rows.

    python benchmarks/pruning.py replay
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from search_table import HeldFold

from serplatform.artifacts.files import atomic_path
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.ensembles.base import COMBINERS, Combiner, PosteriorSet
from serplatform.environment import hardware, now, versions
from serplatform.metrics import classification_metrics
from serplatform.models.kernels.memory import keep_freed_memory
from serplatform.protocols.plan import make_plan, plan_hash
from serplatform.seeding import derive_seed
from serplatform.studies.pruning import FoldPruner, make_pruner
from serplatform.studies.space import SearchSpace, make_space, paper_point, read_space_file
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import TrialConfig, resolve

RESULTS = Path(__file__).parent / "results"
#: table to the processor seconds after which its replayed searches are compared
BUDGETS = {
    "pruning_table_four_systems.parquet": [60, 120, 180, 240],
    "pruning_table_vectors.parquet": [20, 40, 60, 100],
}
#: architecture and configuration
Trial = tuple[str, int]


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


class Table:
    """The trials of one table: per trial and fold what :func:`train` found."""

    def __init__(self, path: Path) -> None:
        table = pq.read_table(path)
        self.meta = json.loads(table.schema.metadata[b"serplatform"])
        self.classes = tuple(self.meta["classes"])
        self.trials: dict[Trial, list[dict[str, Any]]] = {}
        for row in table.sort_by(
            [("configuration", "ascending"), ("fold", "ascending")]
        ).to_pylist():
            for part in ("dev", "test"):
                values = np.array(row[part], float).reshape(-1, len(self.classes))
                row[part] = values / values.sum(axis=1, keepdims=True)
            self.trials.setdefault((row["architecture"], row["configuration"]), []).append(row)
        self._known: dict[frozenset[Trial], tuple[float, float]] = {}

    def ensemble(self, members: Sequence[Trial]) -> tuple[float, float]:
        """Dev and test UAR of the weighted product, pooled over folds.

        For dev, each half of a fold's dev rows is combined by what was fitted on the other half.
        """
        key = frozenset(members)
        if not members:
            return 1 / len(self.classes), 1 / len(self.classes)
        if key not in self._known:
            found: dict[str, list[Any]] = {"dev": [], "test": []}
            truths: dict[str, list[Any]] = {"dev": [], "test": []}
            for fold, truth in enumerate(self.meta["truth"]):
                dev = np.array([self.trials[m][fold]["dev"] for m in members])
                test = np.array([self.trials[m][fold]["test"] for m in members])
                labels = np.array(truth["dev"])
                half = np.random.default_rng(fold).permutation(len(labels)) % 2 == 0
                pooled = np.empty(dev.shape[1:])
                for rows in (half, ~half):
                    pooled[~rows] = self._fit(dev[:, rows], labels[rows]).combine(dev[:, ~rows])
                found["dev"].append(pooled)
                found["test"].append(self._fit(dev, labels).combine(test))
                for part in truths:
                    truths[part].append(truth[part])
            dev_uar, test_uar = (
                classification_metrics(np.concatenate(truths[p]), np.concatenate(found[p]))["uar"]
                for p in ("dev", "test")
            )
            self._known[key] = dev_uar, test_uar
        return self._known[key]

    def _fit(self, posteriors: Any, truth: Any) -> Combiner:
        combiner = COMBINERS.get("product")()
        names = tuple(f"{place:04d}" for place in range(len(posteriors)))
        rows = tuple(map(str, range(len(truth))))
        combiner.fit(
            PosteriorSet(
                part="dev",
                utterance_ids=rows,
                speaker_ids=rows,
                truth=truth,
                posteriors=posteriors,
                members=names,
                classes=self.classes,
            )
        )
        return combiner


def replay(
    table: Table, pruner: str, members: int, seed: int, seconds: float
) -> tuple[list[tuple[float, Trial]], int]:
    """A random search with architectures in turn, two trials at a time, until ``seconds``.

    Returns:
        the complete trials, each with the seconds spent in all when it ended; and how many were
        pruned.
    """
    rng = np.random.default_rng(seed)
    queues: dict[str, list[Trial]] = {}
    for trial in table.trials:
        queues.setdefault(trial[0], []).append(trial)
    for name, queue in queues.items():  # the first is the paper's
        queues[name] = [queue[0], *(queue[1 + i] for i in rng.permutation(len(queue) - 1))]
    asked = dict.fromkeys(queues, 0)
    folds = len(table.meta["truth"])
    longest = max(len(row["reported"]) for rows in table.trials.values() for row in rows)
    optuna_pruner = (
        optuna.pruners.WilcoxonPruner(p_threshold=0.1)
        if pruner == "wilcoxon"
        else make_pruner(pruner, max_epochs=longest, num_folds=folds)
    )
    studies = {
        name: optuna.create_study(direction="maximize", pruner=optuna_pruner) for name in queues
    }
    own = FoldPruner("uar", 1) if pruner == "folds" else None
    running: list[dict[str, Any]] = []
    complete: list[tuple[float, Trial]] = []
    spent, pruned, number = 0.0, 0, 0
    with mock.patch("serplatform.studies.pruning.MEMBERS", members):
        while spent < seconds:
            while len(running) < 2 and any(queues.values()):
                name = min((n for n in queues if queues[n]), key=lambda n: asked[n])
                asked[name] += 1
                clock = min((r["clock"] for r in running), default=spent / 2)
                new = {
                    "trial": queues[name].pop(0),
                    "optuna": studies[name].ask(),
                    "number": number,
                }
                running.append(new | {"fold": 0, "epoch": 0, "ended": [], "clock": clock})
                number += 1
            if not running:
                break
            now_on = min(running, key=lambda r: float(r["clock"]))
            name, configuration = now_on["trial"]
            row = table.trials[now_on["trial"]][now_on["fold"]]
            epoch = now_on["epoch"]
            now_on["clock"] += row["seconds"][epoch]
            spent += row["seconds"][epoch]
            mean = float(np.mean([*now_on["ended"], row["reported"][epoch]]))
            fold, last = now_on["fold"], epoch + 1 == len(row["reported"])
            if own is not None:
                architecture = name.removesuffix("-vectors")
                weak = own.report(now_on["number"], architecture, fold, mean)
            elif pruner == "wilcoxon":
                weak = False
                if last:
                    now_on["optuna"].report(row["reported"][-1], fold)
                    weak = now_on["optuna"].should_prune()
            else:
                now_on["optuna"].report(mean, fold * longest + epoch + 1)
                weak = now_on["optuna"].should_prune()
            now_on["epoch"] += 1
            if last:
                now_on["ended"].append(float(row["reported"][-1]))
                now_on |= {"fold": fold + 1, "epoch": 0}
            if last and fold + 1 == folds:
                running.remove(now_on)
                complete.append((spent, now_on["trial"]))
                studies[name].tell(now_on["optuna"], float(np.mean(now_on["ended"])))
                if own is not None:
                    ended = [{"uar": value} for value in now_on["ended"]]
                    record: Any = {"trial": now_on["number"]}
                    record |= {"architecture": name.removesuffix("-vectors")}
                    own.tell(record | {"state": "complete", "fold_dev": ended})
            elif weak and configuration:
                running.remove(now_on)
                studies[name].tell(now_on["optuna"], state=optuna.trial.TrialState.PRUNED)
                pruned += 1
    return complete, pruned


def measure(table: Table, budgets: Sequence[float], seeds: int) -> dict[str, Any]:
    """Ensemble UAR and complete trials after each budget of seconds, mean and SD over seeds."""
    candidates = [("none", 0), ("asha", 0), ("median", 0), ("hyperband", 0), ("wilcoxon", 0)]
    candidates += [("folds", members) for members in (1, 2, 3, 4, 6, 8)]
    rows: dict[str, Any] = {}
    for pruner, members in candidates:
        found = []
        for seed in range(seeds):
            complete, _ = replay(table, pruner, members, seed, max(budgets))
            within = [[trial for spent, trial in complete if spent <= b] for b in budgets]
            found.append([(*table.ensemble(trials), len(trials)) for trials in within])
        values = np.array(found)  # (seeds, budgets, 3)
        name = f"{pruner}, {members} kept" if members else pruner
        rows[name] = {
            quantity: {
                "mean": values[:, :, place].mean(axis=0).round(4).tolist(),
                "sd": values[:, :, place].std(axis=0, ddof=1).round(4).tolist(),
            }
            for place, quantity in enumerate(("dev_uar", "test_uar", "complete"))
        }
        print(name, rows[name]["dev_uar"]["mean"], rows[name]["test_uar"]["mean"], flush=True)
    return rows


def main() -> None:
    """Tabulate, or replay and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("tabulate", help="train the configurations")
    making.add_argument("--data", required=True, help="a prepared dataset")
    making.add_argument("--protocol", required=True)
    making.add_argument("--out", type=Path, required=True)
    making.add_argument("counts", nargs="+", help="ARCHITECTURE=CONFIGURATIONS")
    playing = commands.add_parser("replay", help="search the tables")
    playing.add_argument("--seeds", type=int, default=12)
    playing.add_argument("--out", type=Path, default=RESULTS / "pruning.json")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    command = shlex.join(["python", "benchmarks/pruning.py", *sys.argv[1:]])
    if options.command == "tabulate":
        counts = {name: int(n) for name, n in (text.split("=") for text in options.counts)}
        tabulate(options.data, options.protocol, counts, options.out, command)
        return
    results: dict[str, Any] = {"command": command, "date": now(), "hardware": hardware()}
    for name, budgets in BUDGETS.items():
        table = Table(RESULTS / name)
        results[name] = {
            "corpus": table.meta["corpus"],
            "folds": len(table.meta["truth"]),
            "trials": len(table.trials),
            "seconds": budgets,
            "pruners": measure(table, budgets, options.seeds),
        }
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
