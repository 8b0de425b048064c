"""Makes the portfolio of ``serplatform search --data DATA``, and measures what it is worth.

``pool`` trains one list of configurations, the same on every dataset, over all folds: the first
points of the packaged spaces and random ones. ``choose`` orders them greedily, by what each adds to
the dev UAR of the ensemble (the product of posteriors), a mean over the corpora, and writes
``serplatform/studies/portfolio.yaml``. ``replay`` makes a portfolio without one corpus and spends a
time budget on that corpus by it, by random choice, and by TPE with pruning over the same
configurations: seconds are those that the trainings took, two at a time; the ensemble is made as
``serplatform ensemble`` makes it, of what had ended by then, members chosen by dev rows; test UAR
is printed.

    python benchmarks/portfolio.py pool DATA OUT [--part 0/2]
    python benchmarks/portfolio.py choose POOL... --out serplatform/studies/portfolio.yaml
    python benchmarks/portfolio.py replay POOL... --out benchmarks/results/portfolio.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from scipy.special import logsumexp

from serplatform.datasets.dataset import Dataset
from serplatform.ensembles.base import COMBINERS, PosteriorSet
from serplatform.environment import hardware, versions
from serplatform.metrics import classification_metrics
from serplatform.models.base import ARCHITECTURES
from serplatform.run_directory import RunDirectory
from serplatform.seeding import derive_seed
from serplatform.studies.feature_choice import FEATURE, for_dataset, roles
from serplatform.studies.order import TrialOrder
from serplatform.studies.pruning import make_pruner
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import create_run
from serplatform.studies.space import (
    SearchSpace,
    complete_point,
    load_space,
    packaged_spaces,
    paper_point,
    points_inside,
)
from serplatform.studies.study import make_sampler
from serplatform.training.trial import TrialTask, TrialTraining
from serplatform.training.trial_config import paper_values

PROTOCOL = "speaker-kfold:4"
#: random configurations of an architecture: of what is fitted in closed form, of small networks,
#: and of others
CLOSED_FORM, SMALL, OTHERS = 24, 8, 3
SMALL_NETWORKS = ("functionals_mlp", "attn_pool")
#: parts that a feature of vectors, or of frames, can play
OF_VECTORS = ("middle", "around", "whole", "both", "functionals", "frames")
OF_FRAMES = ("middle_frames", "whole_frames")
NO_TEXT = {"attn_fusion", "can", "fgcme", "lstm_attn_text", "mha", "utt_concat"}


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One candidate: a packaged space and a point of it, features by their part."""

    space: str
    values: dict[str, Any]


def configurations() -> list[Configuration]:
    """The candidates, whatever dataset they are trained on."""
    found: list[Configuration] = []
    for name in packaged_spaces():
        space = load_space(name)
        architecture = ARCHITECTURES.get(space.architecture)
        closed = architecture.closed_form
        wanted = closed or name.endswith(("-small", "-pretrained"))
        if not wanted or space.architecture in NO_TEXT or architecture.encoder is not None:
            continue
        query = space.parameters[FEATURE].query if FEATURE in space.parameters else None
        parts = None if query is None else OF_VECTORS if closed else OF_FRAMES
        if parts is not None and not (query and query.joined) and not closed:
            parts = OF_FRAMES[:1]
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        count = CLOSED_FORM if closed else SMALL if space.architecture in SMALL_NETWORKS else OTHERS
        first = [dict(point) for point in space.try_first] or [paper_point(space) or {}]
        drawn = [space.sample(rng) for _ in range(count)]
        for place, point in enumerate([*first, *drawn]):
            values = dict(point)
            if parts is not None:
                values[FEATURE] = parts[place % len(parts)]
            found.append(Configuration(name, values))
    return found


def resolved(entry: Configuration, dataset: Dataset) -> tuple[SearchSpace, dict[str, Any]] | None:
    """The space on a dataset and the whole point; None where it has no such feature."""
    held, space = roles(dataset), load_space(entry.space)
    values = dict(entry.values)
    if FEATURE in values and FEATURE in space.parameters and space.parameters[FEATURE].query:
        if values[FEATURE] not in held:
            return None
        values[FEATURE] = held[values[FEATURE]]
    concrete = for_dataset(space, dataset)
    (point,) = points_inside(concrete, [values])
    if point is None:
        point = complete_point(concrete, values, paper_values(concrete.architecture))
    return concrete, {**concrete.fixed, **point}


