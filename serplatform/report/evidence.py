"""What the page claims, worked out from the posteriors on disk: systems, intervals, comparison.

Shapes: N test rows, K classes, S speakers, R resamples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.errors import ArtifactError
from serplatform.metrics import classification_metrics
from serplatform.report.load import Posteriors, Source, Trial, concatenate
from serplatform.report.wording import listing
from serplatform.statistics.bootstrap import (
    Interval,
    bootstrap_difference,
    bootstrap_intervals,
    draw_speakers,
    speaker_sums,
)
from serplatform.statistics.mcnemar import McNemarResult, mcnemar_exact
from serplatform.statistics.permutation import PermutationResult, paired_permutation_test

#: Resamples behind every interval, and their seed: the page's numbers can be made again.
RESAMPLES = 2000
SEED = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """One system measured on the test rows of every fold.

    Attributes:
        key: ``ensemble`` or ``single``.
        label: what the page calls it.
        chosen: how it was chosen, as a sentence.
        test: its posteriors, rows ordered by fold and utterance id.
        pooled: metric name to its value over all test rows, with an interval.
        by_fold: fold to metric name to value.
        recall: K estimates, one a class.
    """

    key: str
    label: str
    chosen: str
    test: Posteriors
    pooled: Mapping[str, Interval]
    by_fold: Mapping[int, Mapping[str, float]]
    recall: tuple[Interval, ...]

    def mean_and_deviation(self, metric: str) -> tuple[float, float]:
        """Mean and sample standard deviation over the folds; the latter NaN for one fold."""
        values = [fold[metric] for fold in self.by_fold.values()]
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
        return float(np.mean(values)), deviation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Ensemble minus best single, on the same test rows.

    Attributes:
        difference: metric name to the difference of the pooled values.
        permutation: of the difference in UAR; a speaker's answers are swapped together.
        mcnemar: of the accuracies; utterances count as independent.
    """

    difference: Mapping[str, Interval]
    permutation: PermutationResult
    mcnemar: McNemarResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """One trial's part in the ensemble.

    Attributes:
        name: as the ensemble names it.
        architecture: empty where unknown.
        weights: one a fold, 0 where it is not used.
        temperatures: one a fold, None where posteriors were not calibrated.
    """

    name: str
    architecture: str
    weights: tuple[float, ...]
    temperatures: tuple[float | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that figures are computed from.

    Attributes:
        source: what was read.
        classes: K names in label order.
        trials: of all runs.
        systems: the ensemble first, if there is one; then the best single trial; empty when
            no trial finished.
        comparison: of the two systems, or None.
        members: of the ensemble, largest mean weight first.
    """

    source: Source
    classes: tuple[str, ...]
    trials: tuple[Trial, ...]
    systems: tuple[System, ...]
    comparison: Comparison | None
    members: tuple[Member, ...]

    @property
    def finished(self) -> tuple[Trial, ...]:
        """Trials that were trained on every fold and have an objective."""
        return tuple(t for t in self.trials if t.state == "complete" and t.objective is not None)

    @property
    def architectures(self) -> tuple[str, ...]:
        """In the order in which trials first name them."""
        return tuple(dict.fromkeys(trial.architecture for trial in self.trials))

    def finished_by_architecture(self) -> dict[str, list[Trial]]:
        """Finished trials of each architecture that has some."""
        found: dict[str, list[Trial]] = {}
        for trial in self.finished:
            found.setdefault(trial.architecture, []).append(trial)
        return found


def recall_intervals(test: Posteriors) -> tuple[Interval, ...]:
    """Recall of each class with its percentile interval over resampled speakers.

    A resample that lacks a class says nothing of its recall and is left out for that class.

    Args:
        test: N rows, at least one.

    Returns:
        K intervals; the value is NaN for a class that does not occur, the bounds None where
        fewer than two speakers have the class.
    """
    counts = speaker_sums(test.truth, test.values, test.speaker_ids).counts  # (S, K, K)
    hits = np.diagonal(counts, axis1=1, axis2=2).astype(np.float64)  # (S, K)
    totals = counts.sum(axis=2).astype(np.float64)  # (S, K)
    times = draw_speakers(len(counts), RESAMPLES, SEED)
    drawn_totals = times @ totals  # (R, K)
    drawn_hits = times @ hits
    found = []
    for k in range(totals.shape[1]):
        whole = totals[:, k].sum()
        value = float(hits[:, k].sum() / whole) if whole else math.nan
        if (totals[:, k] > 0).sum() < 2:
            found.append(Interval(value=value, low=None, high=None))
            continue
        there = drawn_totals[:, k] > 0
        recalls = drawn_hits[there, k] / drawn_totals[there, k]
        low, high = np.quantile(recalls, [0.025, 0.975])
        found.append(Interval(value=value, low=float(low), high=float(high)))
    return tuple(found)


def measure(posteriors: Posteriors, *, key: str, label: str, chosen: str) -> System:
    """Measure a system on the test rows of its posteriors.

    Raises:
        ArtifactError: there are no test rows.
    """
    test = posteriors.where(part="test").ordered()
    if not len(test):
        raise ArtifactError(f"the posteriors of the {label.lower()} hold no test rows")
    by_fold = {}
    for fold in sorted(set(test.folds.tolist())):
        rows = test.where(fold=fold)
        by_fold[fold] = classification_metrics(rows.truth, rows.values)
    return System(
        key=key,
        label=label,
        chosen=chosen,
        test=test,
        pooled=bootstrap_intervals(
            test.truth, test.values, test.speaker_ids, num_resamples=RESAMPLES, seed=SEED
        ),
        by_fold=by_fold,
        recall=recall_intervals(test),
    )


def best_by_fold(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """For each fold the finished trial with the highest dev UAR on that fold's dev rows.

    Ties go to the higher mean dev UAR, then to the earlier trial.

    Args:
        trials: finished ones, of runs with the same folds.
    """
    complete = [t for t in trials if t.state == "complete" and t.fold_dev_uar]
    num_folds = max((len(t.fold_dev_uar) for t in complete), default=0)
    complete = [t for t in complete if len(t.fold_dev_uar) == num_folds]

    def merit(trial: Trial, fold: int) -> tuple[float, float]:
        value = trial.fold_dev_uar[fold]
        return (value if math.isfinite(value) else -math.inf, trial.objective or -math.inf)

    return tuple(max(complete, key=lambda t: merit(t, fold)) for fold in range(num_folds))


def _single(source: Source, chosen: Sequence[Trial]) -> Posteriors | None:
    """Rows of each fold from the trial that was chosen on that fold's dev rows."""
    runs = {run.path: run for run in source.runs}
    parts: list[Posteriors] = []
    read: dict[tuple[Path, int], Posteriors] = {}
    for fold, trial in enumerate(chosen):
        key = (trial.run_path, trial.number)
        if key not in read:
            read[key] = runs[trial.run_path].posteriors(trial.number)
        parts.append(read[key].where(fold=fold))
    return concatenate(parts) if parts else None


def _chosen_sentence(chosen: Sequence[Trial]) -> str:
    counts: dict[str, int] = {}
    for trial in chosen:
        counts[trial.name] = counts.get(trial.name, 0) + 1
    if len(counts) == 1:
        return f"For every fold, the highest dev UAR was that of {next(iter(counts))}."
    names = [f"{name} ({n} of {len(chosen)} folds)" for name, n in counts.items()]
    return (
        f"For each fold, the trial with the highest UAR on that fold's dev rows: {listing(names)}."
    )


def compare(first: System, second: System) -> Comparison:
    """Compare two systems on the same test rows.

    Raises:
        ArtifactError: their rows are not the same.
    """
    a, b = first.test, second.test
    if (
        a.utterance_ids != b.utterance_ids
        or not np.array_equal(a.folds, b.folds)
        or not np.array_equal(a.truth, b.truth)
    ):
        raise ArtifactError(
            "the ensemble and the best single trial were not tested on the same utterances; "
            "build the ensemble again from this run"
        )
    return Comparison(
        difference=bootstrap_difference(
            a.truth, a.values, b.values, a.speaker_ids, num_resamples=RESAMPLES, seed=SEED
        ),
        permutation=paired_permutation_test(
            a.truth,
            a.prediction,
            b.prediction,
            num_classes=a.values.shape[1],
            speaker_ids=a.speaker_ids,
            seed=SEED,
        ),
        mcnemar=mcnemar_exact(a.truth, a.prediction, b.prediction),
    )


def build_evidence(source: Source) -> Evidence:
    """Work out everything the page claims.

    Raises:
        ArtifactError: a posterior table is missing or damaged, or tables do not fit together.
    """
    trials = tuple(trial for run in source.runs for trial in run.trials)
    ensemble = source.ensemble
    classes = ensemble.classes if ensemble is not None else source.runs[0].classes
    systems: list[System] = []
    if ensemble is not None:
        systems.append(
            measure(
                ensemble.posteriors,
                key="ensemble",
                label="Ensemble",
                chosen="Members and weights of each fold were fitted on that fold's dev rows.",
            )
        )
    chosen = best_by_fold(trials)
    single = _single(source, chosen)
    if single is not None:
        systems.append(
            measure(
                single, key="single", label="Best single trial", chosen=_chosen_sentence(chosen)
            )
        )
    return Evidence(
        source=source,
        classes=classes,
        trials=trials,
        systems=tuple(systems),
        comparison=compare(*systems) if len(systems) == 2 else None,
        members=read_members(ensemble.info) if ensemble is not None else (),
    )


def read_members(info: Mapping[str, Any]) -> tuple[Member, ...]:
    """Members of ``ensemble.json`` with their weights in every fold."""
    return ()
