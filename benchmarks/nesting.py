"""What a study per outer fold (``search --nested``) changes, on permuted and on real labels.

A search replayed in one process, many times: the product's sampler, its combiners and a dataset's
own folds, whose dev part is the next fold's test part. A system is ridge regression on random
Fourier features (Rahimi and Recht, NIPS 2007) of one stored vector an utterance; feature, width,
normalisation, draw and ridge are searched. Usual: one study, told the mean dev UAR over folds, each
trial on every fold. Nested: a study for each fold, told that fold's dev UAR, with as many trials:
as many fits in all.

On permuted labels whatever lies above chance on test rows is what steering by other folds' test
rows is worth; on real labels the difference is that, and what choosing by fewer rows costs.

    python benchmarks/nesting.py DATA > benchmarks/results/nesting.json
    python benchmarks/nesting.py DATA --protocol P --search > benchmarks/results/nesting_search.json

The second is one real search of three closed-form systems both ways, with what its processes took.

Prints one JSON object: hardware, versions, date, command, numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil

from serplatform.datasets.dataset import Dataset
from serplatform.ensembles.base import COMBINERS, PosteriorSet
from serplatform.environment import hardware, now, versions
from serplatform.metrics import classification_metrics
from serplatform.protocols.plan import make_plan
from serplatform.seeding import derive_seed
from serplatform.studies.study import make_sampler

Array = np.ndarray
PARTS = ("dev", "test")
WIDTHS, DRAWS, NUM_FEATURES = (0.3, 1.0, 3.0), 2, 192


def vectors(dataset: Dataset, feature: str) -> Array:
    """(utterances, dimensions) means over frames; of a pooled feature, its one frame."""
    return np.stack([dataset.frames(feature, row).mean(axis=0) for row in range(len(dataset))])


def normalised(values: Array, groups: Array) -> Array:
    """Mean 0, deviation 1 within each group of rows."""
    out = np.empty(values.shape)
    for group in np.unique(groups):
        rows = groups == group
        out[rows] = (values[rows] - values[rows].mean(0)) / (values[rows].std(0) + 1e-6)
    return out


@dataclasses.dataclass
class Fitter:
    """The label-free half of a system on one fold: the decomposition of its training rows."""

    left: Array  # (train rows, rank)
    values: Array  # (rank,)
    projected: dict[str, Array]  # part: (rows, rank)

    @classmethod
    def of(cls, hidden: Array, parts: dict[str, Array]) -> Fitter:
        mean = hidden[parts["train"]].mean(0)
        left, values, right = np.linalg.svd(hidden[parts["train"]] - mean, full_matrices=False)
        projected = {part: (hidden[parts[part]] - mean) @ right.T for part in PARTS}
        return cls(left, values, projected)

    def posteriors(self, truth: Array, num_classes: int, ridge: float, part: str) -> Array:
        """Softmax of five times the regression on class indicators: a temperature as good as any
        for a product of members, which weighs them itself."""
        onehot = np.eye(num_classes)[truth] - 1 / num_classes
        gain = self.values / (self.values**2 + ridge)
        scores = 5 * (self.projected[part] * gain) @ (self.left.T @ onehot)
        table = np.exp(scores - scores.max(1, keepdims=True))
        return np.asarray(table / table.sum(1, keepdims=True))


class Pool:
    """All that may be searched, by (feature, normalisation, width, draw), for every fold."""

    def __init__(self, dataset: Dataset, protocol: str, features: Sequence[str]) -> None:
        plan = make_plan(dataset.utterances, protocol, 0, classes=dataset.classes)
        self.classes, self.features = plan.classes, tuple(features)
        self.speakers = np.array(dataset.speaker_ids)
        labels = dataset.utterances.column("emotion").to_pylist()
        self.truth = np.array([plan.classes.index(plan.label_map[name]) for name in labels])
        self.folds = [
            {p: np.array([dataset.row_of[u] for u in getattr(fold, p)]) for p in ("train", *PARTS)}
            for fold in plan.folds
        ]
        self.fitters: dict[tuple[str, str, float, int], list[Fitter]] = {}
        for feature in features:
            raw = vectors(dataset, feature)
            for how in ("train", "speaker"):
                for width in WIDTHS:
                    for draw in range(DRAWS):
                        rng = np.random.default_rng([draw, len(self.fitters)])
                        w = rng.normal(size=(raw.shape[1], NUM_FEATURES)) * width
                        b = rng.uniform(0, 2 * np.pi, NUM_FEATURES)
                        found = []
                        for parts in self.folds:
                            x = normalised(raw, self.speakers) if how == "speaker" else raw
                            rows = parts["train"]
                            x = (x - x[rows].mean(0)) / (x[rows].std(0) + 1e-6)
                            found.append(Fitter.of(np.cos(x @ w / raw.shape[1] ** 0.5 + b), parts))
                        self.fitters[feature, how, width, draw] = found

    def draw(self, trial: optuna.Trial) -> tuple[Any, ...]:
        """A configuration, as a sampler proposes it."""
        return (
            trial.suggest_categorical("feature", self.features),
            trial.suggest_categorical("normalization", ("train", "speaker")),
            trial.suggest_categorical("width", WIDTHS),
            trial.suggest_int("draw", 0, DRAWS - 1),
            trial.suggest_float("ridge", 1e-2, 1e4, log=True),
        )

    def fit(self, truth: Array, config: tuple[Any, ...], fold: int) -> dict[str, Array]:
        """Posteriors of a system's dev and test rows in a fold."""
        *key, ridge = config
        fitter = self.fitters[tuple(key)][fold]
        own = truth[self.folds[fold]["train"]]
        return {part: fitter.posteriors(own, len(self.classes), ridge, part) for part in PARTS}

    def uar(self, truth: Array, fold: int, table: Array, part: str) -> float:
        return classification_metrics(truth[self.folds[fold][part]], table)["uar"]

    def members(
        self, truth: Array, fold: int, part: str, trials: Sequence[dict[str, Array]]
    ) -> PosteriorSet:
        """The trials of a fold, as a combiner takes them."""
        rows = self.folds[fold][part]
        return PosteriorSet(
            part=part,
            utterance_ids=tuple(map(str, rows)),
            speaker_ids=tuple(self.speakers[rows]),
            truth=truth[rows],
            posteriors=np.stack([trial[part] for trial in trials]),
            members=tuple(f"{n:05d}" for n in range(len(trials))),
            classes=tuple(self.classes),
        )


