"""What a search costs its driver when there are many trials, and whether that grows.

Trials sleep instead of training; all else is the real thing: the studies and their sampler and
pruner, the records, the table of trials, and (unless ``--without-ray``) Ray Tune with one process
a slot. What is measured is the processor time of the driver for every hundred trials that end;
it is divided among what costs it: Optuna, our books, Ray and Tune (the rest).

``--without-ray`` drives the same books with simulated slots and a simulated clock, so that any
number of slots can be measured on a small machine. ``--utterances`` plans folds and batches
for a table of so many utterances, without any frames.

    python benchmarks/search_scale.py --without-ray --slots 64
    python benchmarks/search_scale.py --slots 64
    python benchmarks/search_scale.py --utterances 1000000
"""

from __future__ import annotations

import argparse
import functools
import heapq
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from serplatform.environment import hardware, now, versions

EPOCHS = 4


class SleepingTrial(tune.Trainable):
    """Stands for ``TrialActor``: sleeps a share of a trial a step, and writes the last record."""

    def setup(self, config: dict[str, Any]) -> None:
        self._task = json.loads(config["task"])["task"]
        self._epoch = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        self._epoch += 1
        time.sleep(float(os.environ["SCALE_SECONDS"]) / EPOCHS)
        result = report(self._task, self._epoch)
        done = self._epoch == EPOCHS
        if done:
            write_record(self._task)
        return {**result, "done": done}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


def quality(number: int, epoch: int) -> float:
    """A dev value that settings and epochs move a little."""
    return float(0.5 + 0.1 * np.sin(number * 12.9898) + 0.02 * epoch)


def entry(number: int, epoch: int) -> dict[str, Any]:
    """One epoch in a trial's history."""
    value = quality(number, epoch)
    names = ("uar", "accuracy", "macro_f1", "ova_accuracy", "ova_balanced_accuracy")
    dev = dict.fromkeys(names, value) | {"nll": 1.0, "brier": 0.5, "ece": 0.1}
    return {
        "fold": 0,
        "epoch": epoch,
        "train_loss": 1.0 / epoch,
        "learning_rate": 1e-3,
        "dev": dev,
        "seconds": 0.25,
        "padded_share": 0.05,
    }


def report(task: Mapping[str, Any], epoch: int) -> dict[str, Any]:
    """What a real trial hands to Tune after an epoch."""
    number = int(task["number"])
    return {
        "objective": quality(number, epoch),
        "host": "simulated",
        "report": json.dumps(
            {
                "step": epoch,
                "objective": quality(number, epoch),
                "epoch": epoch,
                "fold": 0,
                "num_folds": 1,
                "done": epoch == EPOCHS,
                "history": entry(number, epoch),
            }
        ),
    }


def write_record(task: Mapping[str, Any]) -> None:
    """What a real trial writes when it ends, less posteriors and models."""
    from serplatform.run_directory import RunDirectory

    number = int(task["number"])
    history = [entry(number, epoch) for epoch in range(1, EPOCHS + 1)]
    RunDirectory(task["run"]).write_record(
        {
            "schema_version": 1,
            "trial": number,
            "architecture": task["architecture"],
            "state": "complete",
            "paper": task["paper"],
            "params": dict(task["values"]),
            "seed": task["seed"],
            "device": "cpu",
            "error": None,
            "dev": history[-1]["dev"],
            "fold_dev": [history[-1]["dev"]],
            "history": history,
            "epochs": EPOCHS,
            "seconds": 1.0,
            "num_parameters": 1000,
            "peak_memory_mb": 100.0,
            "ended": time.time(),
            "host": "simulated",
            "notes": [],
        }
    )