def pool(data: str, out: str, part: str, skip: Sequence[str]) -> None:
    """Train every candidate that a dataset has the features for, without Ray."""
    dataset = Dataset.open(data)
    share, shares = map(int, part.split("/"))
    directory = RunDirectory(out)
    if not directory.run_file.exists():
        request = SearchRequest(
            architectures=("lda",), dataset=data, protocol=PROTOCOL, reference=False
        )
        create_run(Path(out), request, ["benchmarks/portfolio.py", "pool"])
    for number, entry in enumerate(configurations()):
        if number % shares != share or directory.record_file(number).exists():
            continue
        if entry.space in skip:
            continue
        found = resolved(entry, dataset)
        if found is None:
            continue
        space, values = found
        task = TrialTask(
            number=number,
            architecture=space.architecture,
            values=values,
            run=out,
            dataset=data,
            seed=derive_seed(0, "pool", number),
        )
        training = TrialTraining(task)
        try:
            while not training.finished:
                training.step()
        except Exception as error:  # noqa: BLE001 - e.g. a part of words without alignment
            print(number, entry.space, "failed:", error, flush=True)
            continue
        record = directory.read_record(directory.record_file(number))
        print(number, entry.space, round(record["dev"]["uar"], 3), record["seconds"], flush=True)


REGIMES = ("with_encoder", "without_encoder")
#: entries of a portfolio, at most, and the least gain of one, in points of UAR
MOST, LEAST_GAIN = 20, 0.02
#: members of the ensembles by which candidates are judged, with repetition
STEPS = 12
#: weight of the negative log-likelihood beside UAR
LOSS = 0.05
#: processor seconds, two trials at a time, after which searches are compared
BUDGETS = (10, 20, 40, 60, 120, 240)


class Pool:
    """The candidates that were trained on one dataset.

    Attributes:
        dev, test: each fold's posteriors, (M, N, K), and labels, (N,).
        mean_dev: (M,) dev UAR, mean over folds.
        seconds: (M,).
        curves: of each candidate and fold: seconds of each epoch and the best dev UAR so far.
    """

    def __init__(self, path: str, regime: str) -> None:
        directory = RunDirectory(path)
        run = directory.read_run()
        self.corpus = str(run["dataset"]["title"])
        self.path, self.classes = path, tuple(run["classes"])
        entries = configurations()
        records = directory.records()
        self.numbers = [n for n in sorted(records) if in_regime(entries[n], regime)]
        self.entries = [entries[n] for n in self.numbers]
        self.architectures = [records[n]["architecture"] for n in self.numbers]
        self.mean_dev = np.array([records[n]["dev"]["uar"] for n in self.numbers])
        self.seconds = np.array([max(0.05, records[n]["seconds"]) for n in self.numbers])
        self.curves = [_curve(records[n]) for n in self.numbers]
        tables = [directory.read_posteriors(n) for n in self.numbers]
        self.parts: dict[str, list[tuple[Any, Any]]] = {"dev": [], "test": []}
        for fold in range(len(read_folds(directory))):
            for part, found in self.parts.items():
                rows = []
                for table in tables:
                    mask = np.array(table["part"].to_pylist()) == part
                    mask &= table["fold"].to_numpy() == fold
                    chosen = table.filter(mask)
                    rows.append(np.stack([chosen[f"p_{c}"].to_numpy() for c in self.classes], 1))
                truth = [self.classes.index(name) for name in chosen["truth"].to_pylist()]
                found.append((np.array(rows), np.array(truth)))

    def value(self, members: Sequence[int]) -> float:
        """Dev UAR of an ensemble of members, less its weighted loss, which tells equals apart.

        Each fold's members are chosen on the other folds' dev rows.
        """
        index = list(members)
        losses: list[Any] = []
        correct = np.zeros(len(self.classes))
        total = np.zeros(len(self.classes))
        logs = [np.log(np.maximum(rows[index], 1e-6)) for rows, _ in self.parts["dev"]]
        for fold, (_, truth) in enumerate(self.parts["dev"]):
            others = [f for f in range(len(logs)) if f != fold]
            fit = np.concatenate([logs[f] for f in others], axis=1)
            labels = np.concatenate([self.parts["dev"][f][1] for f in others])
            chosen = greedy(fit, labels, STEPS)
            summed = logs[fold][chosen].mean(axis=0)
            losses.append(logsumexp(summed, axis=1) - summed[np.arange(len(truth)), truth])
            np.add.at(total, truth, 1)
            np.add.at(correct, truth, summed.argmax(axis=1) == truth)
        uar = float(np.mean(correct[total > 0] / total[total > 0]))
        return uar - LOSS * float(np.concatenate(losses).mean())

    def ensemble(self, members: Sequence[int]) -> float:
        """Test UAR, pooled over folds, of what ``serplatform ensemble`` makes of the members."""
        index, guesses, truths = list(members), [], []
        if not index:
            return 1 / len(self.classes)
        for (dev, labels), (test, truth) in zip(self.parts["dev"], self.parts["test"], strict=True):
            combiner = COMBINERS.get("product")()
            names = tuple(f"{place:04d}" for place in range(len(index)))
            rows = tuple(map(str, range(len(labels))))
            combiner.fit(
                PosteriorSet(
                    part="dev",
                    utterance_ids=rows,
                    speaker_ids=rows,
                    truth=labels,
                    posteriors=dev[index],
                    members=names,
                    classes=self.classes,
                )
            )
            guesses.append(combiner.combine(test[index]))
            truths.append(truth)
        found = classification_metrics(np.concatenate(truths), np.concatenate(guesses))
        return float(found["uar"])


