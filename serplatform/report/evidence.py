"""What the page claims, worked out from the posteriors on disk: systems, intervals, comparison.

Shapes: N test rows, K classes, S speakers, R resamples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from serplatform.artifacts.ensemble import (
    ComparisonRecord,
    EnsembleRecord,
    IntervalRecord,
    MemberRecord,
)
from serplatform.artifacts.trial import merit
from serplatform.errors import ArtifactError
from serplatform.metrics import classification_metrics
from serplatform.report.load import Ensemble, Posteriors, Source, Trial, concatenate
from serplatform.report.resampling import RESAMPLES, SEED, Resampling, recall_intervals
from serplatform.report.wording import METRICS, listing, plural
from serplatform.statistics.bootstrap import (
    Interval,
    bootstrap_difference,
    bootstrap_intervals,
)
from serplatform.statistics.mcnemar import McNemarResult, mcnemar_exact
from serplatform.statistics.permutation import PermutationResult, paired_permutation_test

R = TypeVar("R", PermutationResult, McNemarResult)

#: Largest difference between a recorded metric and the same computed again from the posteriors.
TOLERANCE = 1e-6

LABELS = {"ensemble": "Ensemble", "single": "Best single trial", "mean": "Mean of all trials"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A system's test metrics.

    Attributes:
        key: ``ensemble``, ``single`` or ``mean``.
        label: what the page calls it.
        chosen: how it was chosen, as a sentence.
        pooled: metric name to its value over all test rows, with an interval.
        by_fold: fold to metric name to value.
    """

    key: str
    label: str
    chosen: str
    pooled: Mapping[str, Interval]
    by_fold: Mapping[int, Mapping[str, float]]

    def mean_and_deviation(self, metric: str) -> tuple[float, float]:
        """Mean and sample standard deviation over the folds; the latter NaN for one fold."""
        values = [fold[metric] for fold in self.by_fold.values()]
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
        return float(np.mean(values)), deviation