class Account:
    """Processor time of the driver, by who spends it and by hundreds of ended trials."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.rows: list[dict[str, float]] = []
        self.ended = 0
        self._before = (time.process_time(), time.perf_counter(), dict(self.spent))
        self._depth: dict[str, int] = {}

    def charge(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Count a function's processor time under ``name``; recursion is counted once."""

        @functools.wraps(function)
        def charged(*args: Any, **kwargs: Any) -> Any:
            if self._depth.get(name):
                return function(*args, **kwargs)
            self._depth[name] = 1
            begun = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._depth[name] = 0
                self.spent[name] = self.spent.get(name, 0.0) + time.thread_time() - begun

        return charged

    def trial_ended(self) -> None:
        self.ended += 1
        if self.ended % 100:
            return
        cpu, wall, spent = time.process_time(), time.perf_counter(), dict(self.spent)
        before = self._before
        row = {
            "trials": self.ended,
            "driver_ms_a_trial": 10 * (cpu - before[0]),
            "wall_ms_a_trial": 10 * (wall - before[1]),
            **{
                f"{name}_ms_a_trial": 10 * (total - before[2].get(name, 0.0))
                for name, total in sorted(spent.items())
            },
        }
        self.rows.append({key: round(value, 2) for key, value in row.items()})
        print(json.dumps(self.rows[-1]), file=sys.stderr, flush=True)
        self._before = (cpu, wall, spent)


class Watcher:
    """The search's observer: counts the trials that end."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def trial_started(self, suggestion: Any) -> None:
        pass

    def trial_progressed(self, suggestion: Any, report: Any) -> None:
        pass

    def trial_retried(self, suggestion: Any, error: str) -> None:
        pass

    def trial_ended(self, record: Mapping[str, Any]) -> None:
        self.account.trial_ended()


def make_parts(folder: Path, options: argparse.Namespace) -> tuple[Any, Any, Any, Account]:
    """A run, its studies and plan, and the account that is kept of them."""
    from serplatform.distributed.tune.placement import SearchLimits, SearchPlan
    from serplatform.distributed.tune.tracker import TrialTracker
    from serplatform.run_directory import RunDirectory
    from serplatform.studies.space import load_space
    from serplatform.studies.study import Studies

    account = Account()
    for name in ("ask", "report", "tell"):
        charged = account.charge(f"optuna_{name}", getattr(Studies, name))
        setattr(Studies, name, charged)
    for name in ("next_config", "should_stop", "ended"):
        charged = account.charge("books_and_optuna", getattr(TrialTracker, name))
        setattr(TrialTracker, name, charged)
    setattr(TrialTracker, "write_table", account.charge("table", TrialTracker.write_table))  # noqa: B010
    run = RunDirectory(folder / "run")
    (run.path / "trials").mkdir(parents=True)
    studies = Studies(
        {options.architecture: load_space(str(options.space or options.architecture))},
        storage=str(run.journal),
        records={},
        sampler=options.sampler,
        max_epochs=EPOCHS,
        num_folds=1,
        seed=0,
    )
    limits = SearchLimits(trials=options.trials, concurrent=options.slots)
    plan = SearchPlan(dataset="none", seed=0, objective="uar", limits=limits)
    return run, studies, plan, account


def without_ray(folder: Path, options: argparse.Namespace) -> Account:
    """Drive the tracker as Tune does, over slots and a clock that are simulated."""
    from serplatform.distributed.tune.placement import Placement
    from serplatform.distributed.tune.tracker import TrialTracker

    run, studies, plan, account = make_parts(folder, options)
    placement = Placement(concurrent=options.slots, threads=1, gpus=0.0, workers=1)
    tracker = TrialTracker(run, studies, plan, placement, Watcher(account))
    rng = np.random.default_rng(0)
    events: list[tuple[float, int, str, int, dict[str, Any]]] = []
    count = 0

    def begin(moment: float) -> None:
        nonlocal count
        name = f"t{count}"
        config = tracker.next_config(name) if count < options.trials else None
        if config is not None:
            task = json.loads(config["task"])["task"]
            heapq.heappush(events, (moment + rng.uniform(0.2, 0.3), count, name, 1, task))
            count += 1

    for _ in range(options.slots):
        begin(0.0)
    while events:
        moment, order, name, epoch, task = heapq.heappop(events)
        result = report(task, epoch)
        if epoch == EPOCHS:
            write_record(task)
        stop = tracker.should_stop(name, result)
        if stop or epoch == EPOCHS:
            tracker.ended(name, None)
            begin(moment)
        else:
            heapq.heappush(events, (moment + rng.uniform(0.2, 0.3), order, name, epoch + 1, task))
    tracker.write_table()
    return account


def with_ray(folder: Path, options: argparse.Namespace) -> Account:
    """Run the search through Ray Tune, in as many processes as slots."""
    os.environ["SCALE_SECONDS"] = str(options.seconds)
    import ray

    from serplatform.distributed.cluster import connect
    from serplatform.distributed.tune import adapters
    from serplatform.distributed.tune.tuner import run_trials

    adapters.TrialActor = SleepingTrial  # type: ignore[misc,assignment]
    run, studies, plan, account = make_parts(folder, options)
    connect(num_cpus=options.slots)
    try:
        run_trials(run, studies, plan, Watcher(account), resources={"CPU": float(options.slots)})
    finally:
        ray.shutdown()
    return account


def plan_utterances(count: int, protocol: str) -> dict[str, Any]:
    """Plan folds and batches for a table of so many utterances; nothing has frames."""
    from serplatform.datasets.batching import batches
    from serplatform.protocols.plan import check_plan, make_plan, plan_hash

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.support.utterance_tables import large_table

    table = large_table(count)
    peak = _Peak()
    seconds: dict[str, float] = {}
    with peak:
        begun = time.process_time()
        plan = make_plan(table, protocol, 0)
        seconds["make_plan"] = time.process_time() - begun
        begun = time.process_time()
        check_plan(plan, table)
        seconds["check_plan"] = time.process_time() - begun
        begun = time.process_time()
        plan_hash(plan)
        seconds["hash"] = time.process_time() - begun
        lengths = (100 * np.asarray(table.column("duration"))).astype(np.int64)
        train = lengths[: len(plan.folds[0].train)]
        begun = time.process_time()
        cut = batches(train, batch_size=64, rng=np.random.default_rng(0))
        seconds["batches_of_64"] = time.process_time() - begun
        begun = time.process_time()
        batches(train, batch_size=None, frames_per_batch=20_000, rng=np.random.default_rng(0))
        seconds["batches_by_frames"] = time.process_time() - begun
    return {
        "utterances": count,
        "protocol": protocol,
        "folds": len(plan.folds),
        "batches": len(cut),
        "processor_seconds": {name: round(value, 3) for name, value in seconds.items()},
        "table_mb": round(table.nbytes / 1e6, 1),
        "peak_mb_above_table": round(peak.grown, 1),
    }


class _Peak:
    """Growth of this process's resident memory while it is entered, in MB."""

    grown = 0.0

    def __enter__(self) -> _Peak:
        self._begin = self._resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.grown = max(self.grown, self._resident() - self._begin)

    @staticmethod
    def _resident() -> float:
        import psutil

        return float(psutil.Process().memory_info().rss) / 1e6