def in_regime(entry: Configuration, regime: str) -> bool:
    """Whether a dataset with, or without, layers of an encoder is searched by an entry."""
    if entry.space.endswith("-pretrained"):
        return regime == "with_encoder"
    if entry.space.endswith("-small"):
        return regime == "without_encoder"
    return regime == "with_encoder" or entry.values[FEATURE] in ("functionals", "frames")


def read_folds(directory: RunDirectory) -> list[Any]:
    """The folds of a run."""
    return directory.read_folds(directory.read_run())["folds"]


def _curve(record: Any) -> list[list[tuple[float, float]]]:
    folds: list[list[tuple[float, float]]] = []
    for entry in record["history"]:
        if entry["fold"] == len(folds):
            folds.append([])
        best = max(entry["dev"]["uar"], folds[-1][-1][1] if folds[-1] else 0.0)
        folds[-1].append((entry.get("seconds", 0.0), best))
    return folds


def greedy(logs: Any, truth: Any, steps: int) -> list[int]:
    """Members whose summed logarithms have the best UAR, one after another, with repetition."""
    num_classes = logs.shape[2]
    counts = np.maximum(np.bincount(truth, minlength=num_classes), 1)
    weight = 1.0 / counts[truth] / np.count_nonzero(np.bincount(truth, minlength=num_classes))
    total, chosen, reached = np.zeros(logs.shape[1:]), [], -1.0
    for _ in range(steps):
        hits = (total + logs).argmax(axis=2) == truth  # (M, N)
        values = hits @ weight
        best = int(values.argmax())
        if values[best] <= reached + 1e-9:
            break
        reached = float(values[best])
        chosen.append(best)
        total = total + logs[best]
    return chosen


def order(pools: Sequence[Pool]) -> list[tuple[int, float]]:
    """Candidates, by number, in the order in which they add most, and their gains in points."""
    common = set.intersection(*(set(pool.numbers) for pool in pools))
    places = [{n: place for place, n in enumerate(pool.numbers)} for pool in pools]
    chosen: list[int] = []
    gains: list[tuple[int, float]] = []
    reached = float(
        np.mean([1 / len(p.classes) - LOSS * np.log(len(p.classes)) for p in pools])
    )  # guessing
    while len(chosen) < MOST:
        values = {
            n: float(
                np.mean(
                    [
                        pool.value([place[m] for m in (*chosen, n)])
                        for pool, place in zip(pools, places, strict=True)
                    ]
                )
            )
            for n in sorted(common - set(chosen))
        }
        best = max(values, key=lambda n: values[n])
        gain = 100 * (values[best] - reached)
        if gain < LEAST_GAIN:
            if not chosen or len(gains) >= 10:
                break
            gain = LEAST_GAIN  # ten at least
        chosen.append(best)
        gains.append((best, round(gain, 2)))
        reached = max(reached, values[best])
    return gains