@dataclasses.dataclass(frozen=True, kw_only=True)
class System(Measured):
    """A system whose posteriors are at hand.

    Attributes:
        test: its posteriors, rows ordered by fold and utterance id.
        recall: K estimates, one a class.
    """

    test: Posteriors
    recall: tuple[Interval, ...]


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
    """One trial's part in the ensemble; values are means over the folds that use it.

    Attributes:
        name: what the page calls it.
        architecture: registered name.
        weights: one a fold, 0 where it is not used.
        shares: weights divided by their fold's sum.
        temperatures: one a fold, None where posteriors were not calibrated.
        dev_uar: of the trial alone.
        test_uar: of the trial alone.
        gain: UAR on test rows that the ensemble loses without it, None where unknown.
    """

    name: str
    architecture: str
    weights: tuple[float, ...]
    shares: tuple[float, ...]
    temperatures: tuple[float | None, ...]
    dev_uar: float | None
    test_uar: float | None
    gain: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that figures are computed from.

    Attributes:
        source: what was read.
        classes: K names in label order.
        trials: of all runs.
        systems: the ensemble first, if there is one; then the best single trial; empty when
            no trial finished.
        recorded: systems of which only the metrics are at hand.
        comparison: of the two systems, or None.
        members: of the ensemble, largest mean share first.
        used: trials that a system is made of, as far as their runs are there.
        resamples: behind every interval.
    """

    source: Source
    classes: tuple[str, ...]
    trials: tuple[Trial, ...]
    systems: tuple[System, ...]
    recorded: tuple[Measured, ...]
    comparison: Comparison | None
    members: tuple[Member, ...]
    used: tuple[Trial, ...]
    resamples: int = RESAMPLES

    @property
    def measured(self) -> tuple[Measured, ...]:
        """All systems: ensemble, best single trial, mean of all trials."""
        order = {"ensemble": 0, "single": 1, "mean": 2}
        return tuple(sorted([*self.systems, *self.recorded], key=lambda m: order[m.key]))

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


def measure(posteriors: Posteriors, *, key: str, chosen: str, drawing: Resampling) -> System:
    """Measure a system on the test rows of its posteriors.

    Raises:
        ArtifactError: there are no test rows.
    """
    test = posteriors.where(part="test").ordered()
    if not len(test):
        raise ArtifactError(f"the posteriors of the {LABELS[key].lower()} hold no test rows")
    by_fold = {}
    for fold in sorted(set(test.folds.tolist())):
        rows = test.where(fold=fold)
        by_fold[fold] = classification_metrics(rows.truth, rows.values)
    return System(
        key=key,
        label=LABELS[key],
        chosen=chosen,
        test=test,
        pooled=bootstrap_intervals(
            test.truth,
            test.values,
            test.speaker_ids,
            num_resamples=drawing.resamples,
            seed=drawing.seed,
        ),
        by_fold=by_fold,
        recall=recall_intervals(test, drawing),
    )


def best_by_fold(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """For each fold the finished trial with the highest dev UAR on that fold's dev rows.

    Ties go to the lower dev NLL, then by name to the earlier trial, as in an ensemble's
    combiner ``single``.

    Args:
        trials: finished ones, of runs with the same folds.
    """
    complete = [t for t in trials if t.state == "complete" and t.fold_dev_uar]
    num_folds = max((len(t.fold_dev_uar) for t in complete), default=0)
    complete = [t for t in complete if len(t.fold_dev_uar) == num_folds]

    def rank(trial: Trial, fold: int) -> tuple[float, float]:
        nll = trial.fold_dev_nll[fold] if trial.fold_dev_nll else math.inf
        return merit({"uar": trial.fold_dev_uar[fold], "nll": nll}, "uar")

    complete.sort(key=lambda t: (t.run, t.number))
    return tuple(max(complete, key=lambda t: rank(t, fold)) for fold in range(num_folds))


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


def _chosen_sentence(chosen: Sequence[Trial], objective: str = "uar") -> str:
    title = METRICS[objective][0] if objective in METRICS else objective
    rule = f"the trial with the best {title} on that fold's dev rows"
    counts: dict[str, int] = {}
    for trial in chosen:
        counts[trial.name] = counts.get(trial.name, 0) + 1
    if len(counts) == 1:
        return f"For each fold, {rule}: always {next(iter(counts))}."
    names = [
        f"{name} ({plural(n, 'fold')})" for name, n in sorted(counts.items(), key=lambda i: -i[1])
    ]
    return f"For each fold, {rule}: {listing(names)}."


def compare(first: System, second: System, drawing: Resampling) -> Comparison:
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
            a.truth,
            a.values,
            b.values,
            a.speaker_ids,
            num_resamples=drawing.resamples,
            seed=drawing.seed,
        ),
        permutation=paired_permutation_test(
            a.truth,
            a.prediction,
            b.prediction,
            num_classes=a.values.shape[1],
            speaker_ids=a.speaker_ids,
            seed=drawing.seed,
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
    if ensemble is not None:
        return _ensemble_evidence(source, ensemble, trials)
    chosen = best_by_fold(trials)
    single = _single(source, chosen)
    drawing = Resampling()
    systems = []
    if single is not None:
        sentence = _chosen_sentence(chosen)
        systems.append(measure(single, key="single", chosen=sentence, drawing=drawing))
    return Evidence(
        source=source,
        classes=source.runs[0].classes,
        trials=trials,
        systems=tuple(systems),
        recorded=(),
        comparison=None,
        members=(),
        used=_unique(chosen),
    )


def _unique(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    return tuple({(trial.run_path, trial.number): trial for trial in trials}.values())


def _ensemble_evidence(source: Source, ensemble: Ensemble, trials: tuple[Trial, ...]) -> Evidence:
    info = ensemble.info
    drawing = Resampling(
        resamples=info.get("num_resamples", RESAMPLES), seed=info.get("seed", SEED)
    )
    systems = [
        measure(
            ensemble.posteriors,
            key="ensemble",
            chosen="Members and weights of each fold were fitted on that fold's dev rows.",
            drawing=drawing,
        )
    ]
    _check_recorded(ensemble, systems[0])
    recorded = {m.key: m for m in read_recorded(info)}
    by_number = {
        (name, trial.number): trial for name, run in source.named.items() for trial in run.trials
    }
    keys = [(f["best_single"]["run"], f["best_single"]["trial"]) for f in info["folds"]]
    chosen = [by_number[key] for key in keys if key in by_number]
    single = _single(source, chosen) if len(chosen) == len(keys) else None
    if single is not None:
        sentence = _chosen_sentence(chosen, info.get("objective", "uar"))
        systems.append(measure(single, key="single", chosen=sentence, drawing=drawing))
        recorded.pop("single", None)
        comparison = compare(systems[0], systems[1], drawing)
    else:
        comparison = read_comparison(info["comparison"])
    parts = [(m["run"], m["trial"]) for f in info["folds"] for m in f["members"]]
    members = [by_number[key] for key in parts if key in by_number]
    return Evidence(
        source=source,
        classes=ensemble.classes,
        trials=trials,
        systems=tuple(systems),
        recorded=tuple(recorded.values()),
        comparison=comparison,
        members=read_members(info),
        used=_unique([*chosen, *members]),
        resamples=drawing.resamples,
    )


def _check_recorded(ensemble: Ensemble, system: System) -> None:
    """Refuse an ensemble whose description was not made from the posteriors beside it."""
    for name, found in ensemble.info["pooled"]["ensemble"].items():
        if name in system.pooled and abs(found["value"] - system.pooled[name].value) > TOLERANCE:
            raise ArtifactError(
                f"{ensemble.path}: ensemble.json records {name} {found['value']:.6f}, but "
                f"posteriors.parquet gives {system.pooled[name].value:.6f}; build the ensemble "
                "again"
            )


def _interval(found: IntervalRecord) -> Interval:
    return Interval(value=found["value"], low=found["low"], high=found["high"])


def read_recorded(info: EnsembleRecord) -> tuple[Measured, ...]:
    """Metrics of the best single trial and the mean of all, as ``ensemble.json`` has them."""
    found = []
    for key, name, chosen in (
        ("single", "best_single", "For each fold, the trial with the best objective on dev rows."),
        ("mean", "mean_of_all", "Equal weights for every finished trial; nothing is chosen."),
    ):
        if name not in info["pooled"] or any(name not in f["metrics"] for f in info["folds"]):
            continue
        found.append(
            Measured(
                key=key,
                label=LABELS[key],
                chosen=chosen,
                pooled={k: _interval(v) for k, v in info["pooled"][name].items()},
                by_fold={f["fold"]: f["metrics"][name]["test"] for f in info["folds"]},
            )
        )
    return tuple(found)


def read_comparison(found: ComparisonRecord) -> Comparison:
    """The comparison of ensemble and best single trial, as ``ensemble.json`` has it."""
    return Comparison(
        difference={name: _interval(v) for name, v in found["difference"].items()},
        permutation=_result(PermutationResult, found["permutation"]["uar"]),
        mcnemar=_result(McNemarResult, found["mcnemar"]),
    )


def _result(kind: type[R], found: Mapping[str, Any]) -> R:
    """A test's result of the record's values; keys of later versions are left out."""
    return kind(**{name: found[name] for name in kind.__annotations__})


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def member_labels(info: EnsembleRecord) -> dict[str, str]:
    """The ensemble's name of each member to what the page calls it."""
    several = len(info["runs"]) > 1
    labels = {}
    for row in (row for fold in info["folds"] for row in fold["members"]):
        label = f"{row['architecture']} #{row['trial']}"
        run = row["member"].rpartition("/")[0]
        labels[row["member"]] = f"{run}: {label}" if several else label
    return labels


def read_members(info: EnsembleRecord) -> tuple[Member, ...]:
    """Members of ``ensemble.json`` with their weights in every fold, largest mean share first."""
    folds = info["folds"]
    labels = member_labels(info)
    rows: dict[str, dict[int, MemberRecord]] = {}
    for i, fold in enumerate(folds):
        for row in fold["members"]:
            rows.setdefault(row["member"], {})[i] = row
    members = []
    for name, by_fold in rows.items():
        first = next(iter(by_fold.values()))
        found = list(by_fold.values())
        each = [by_fold.get(i) for i in range(len(folds))]
        members.append(
            Member(
                name=labels[name],
                architecture=first["architecture"],
                weights=tuple(r["weight"] if r else 0.0 for r in each),
                shares=tuple(r["share"] if r else 0.0 for r in each),
                temperatures=tuple(r["temperature"] if r else None for r in each),
                dev_uar=_mean([row["dev"]["uar"] for row in found]),
                test_uar=_mean([row["test"]["uar"] for row in found]),
                gain=_mean([(row["gain"]["test"] or {}).get("uar") for row in found]),
            )
        )
    return tuple(sorted(members, key=lambda m: (-sum(m.shares), m.name)))