def main() -> None:
    """Measure, and print or write the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0, help="a trial sleeps")
    parser.add_argument("--architecture", default="moma")
    parser.add_argument("--space", type=Path)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--without-ray", action="store_true")
    parser.add_argument("--utterances", type=int)
    parser.add_argument("--protocol", default="speaker-kfold:5")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--profile", type=Path, help="write a cProfile of the driver there")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "date": now(),
        "command": "python benchmarks/search_scale.py " + " ".join(sys.argv[1:]),
        "hardware": hardware(),
        "versions": versions(),
    }
    if options.utterances:
        result["plan"] = plan_utterances(options.utterances, options.protocol)
    else:
        measure = without_ray if options.without_ray else with_ray
        with tempfile.TemporaryDirectory(prefix="serplatform-scale-") as name:
            if options.profile:
                import cProfile

                profiler = cProfile.Profile()
                account = profiler.runcall(measure, Path(name), options)
                profiler.dump_stats(options.profile)
            else:
                account = measure(Path(name), options)
            journal = Path(name) / "run" / "study.journal"
            result["journal_bytes_a_trial"] = round(journal.stat().st_size / options.trials)
        rows = account.rows
        result |= {
            "trials": account.ended,
            "slots": options.slots,
            "ray": not options.without_ray,
            "reports_a_trial": EPOCHS,
            "driver_ms_a_trial": round(
                sum(row["driver_ms_a_trial"] for row in rows) / max(1, len(rows)), 2
            ),
            "by_hundred": rows,
            "peak_driver_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }
    text = json.dumps(result, indent=2)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
