"""Time greedy ensemble selection against a straightforward loop over the same selection.

The straightforward loop is what one writes first: for each round and candidate, add the
candidate's (N, K) posteriors to the sum, take the argmax and compute UAR. Both must select the
same members. The loop's time is measured on ``--loop-rounds`` rounds and scaled to all rounds,
since every round costs it the same. Times are CPU seconds of this one-threaded process, which a
busy machine stretches less than wall seconds; both are printed. Where ``autogluon.core`` can be
imported, ``--autogluon-rounds N`` times its ``EnsembleSelection`` on the same posteriors.

Run on one core:

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 taskset -c 0 python benchmarks/greedy_selection.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time

import numpy as np

from serplatform.ensembles.base import PosteriorSet
from serplatform.ensembles.greedy import CandidateTable, Greedy, select_members


def make_posteriors(
    num_members: int, num_rows: int, num_classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors of members between 35 % and 60 % accuracy with errors in common."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, num_rows)
    shared = rng.normal(0, 1, (num_rows, num_classes))
    posteriors = np.empty((num_members, num_rows, num_classes))
    for m in range(num_members):
        logits = shared + rng.normal(0, 1, (num_rows, num_classes))
        logits[np.arange(num_rows), truth] += rng.uniform(0.8, 2.0)
        logits *= rng.uniform(0.6, 2.0)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        posteriors[m] = logits / logits.sum(axis=1, keepdims=True)
    return posteriors, truth


def straightforward_selection(
    posteriors: np.ndarray, truth: np.ndarray, num_rounds: int
) -> list[int]:
    """The selection, each candidate scored from scratch on all utterances."""
    num_members, num_rows, num_classes = posteriors.shape
    total = np.zeros((num_rows, num_classes))
    class_rows = [np.flatnonzero(truth == k) for k in range(num_classes)]
    chosen = []
    for _ in range(num_rounds):
        best = (-np.inf, -np.inf)
        best_member = -1
        for m in range(num_members):
            candidate = total + posteriors[m]
            right = candidate.argmax(axis=1) == truth
            uar = float(np.mean([right[rows].mean() for rows in class_rows]))
            if uar < best[0] - 1e-12:
                continue
            mean = candidate[np.arange(num_rows), truth] / (len(chosen) + 1)
            value = (uar, float(np.log(np.maximum(mean, 1e-12)).mean()))
            if uar > best[0] + 1e-12 or value[1] > best[1]:
                best, best_member = value, m
        chosen.append(best_member)
        total += posteriors[best_member]
    return chosen


def autogluon_seconds(posteriors: np.ndarray, truth: np.ndarray, num_rounds: int) -> float:
    """CPU seconds of AutoGluon's selection with the same objective."""
    from autogluon.core.metrics import balanced_accuracy
    from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection

    selection = EnsembleSelection(
        ensemble_size=num_rounds,
        problem_type="multiclass",
        metric=balanced_accuracy,
        tie_breaker="second_metric",
    )
    start = time.process_time()
    selection.fit(list(posteriors), truth)
    return time.process_time() - start


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--utterances", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--loop-rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="the median is reported")
    parser.add_argument("--bagged", action="store_true", help="also time the bagged combiner")
    parser.add_argument("--autogluon-rounds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    posteriors, truth = make_posteriors(args.members, args.utterances, args.classes, args.seed)

    timings = []
    for _ in range(args.repeats):
        clock, start, system = time.perf_counter(), time.process_time(), os.times().system
        table = CandidateTable(posteriors, truth, "uar")
        prepared = time.process_time()
        rounds = select_members(table, num_rounds=args.rounds)
        done = time.process_time()
        waited = time.perf_counter() - clock
        timings.append((done - start, prepared - start, os.times().system - system, waited))
    seconds, prepare_seconds, system_seconds, wall_seconds = sorted(timings)[len(timings) // 2]

    straightforward_selection(posteriors[:2], truth, 1)
    loop_start = time.process_time()
    chosen = straightforward_selection(posteriors, truth, args.loop_rounds)
    loop_seconds = (time.process_time() - loop_start) / args.loop_rounds * args.rounds
    result = {
        "members": args.members,
        "utterances": args.utterances,
        "classes": args.classes,
        "rounds": args.rounds,
        "repeats": args.repeats,
        "prepare_seconds": round(prepare_seconds, 2),
        "seconds": round(seconds, 2),
        "slowest_seconds": round(max(timings)[0], 2),
        "system_seconds": round(system_seconds, 2),  # mostly pages touched for the first time
        "wall_seconds": round(wall_seconds, 2),
        "loop_rounds_measured": args.loop_rounds,
        "loop_seconds": round(loop_seconds, 1),
        "speedup": round(loop_seconds / seconds, 1),
        "same_selection": chosen == [r.member for r in rounds[: args.loop_rounds]],
        "dev_uar": round(rounds[-1].value, 4),
        "best_single_dev_uar": round(float(table.solo_scores().max()), 4),
    }
    if args.bagged:
        ids = tuple(map(str, range(args.utterances)))
        dev = PosteriorSet(
            part="dev",
            utterance_ids=ids,
            speaker_ids=ids,
            truth=truth,
            posteriors=posteriors,
            members=tuple(f"m{m:05d}" for m in range(args.members)),
            classes=tuple(map(str, range(args.classes))),
        )
        start = time.process_time()
        greedy = Greedy()
        greedy.fit(dev)
        result["bagged_combiner_seconds"] = round(time.process_time() - start, 2)
        result["bags"] = greedy.num_bags
    if args.autogluon_rounds:
        cost = autogluon_seconds(posteriors, truth, args.autogluon_rounds)
        result["autogluon_rounds_measured"] = args.autogluon_rounds
        result["autogluon_seconds"] = round(cost / args.autogluon_rounds * args.rounds, 1)
        result["autogluon_speedup"] = round(result["autogluon_seconds"] / seconds, 1)
    result["python"] = platform.python_version()
    result["numpy"] = np.__version__
    result["processor"] = platform.processor() or platform.machine()
    result["threads"] = os.environ.get("OMP_NUM_THREADS", "default")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
