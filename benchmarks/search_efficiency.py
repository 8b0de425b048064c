"""How many epochs a search needs to find what random search finds, replayed from a table.

``tabulate`` trains a whole grid once (see ``search_table``); ``replay`` then drives the platform's
own ``search.study.Studies`` (sampler, pruner, the paper's configuration first, rungs over folds)
with looked-up values, two trials at a time, each epoch as ``distributed.tune`` reports it. Between
the grid's points the curves are interpolated, so that no two trials tie as repeats would.

For each seed, random search without pruning trains 60 trials; counted is what the others spend,
over all trials, until one of their *complete* trials has at least its best dev UAR. They may spend
as many epochs as it has spent; a search that does not get there counts as all of them.

    python benchmarks/search_efficiency.py tabulate --data DATA --protocol ravdess-speaker-6fold \\
        --out benchmarks/results/search_table_ravdess.parquet
    python benchmarks/search_efficiency.py replay --seeds 5
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import optuna
from search_table import ARCHITECTURE, CHOICES, EPOCHS, LOGS, PARTS, Table, tabulate

from serplatform.artifacts.run import WarmStartRecord
from serplatform.environment import hardware, now, versions
from serplatform.studies.parameter import Parameter
from serplatform.studies.space import SearchSpace, first_points
from serplatform.studies.study import Studies, Suggestion
from serplatform.studies.warm_start import best_points, comparable_trials
from serplatform.training.trial_config import paper_values

RESULTS = Path(__file__).parent / "results"
TRIALS = 60  # of the random search that the others are compared with
EARLIER_TRIALS = 20  # of the run that a warm start is from: the command's default
CONCURRENT = 2
#: chosen before the table was made: batches of 128 instead of 32 call for a larger step
SENSIBLE = {"training.learning_rate": 10**-2.5, "model.hidden_dim": 512}


def make_space(table: Table, try_first: Sequence[Mapping[str, Any]] = ()) -> SearchSpace:
    """The grid's extent as a search space, with ranges where the packaged spaces have them."""
    parameters: dict[str, Parameter] = {}
    fixed = dict(table.meta.get("fixed", {}))
    for name, values in table.grid.items():
        if len(values) == 1:
            fixed[name] = values[0]
        elif name in CHOICES:
            choices = sorted({*values, paper_values(ARCHITECTURE)[name]})
            parameters[name] = Parameter(kind="choice", values=tuple(choices))
        else:
            low, high = min(values), max(values)
            parameters[name] = Parameter(kind="float", low=low, high=high, log=name in LOGS)
    return SearchSpace(
        architecture=ARCHITECTURE,
        fixed=fixed,
        parameters=parameters,
        try_first=tuple({k: v for k, v in p.items() if k in parameters} for p in try_first),
    )


@dataclasses.dataclass
class Replayed:
    """A replayed search.

    Attributes:
        records: of its trials, as a run has them.
        spent: epochs over all trials when each of them ended, in the same order.
        total: epochs spent in all.
    """

    records: list[dict[str, Any]]
    spent: list[int]
    total: int

    @property
    def best(self) -> float:
        """Dev UAR of the best complete trial."""
        return max((r["dev"]["uar"] for r in self.complete), default=float("-inf"))

    @property
    def complete(self) -> list[dict[str, Any]]:
        """Records of complete trials."""
        return [r for r in self.records if r["state"] == "complete"]

    def epochs_until(self, target: float) -> int | None:
        """Epochs spent when the first complete trial had at least ``target``; None: none had."""
        for record, spent in zip(self.records, self.spent, strict=True):
            if record["state"] == "complete" and record["dev"]["uar"] >= target - 1e-12:
                return spent
        return None