def studied(
    trials: int, seed: int, draw: Callable[[optuna.Trial], Any], value: Callable[[Any], float]
) -> list[Any]:
    """The configurations that a study of the product's sampler proposes."""
    study = optuna.create_study(direction="maximize", sampler=make_sampler("tpe", seed))
    found = []
    for _ in range(trials):
        trial = study.ask()
        found.append(draw(trial))
        study.tell(trial, value(found[-1]))
    return found


def replicate(pool: Pool, truth: Array, trials: int, seed: int) -> dict[str, dict[str, float]]:
    """Test UAR, pooled over folds, of what both searches end with."""
    folds = range(len(pool.folds))
    fitted: dict[tuple[Any, ...], dict[str, Array]] = {}

    def fit(config: tuple[Any, ...], fold: int) -> dict[str, Array]:
        if (config, fold) not in fitted:
            fitted[config, fold] = pool.fit(truth, config, fold)
        return fitted[config, fold]

    def dev(config: tuple[Any, ...], fold: int) -> float:
        return pool.uar(truth, fold, fit(config, fold)["dev"], "dev")

    def mean_dev(config: tuple[Any, ...]) -> float:
        return float(np.mean([dev(config, fold) for fold in folds]))

    shared = studied(trials, derive_seed(seed, "sampler"), pool.draw, mean_dev)
    nested = [
        studied(trials, derive_seed(seed, "fold", fold), pool.draw, lambda c, f=fold: dev(c, f))
        for fold in folds
    ]
    pooled = np.concatenate([truth[parts["test"]] for parts in pool.folds])

    def measure(tables: Sequence[Array]) -> float:
        return classification_metrics(pooled, np.concatenate(tables))["uar"]

    found: dict[str, dict[str, float]] = {}
    for name, configs in (("usual", [shared] * len(folds)), ("nested", nested)):
        tables: dict[str, list[Array]] = {"product": [], "single": [], "mean": []}
        for fold in folds:
            own = [fit(config, fold) for config in configs[fold]]
            test = pool.members(truth, fold, "test", own)
            for combiner, made in tables.items():
                fitting = COMBINERS.get(combiner)(objective="uar", seed=seed)
                fitting.fit(pool.members(truth, fold, "dev", own))
                made.append(fitting.combine(test.posteriors))
        found[name] = {
            "ensemble": measure(tables["product"]),
            "best_single": measure(tables["single"]),
            "mean_of_all": measure(tables["mean"]),
            "a_trial": float(
                np.mean(
                    [
                        pool.uar(truth, f, fit(c, f)["test"], "test")
                        for f in folds
                        for c in configs[f]
                    ]
                )
            ),
        }
    best = max(shared, key=mean_dev)
    found["usual"]["best_by_mean_dev"] = measure([fit(best, fold)["test"] for fold in folds])
    found["usual"]["its_dev"] = mean_dev(best)
    return found