def choose(paths: Sequence[str], names: Sequence[str], out: Path) -> None:
    """Write the portfolio made from all pools, of data called by ``names``."""
    entries = configurations()
    lines = [
        "# Made by `python benchmarks/portfolio.py choose`, from trainings on:",
        *(f"# - {name}" for name in names),
        "# `gain`: points of dev UAR that a configuration adds to the ensemble of those before it;",
        f"# {LEAST_GAIN} where it added nothing that could be measured.",
    ]
    costs: dict[str, list[float]] = {}
    sections = []
    for regime in REGIMES:
        pools = [Pool(path, regime) for path in paths]
        for pool in pools:
            for name, seconds in zip(pool.architectures, pool.seconds, strict=True):
                costs.setdefault(name, []).append(float(seconds))
        sections.append(f"{regime}:")
        for number, gain in order(pools):
            entry = entries[number]
            values = json.dumps(short(entry.values))
            architecture = load_space(entry.space).architecture
            sections.append(
                f"  - {{architecture: {architecture}, space: {entry.space}, gain: {gain}, "
                f"values: {values}}}"
            )
            print(regime, entry.space, gain, flush=True)
    cheapest = sorted(costs, key=lambda name: float(np.median(costs[name])))
    lines.append(f"cheapest_first: [{', '.join(cheapest)}]")
    out.write_text("\n".join([*lines, *sections]) + "\n", encoding="utf-8")