class _Running:
    """A trial that trains, as far as it got."""

    def __init__(self, suggestion: Suggestion, table: Table, started: int) -> None:
        self.suggestion = suggestion
        values = {**paper_values(ARCHITECTURE), **suggestion.values}
        self.curves = table.curve(values)
        self.best = np.maximum.accumulate(self.curves, axis=1)
        self.folds, self.length = self.best.shape
        self.epochs = 0
        self.started = started

    def advance(self) -> tuple[int, float]:
        """Train one epoch; return the step and the objective, as ``training.trial`` reports it."""
        fold, epoch = divmod(self.epochs, self.length)
        self.epochs += 1
        ended = [float(self.best[f, -1]) for f in range(fold)]
        return self.epochs, float(np.mean([*ended, self.best[fold, epoch]]))

    @property
    def done(self) -> bool:
        return self.epochs == self.folds * self.length

    def record(self, state: str) -> dict[str, Any]:
        ended = [float(self.best[f, -1]) for f in range(self.epochs // self.length)]
        history = [
            {"fold": i // self.length, "epoch": i % self.length + 1, "dev": {"uar": float(value)}}
            for i, value in enumerate(self.curves.ravel()[: self.epochs])
        ]
        return {
            "trial": self.suggestion.number,
            "architecture": ARCHITECTURE,
            "state": state,
            "paper": self.suggestion.paper,
            "params": dict(self.suggestion.values),
            "dev": {"uar": float(np.mean(ended))} if ended else {},
            "epochs": self.epochs,
            "history": history,
        }


def replay(
    table: Table,
    *,
    seed: int,
    sampler: str = "tpe",
    pruner: str = "asha",
    trials: int | None = None,
    epochs: int | None = None,
    space: SearchSpace | None = None,
    warm_starts: Sequence[WarmStartRecord] = (),
) -> Replayed:
    """Search the table.

    Args:
        table: complete.
        seed: of the run.
        sampler: as on the command line.
        pruner: as on the command line.
        trials: to begin at most.
        epochs: to spend at most; what is then in flight counts, and is not finished.
        space: default: of the table.
        warm_starts: as ``Studies`` takes them.
    """
    space = space or make_space(table)
    folds, length = next(iter(table.curves.values())).shape
    memory = optuna.storages.InMemoryStorage()
    with mock.patch("serplatform.studies.study.open_storage", return_value=memory):
        studies = Studies(
            {ARCHITECTURE: space},
            storage="",
            records={},
            sampler=sampler,
            pruner=pruner,
            max_epochs=length,
            num_folds=folds,
            seed=seed,
            warm_starts=warm_starts,
        )
    result = Replayed([], [], 0)
    running: list[_Running] = []
    while epochs is None or result.total < epochs:
        while len(running) < CONCURRENT and (trials is None or studies.num_asked < trials):
            running.append(_Running(studies.ask(), table, result.total))
        if not running:
            break
        for trial in list(running):  # one epoch each: the simulated clock ticks
            step, objective = trial.advance()
            result.total += 1
            prune = studies.report(trial.suggestion.number, step, objective)
            if trial.done or prune:
                record = trial.record("complete" if trial.done else "pruned")
                studies.tell(record)
                result.records.append(record)
                result.spent.append(result.total)
                running.remove(trial)
    return result


def learned(table: Table, earlier: Replayed, space: SearchSpace, *, same: bool) -> WarmStartRecord:
    """What ``--warm-start`` takes of a replayed run; observations only of the same data."""
    points, remarks = best_points(space, earlier.records, "uar")
    known = comparable_trials("earlier", space, earlier.records, ("uar",)) if same else []
    return {
        "run": "earlier",
        "points": {ARCHITECTURE: points},
        "observations": {ARCHITECTURE: known},
        "why_no_observations": [] if same else ["another dataset"],
        "remarks": remarks,
        "same_data": same,
    }


Search = Callable[[int, int], Replayed]


def searches(table: Table, other: Table | None) -> dict[str, Search]:
    """Name to a search of a seed and a budget of epochs."""
    space = make_space(table)

    def plain(sampler: str, pruner: str) -> Search:
        return lambda seed, epochs: replay(
            table, seed=seed, sampler=sampler, pruner=pruner, epochs=epochs
        )

    def unexploring(seed: int, epochs: int) -> Replayed:
        with mock.patch("serplatform.studies.study.RANDOM_EVERY", 0):
            return replay(table, seed=seed, epochs=epochs)

    def warm(seed: int, epochs: int) -> Replayed:
        earlier = replay(table, seed=seed + 1000, trials=EARLIER_TRIALS)
        known = learned(table, earlier, space, same=True)
        return replay(table, seed=seed, epochs=epochs, warm_starts=[known])

    def transfer(seed: int, epochs: int) -> Replayed:
        assert other is not None
        earlier = replay(other, seed=seed + 1000, trials=EARLIER_TRIALS)
        known = learned(table, earlier, space, same=False)
        return replay(table, seed=seed, epochs=epochs, warm_starts=[known])

    def sensible(seed: int, epochs: int) -> Replayed:
        pointed = make_space(table, [SENSIBLE])
        assert len(first_points(pointed)) == 1
        return replay(table, seed=seed, epochs=epochs, space=pointed)

    found: dict[str, Search] = {
        "tpe": plain("tpe", "none"),
        "random+asha": plain("random", "asha"),
        "tpe+asha": plain("tpe", "asha"),
        "tpe+asha, no trial at random": unexploring,
        "tpe+asha+warm start": warm,
        "tpe+asha+try_first": sensible,
    }
    if other is not None:
        found["tpe+asha+points of the other corpus"] = transfer
    return found


def measure(table: Table, other: Table | None, seeds: Sequence[int]) -> dict[str, Any]:
    """Compare the searches over seeds."""
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        base = replay(table, seed=seed, sampler="random", pruner="none", trials=TRIALS)
        reached = base.epochs_until(base.best)
        assert reached is not None
        rows.setdefault("random", []).append(
            _row(base, base, reached) | {"target_dev_uar": base.best}
        )
        for name, search in searches(table, other).items():
            rows.setdefault(name, []).append(_row(search(seed, base.total), base, reached))
    return {
        name: {
            "mean": _over(found, np.mean),
            "sd": _over(found, lambda v: np.std(v, ddof=1) if len(v) > 1 else 0.0),
            "seeds": found,
        }
        for name, found in rows.items()
    }


def _row(found: Replayed, base: Replayed, reached: int) -> dict[str, float]:
    until = found.epochs_until(base.best)
    return {
        "ratio_to_all_epochs": (until or base.total) / base.total,
        "ratio_to_its_epochs": (until or base.total) / reached,
        "reached": float(until is not None),
        "gain_at_equal_epochs": found.best - base.best,
        "trials": len(found.records),
        "complete": len(found.complete),
    }


def _over(rows: Sequence[Mapping[str, float]], what: Any) -> dict[str, float]:
    return {key: round(float(what([row[key] for row in rows])), 4) for key in rows[0]}


def main() -> None:
    """Tabulate, or replay and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("tabulate", help="train the grid")
    making.add_argument("--data", required=True, help="prepared with --features egemaps_v02")
    making.add_argument("--protocol", required=True)
    making.add_argument("--parts", type=int, default=len(PARTS), help="of the grid, 1 to 4")
    making.add_argument("--seed", type=int, default=0)
    making.add_argument("--out", type=Path, required=True)
    playing = commands.add_parser("replay", help="search the tables")
    playing.add_argument("--table", type=Path, default=RESULTS / "search_table_ravdess.parquet")
    playing.add_argument("--other", type=Path, default=RESULTS / "search_table_nemo.parquet")
    playing.add_argument("--seeds", type=int, default=5)
    playing.add_argument("--out", type=Path, default=RESULTS / "search_efficiency.json")
    options = parser.parse_args()
    command = shlex.join(["python", "benchmarks/search_efficiency.py", *sys.argv[1:]])
    if options.command == "tabulate":
        tabulate(
            options.data,
            options.protocol,
            options.out,
            parts=options.parts,
            seed=options.seed,
            command=command.replace(shlex.quote(options.data), "DATA"),
        )
        return
    begun = time.process_time()
    table = Table.read(options.table)
    other = Table.read(options.other) if options.other.exists() else None
    results: dict[str, Any] = {
        "command": command,
        "date": now(),
        "seeds": list(range(options.seeds)),
        "sensible_point": SENSIBLE,
        "versions": versions(),
        "hardware": hardware(),
        "tables": {},
    }
    pairs = [(options.table, table, other)]
    if other is not None:
        pairs.append((options.other, other, table))
    for path, searched, helper in pairs:
        finals = [searched.final(point) for point in searched.curves]
        results["tables"][path.name] = {
            "configurations": len(finals),
            "epochs_a_trial": EPOCHS * int(searched.meta["folds"]),
            "best_dev_uar": max(finals),
            "median_dev_uar": float(np.median(finals)),
            "searches": measure(searched, helper, results["seeds"]),
        }
        for name, row in results["tables"][path.name]["searches"].items():
            print(
                f"{path.stem} {name:36}", row["mean"], row["sd"]["ratio_to_all_epochs"], flush=True
            )
    results["processor_seconds"] = round(time.process_time() - begun, 1)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