def real_search(data: str, protocol: str, out: Path, *more: str) -> dict[str, Any]:
    """Test UAR of one search by the command line, and processor seconds of its processes."""
    words = ["search", "svm", "lda", "logistic", "--data", data, "--protocol", protocol]
    words += [
        "--trials",
        "24",
        "--no-explain",
        "--no-reference",
        "--out",
        str(out),
        "--json",
        *more,
    ]
    used: dict[tuple[int, float], float] = {}
    with psutil.Popen(
        [sys.executable, "-m", "serplatform", *words], stdout=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            for child in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    times = child.cpu_times()
                    used[child.pid, child.create_time()] = times.user + times.system
            time.sleep(0.2)
        told = json.loads(process.stdout.read().splitlines()[-1])
    return {
        "trials": told["trials"]["complete"],
        "processor_seconds": round(sum(used.values()), 1),
        "test_uar": {
            row["system"]: {end: round(row["uar"][end], 4) for end in ("value", "low", "high")}
            for row in told["answer"]["rows"]
        },
    }


def summary(rows: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Mean and standard error over replicates; nested minus usual, paired."""

    def told(values: Sequence[float]) -> dict[str, float]:
        error = np.std(values, ddof=1) / len(values) ** 0.5
        return {"mean": round(float(np.mean(values)), 5), "se": round(float(error), 5)}

    searches = {
        name: {system: told([row[name][system] for row in rows]) for system in rows[0][name]}
        for name in rows[0]
    }
    gained = {
        system: told([row["nested"][system] - row["usual"][system] for row in rows])
        for system in rows[0]["nested"]
    }
    return {"replicates": len(rows), **searches, "nested_minus_usual": gained}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a prepared dataset whose protocol rotates its dev part")
    parser.add_argument("--protocol", help="default: the dataset's own")
    parser.add_argument("--features", nargs="+", help="default: pooled layers of encoders")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--permuted", type=int, default=40, help="replicates")
    parser.add_argument("--real", type=int, default=20, help="replicates, of the sampler's seed")
    parser.add_argument("--search", action="store_true", help="one real search both ways instead")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    begun = time.process_time()
    dataset = Dataset.open(options.data)
    protocol = options.protocol or str(dataset.meta["default_protocol"])
    features = options.features or [
        name for name in dataset.feature_names if name.endswith(":pooled")
    ]
    told = {
        "command": ["python", *sys.argv],
        "date": now(),
        "hardware": hardware(),
        "versions": versions(),
        "dataset": dataset.meta["title"],
        "protocol": protocol,
    }
    if options.search:
        with tempfile.TemporaryDirectory() as folder:
            for name, more in (("usual", ()), ("nested", ("--nested",))):
                told[name] = real_search(options.data, protocol, Path(folder, name), *more)
        print(json.dumps(told, indent=1))
        return
    pool = Pool(dataset, protocol, features)
    shuffled, real = [], []
    for seed in range(options.permuted):
        rng = np.random.default_rng([seed, 1])
        shuffled.append(replicate(pool, rng.permutation(pool.truth), options.trials, seed))
        print(f"permuted {seed + 1}: {time.process_time() - begun:.0f} s", file=sys.stderr)
    for seed in range(options.real):
        real.append(replicate(pool, pool.truth, options.trials, seed))
        print(f"real {seed + 1}: {time.process_time() - begun:.0f} s", file=sys.stderr)
    content = {
        **told,
        "features": list(features),
        "trials": options.trials,
        "chance": 1 / len(pool.classes),
        "permuted": summary(shuffled),
        "real": summary(real),
        "processor_seconds": round(time.process_time() - begun, 1),
    }
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
