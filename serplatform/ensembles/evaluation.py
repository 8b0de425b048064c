"""Measure combined posteriors on test rows: folds, intervals, tests, speakers, rejection.

Shapes: N pooled test rows, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serplatform.arrays import BoolArray, DoubleArray, IntArray
from serplatform.artifacts.ensemble import IntervalRecord, Spread
from serplatform.ensembles.calibration import apply_temperature
from serplatform.ensembles.nested import FoldEnsemble, PooledTest
from serplatform.ensembles.posteriors import Library
from serplatform.ensembles.rejection import (
    WISHES,
    answered,
    choose_threshold,
    coverage_accuracy_curve,
    grant,
)
from serplatform.metrics import (
    METRICS,
    classification_metrics,
    confusion_counts,
    reliability_bins,
)
from serplatform.statistics.chance import chance_uar, exceeds_chance, place_of_chance
from serplatform.statistics.intervals import Interval, metric_differences, metric_intervals


def pooled_posteriors(ensembles: Sequence[FoldEnsemble]) -> DoubleArray:
    """(N, K) test posteriors of all folds, in the order of :func:`nested.pool_test`."""
    return np.concatenate([ensemble.test for ensemble in ensembles])


def fold_metrics(library: Library, ensemble: FoldEnsemble) -> dict[str, dict[str, float]]:
    """Every metric on the dev (fitted on) and test rows of a fold."""
    return {
        "dev": dev_metrics(library, ensemble),
        "test": classification_metrics(library.take(ensemble.fold, "test").truth, ensemble.test),
    }


def dev_metrics(library: Library, ensemble: FoldEnsemble) -> dict[str, float]:
    """Every metric on the dev rows of a fold, which the ensemble was fitted on."""
    return classification_metrics(library.take(ensemble.fold, "dev").truth, ensemble.dev)


def over_folds(per_fold: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Mean and sample standard deviation of each metric; the latter is None for one fold."""
    found: dict[str, Spread] = {}
    for name in METRICS:
        values = [metrics[name] for metrics in per_fold]
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        found[name] = {"mean": float(np.mean(values)), "sd": std}
    return found


def pooled_intervals(pooled: PooledTest, posteriors: DoubleArray) -> dict[str, IntervalRecord]:
    """Every metric over all test rows with its interval over speakers."""
    found = metric_intervals(pooled.truth, posteriors, pooled.speaker_ids)
    return {name: interval.as_dict() for name, interval in found.items()}


def against_chance(
    pooled: PooledTest, systems: Mapping[str, Mapping[str, IntervalRecord]]
) -> dict[str, Any]:
    """UAR of guessing, and which systems' pooled UAR lies above it with its whole interval."""
    chance = chance_uar(pooled.truth)
    above = {name: exceeds_chance(Interval(**m["uar"]), chance) for name, m in systems.items()}
    return {"uar": chance, "exceeded": above}


def no_better_than_chance(content: Mapping[str, Any]) -> str | None:
    """One sentence where the ensemble of an ``ensemble.json`` is not shown to beat guessing."""
    if content["chance"]["exceeded"]["ensemble"]:
        return None
    uar, chance = Interval(**content["pooled"]["ensemble"]["uar"]), content["chance"]["uar"]
    verb = "does not exceed" if uar.low is None else f"{place_of_chance(uar, chance)}, at 95 %,"
    return (
        f"Not shown to be better than chance: the ensemble's test UAR, {uar.in_percent()}, {verb} "
        f"{100 * chance:.1f} %, what guessing gives."
    )


def compare(
    pooled: PooledTest, ours: DoubleArray, theirs: DoubleArray
) -> dict[str, dict[str, IntervalRecord]]:
    """How far two systems, (N, K) each, differ on the same utterances, and the tests of that."""
    found = metric_differences(pooled.truth, ours, theirs, pooled.speaker_ids)
    return {"difference": {name: interval.as_dict() for name, interval in found.items()}}


def grouped_metrics(
    groups: Sequence[str | None], truth: IntArray, systems: Mapping[str, DoubleArray]
) -> dict[str, dict[str, Any]]:
    """Metrics of each system within each group (a speaker, a gender), groups sorted.

    ``groups`` are N names; rows with None are left out.
    """
    names = np.array(groups, dtype=object)
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({group for group in groups if group is not None}):
        rows = names == name
        measured = {n: classification_metrics(truth[rows], p[rows]) for n, p in systems.items()}
        found[name] = {"utterances": int(rows.sum()), **measured}
    return found