def short(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers to three digits that count."""
    return {
        name: float(f"{value:.3g}") if isinstance(value, float) else value
        for name, value in values.items()
    }


def by_portfolio(pool: Pool, others: Sequence[Pool], seed: int) -> Iterator[int]:
    """The order in which ``search`` without names would try a pool's candidates."""
    rng = np.random.default_rng(seed)
    place = {n: i for i, n in enumerate(pool.numbers)}
    firsts = [(place[n], gain) for n, gain in order(others) if n in place]
    queues: dict[str, list[int]] = {}
    gains: dict[str, list[float]] = {}
    for i, gain in firsts:
        queues.setdefault(pool.architectures[i], []).append(i)
        gains.setdefault(pool.architectures[i], []).append(gain)
    known = {i for i, _ in firsts}
    for i in rng.permutation(len(pool.numbers)):
        if i not in known:
            queues.setdefault(pool.architectures[i], []).append(int(i))
    trials = TrialOrder(list(queues), "uar", portfolio=True)
    for name, queue in queues.items():
        trials.add(name, float(np.median(pool.seconds[queue])), gains.get(name, ()))
    asked = dict.fromkeys(queues, 0)
    while any(queues.values()):
        name = trials.next(asked, None)
        if not isinstance(name, str):
            return
        if not queues[name]:
            trials.remove(name)
            continue
        i = queues[name].pop(0)
        asked[name] += 1
        record: Any = {
            "trial": i,
            "architecture": name,
            "state": "complete",
            "seconds": float(pool.seconds[i]),
            "dev": {"uar": float(pool.mean_dev[i]), "nll": 1.0},
        }
        trials.ended(record)
        yield i


def at_random(pool: Pool, seed: int) -> Iterator[int]:
    """Every candidate as likely as the others."""
    yield from map(int, np.random.default_rng(seed).permutation(len(pool.numbers)))


def replay(pool: Pool, candidates: Iterator[int]) -> list[tuple[float, int]]:
    """Train candidates whole, two at a time; those that are complete, with the clock."""
    clocks, complete = [0.0, 0.0], []
    for i in candidates:
        worker = int(np.argmin(clocks))
        clocks[worker] += float(pool.seconds[i])
        complete.append((clocks[worker], i))
        if min(clocks) > max(BUDGETS):
            break
    return complete


def by_tpe(pool: Pool, seed: int) -> list[tuple[float, int]]:
    """TPE with successive halving, architectures in turn by name: the search before portfolios.

    What TPE suggests is taken to be the nearest candidate of the architecture that was not tried.
    """
    studies: dict[str, optuna.Study] = {}
    spaces: dict[str, SearchSpace] = {}
    left: dict[str, list[int]] = {}
    for i, name in enumerate(pool.architectures):
        left.setdefault(name, []).append(i)
        spaces[name] = _with_parts(load_space(pool.entries[i].space), pool, name)
    for name in left:
        longest = max(len(fold) for i in left[name] for fold in pool.curves[i])
        studies[name] = optuna.create_study(
            direction="maximize",
            sampler=make_sampler("tpe", seed),
            pruner=make_pruner("asha", max_epochs=longest, num_folds=len(pool.parts["dev"])),
        )
    clocks, complete = [0.0, 0.0], []
    asked = dict.fromkeys(sorted(left), 0)
    while min(clocks) <= max(BUDGETS) and any(left.values()):
        name = min((n for n in asked if left[n]), key=lambda n: asked[n])
        asked[name] += 1
        trial = studies[name].ask()
        wanted = spaces[name].suggest(trial)
        i = min(left[name], key=lambda j: distance(wanted, pool.entries[j].values, spaces[name]))
        left[name].remove(i)
        worker = int(np.argmin(clocks))
        folds, step, weak = pool.curves[i], 0, False
        scale = pool.seconds[i] / max(1e-9, sum(s for fold in folds for s, _ in fold))
        ended: list[float] = []
        for fold in folds:
            for seconds, best in fold:
                clocks[worker] += float(seconds * scale)
                step += 1
                trial.report(float(np.mean([*ended, best])), step)
                weak = trial.should_prune() and asked[name] > 1
                if weak:
                    break
            if weak:
                break
            ended.append(fold[-1][1])
        if weak:
            studies[name].tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            studies[name].tell(trial, float(pool.mean_dev[i]))
            complete.append((clocks[worker], i))
    return complete


def _with_parts(space: SearchSpace, pool: Pool, name: str) -> SearchSpace:
    """The parts of features that candidates have in the place of the features of a dataset."""
    if FEATURE not in space.parameters or space.parameters[FEATURE].query is None:
        return space
    entries = [e for e, n in zip(pool.entries, pool.architectures, strict=True) if n == name]
    parts = tuple(sorted({str(entry.values[FEATURE]) for entry in entries}))
    parameter = dataclasses.replace(space.parameters[FEATURE], values=parts, query=None)
    return dataclasses.replace(space, parameters={**space.parameters, FEATURE: parameter})


def distance(one: dict[str, Any], other: dict[str, Any], space: SearchSpace) -> float:
    """Mean difference of the parameters that two points share, each between 0 and 1."""
    found = []
    for name, value in one.items():
        parameter = space.parameters[name]
        if name not in other:
            found.append(1.0)
        elif parameter.kind == "choice":
            found.append(float(value != other[name]))
        else:
            ends = np.array([parameter.low, parameter.high, value, other[name]], float)
            low, high, a, b = np.log(ends) if parameter.log else ends
            found.append(abs(a - b) / max(high - low, 1e-12))
    return float(np.mean(found))


def compare(paths: Sequence[str], seeds: int) -> list[dict[str, Any]]:
    """Test UAR of the ensemble after each budget, on each corpus by portfolios of the others."""
    rows = []
    for regime in REGIMES:
        pools = [Pool(path, regime) for path in paths]
        for pool in pools:
            others = [other for other in pools if other is not pool]
            for name in ("portfolio", "tpe + asha", "random"):
                found = []
                for seed in range(seeds):
                    if name == "portfolio":
                        complete = replay(pool, by_portfolio(pool, others, seed))
                    elif name == "random":
                        complete = replay(pool, at_random(pool, seed))
                    else:
                        complete = by_tpe(pool, seed)
                    within = [[i for clock, i in complete if clock <= b] for b in BUDGETS]
                    found.append([pool.ensemble(members) for members in within])
                values = np.array(found)
                row = {
                    "regime": regime,
                    "corpus": Path(pool.path).name,
                    "search": name,
                    "seconds": BUDGETS,
                    "test_uar": values.mean(axis=0).round(4).tolist(),
                    "sd": values.std(axis=0, ddof=1).round(4).tolist(),
                }
                rows.append(row)
                print(regime, row["corpus"], name, row["test_uar"], row["sd"], flush=True)
    return rows


def commit() -> str:
    """Of the checkout that this script lies in."""
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("pool")
    command.add_argument("data")
    command.add_argument("out")
    command.add_argument("--part", default="0/1", help="every N-th candidate, from K on: K/N")
    command.add_argument("--skip", default="", help="spaces to leave for later, with commas")
    command = commands.add_parser("choose")
    command.add_argument("pools", nargs="+")
    command.add_argument("--name", action="append", default=[], help="what a pool is of, in order")
    command.add_argument("--out", type=Path, required=True)
    command = commands.add_parser("replay")
    command.add_argument("pools", nargs="+")
    command.add_argument("--seeds", type=int, default=5)
    command.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if given.command == "choose":
        choose(given.pools, given.name, given.out)
    elif given.command == "replay":
        content = {
            "command": f"python benchmarks/portfolio.py replay POOL... --seeds {given.seeds}",
            "commit": commit(),
            "versions": versions(),
            "hardware": hardware(),
            "rows": compare(given.pools, given.seeds),
        }
        given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    elif given.command == "pool":
        pool(given.data, given.out, given.part, given.skip.split(","))


if __name__ == "__main__":
    main()