def confusions(truth: IntArray, systems: Mapping[str, DoubleArray]) -> dict[str, list[list[int]]]:
    """(K, K) counts of each system, rows the truth."""
    return {
        name: confusion_counts(truth, table.argmax(axis=1), table.shape[1]).tolist()
        for name, table in systems.items()
    }


def calibration(pooled: PooledTest, ensembles: Sequence[FoldEnsemble]) -> dict[str, Any]:
    """Reliability of the pooled test posteriors, as they are and at the dev temperatures."""
    raw = pooled_posteriors(ensembles)
    scaled = np.concatenate([apply_temperature(e.test, e.output_temperature) for e in ensembles])
    return {
        name: {
            **{key: classification_metrics(pooled.truth, table)[key] for key in ("ece", "nll")},
            "reliability": [
                dataclasses.asdict(found) for found in reliability_bins(pooled.truth, table)
            ],
        }
        for name, table in (("as_combined", raw), ("calibrated", scaled))
    }


def rejection(
    library: Library,
    pooled: PooledTest,
    ensembles: Sequence[FoldEnsemble],
    *,
    error_share: float = 0.5,
) -> dict[str, Any]:
    """Rejection: each fold's threshold from its dev rows, applied to its test rows.

    Confidence is the top posterior at the temperature fitted on the fold's dev rows. A fold
    whose dev rows offer no threshold that brings the error down to ``error_share`` of what it is
    without rejection answers everything.
    """
    folds, found, answers, granted = [], [], [], []
    for ensemble in ensembles:
        parts = {}
        for part, table in (("dev", ensemble.dev), ("test", ensemble.test)):
            calibrated = apply_temperature(table, ensemble.output_temperature)
            truth = library.take(ensemble.fold, part).truth
            parts[part] = calibrated.max(axis=1), calibrated.argmax(axis=1) == truth
        chosen = choose_threshold(*parts["dev"], error_share=error_share)
        kept = parts["test"][0] >= (0.0 if chosen is None else chosen.threshold)
        curve = coverage_accuracy_curve(*parts["dev"], num_points=401)
        found.append(parts)
        answers.append(kept)
        granted.append([grant(curve, wish, rows=len(parts["dev"][0])) for wish in WISHES])
        folds.append(
            {
                "fold": ensemble.fold,
                "temperature": ensemble.output_temperature,
                "threshold": chosen and chosen.threshold,
                "dev": chosen and {"coverage": chosen.coverage, "accuracy": chosen.accuracy},
                "test": answered(kept, parts["test"][1]),
            }
        )
    confidence, correct = _pool(found, "test")
    dev = _pool(found, "dev")
    return {
        "error_share": error_share,
        "folds": folds,
        "test": {
            **answered(np.concatenate(answers), correct),
            "accuracy_without_rejection": float(correct.mean()),
        },
        "curve": coverage_accuracy_curve(confidence, correct),
        # what a threshold for new recordings is chosen from: no test row is in it
        "dev": {"rows": len(dev[0]), "curve": coverage_accuracy_curve(*dev, num_points=401)},
        # each granted by the folds' dev rows, a fold that cannot grant it answers nothing
        "wishes": [
            {
                "kind": wish.kind,
                "value": wish.value,
                "folds_granted": sum(point is not None for point in points),
                "test": answered(
                    np.concatenate(
                        [
                            parts["test"][0] >= (np.inf if point is None else point.threshold)
                            for parts, point in zip(found, points, strict=True)
                        ]
                    ),
                    correct,
                ),
            }
            for wish, points in zip(WISHES, zip(*granted, strict=True), strict=True)
        ],
    }


_Rows = tuple[DoubleArray, BoolArray]


def _pool(found: Sequence[Mapping[str, _Rows]], part: str) -> _Rows:
    """Confidences and hits of one part of all folds."""
    rows = [parts[part] for parts in found]
    return np.concatenate([c for c, _ in rows]), np.concatenate([h for _, h in rows])
