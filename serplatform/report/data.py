"""What figures and sentences are made of: systems, their intervals, their comparison, members.

Shapes: N test rows, K classes, S speakers, R resamples.
"""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from serplatform.artifacts.ensemble import (
    ComparisonRecord,
    EnsembleRecord,
    IntervalRecord,
    MemberRecord,
)
from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import merit
from serplatform.errors import ArtifactError
from serplatform.metrics import classification_metrics
from serplatform.report.load import (
    Posteriors,
    ReportedEnsemble,
    ReportedRun,
    ReportSource,
    ReportTrial,
    concatenate,
)
from serplatform.report.speaker_intervals import Resampling
from serplatform.report.wording import METRICS, listing, plural
from serplatform.statistics.bootstrap import (
    Interval,
    bootstrap_intervals,
)

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

#: Largest difference between a recorded metric and the same computed again from the posteriors.
TOLERANCE = 1e-6


def explanations_file(run: ReportedRun) -> Path:
    """What ``explain`` writes of a run."""
    return run.path / "explanations" / "explanations.json"


class NoDataError(Exception):
    """The figure has nothing to show; the message says why, in one line, for the reader."""


class Need(enum.Enum):
    """What figures cannot do without; the value is what the page says where it is lacking."""

    TRIALS = "no trial was recorded"
    TESTED_SYSTEM = "no finished trial has test posteriors"
    ENSEMBLE = "there is no ensemble of this run; make one with `serplatform ensemble`"
    EXPLANATIONS = "nothing was explained yet; run `serplatform explain RUN`"


LABELS = {"ensemble": "Ensemble", "single": "Best single trial", "mean": "Mean of all trials"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuredSystem:
    """A system's test metrics: ``pooled`` over all rows, with intervals, and ``by_fold``.

    Its ``key`` is ``ensemble``, ``single`` or ``mean``; ``chosen`` says in a sentence how it was.
    """

    key: str
    chosen: str
    pooled: Mapping[str, Interval]
    by_fold: Mapping[int, Mapping[str, float]]

    @property
    def label(self) -> str:
        """What the page calls it."""
        return LABELS[self.key]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluatedSystem(MeasuredSystem):
    """A system whose posteriors are at hand, ordered by fold and utterance id."""

    test: Posteriors


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleMember:
    """One trial's part in the ensemble; metrics are means over the folds that use it.

    Attributes:
        weights: one per fold, 0 where it is not used.
        shares: weights divided by their fold's sum.
        temperatures: one per fold, None where posteriors were not calibrated.
        dev_uar: of the trial alone; so is ``test_uar``.
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

    @property
    def num_folds(self) -> int:
        return sum(share > 0 for share in self.shares)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything that figures are computed from.

    Attributes:
        source: what was read.
        classes: K names in label order.
        trials: of all runs.
        systems: the ensemble first, if there is one; then the best single trial; empty when
            no trial finished.
        recorded: systems of which only the metrics are at hand.
        comparison: of the ensemble with the best single trial, or None.
        members: of the ensemble, largest mean share first.
        used: trials that a system is made of, as far as their runs are there.
        drawing: how every interval was drawn.
    """

    source: ReportSource
    classes: tuple[str, ...]
    trials: tuple[ReportTrial, ...]
    systems: tuple[EvaluatedSystem, ...]
    recorded: tuple[MeasuredSystem, ...]
    comparison: ComparisonRecord | None
    members: tuple[EnsembleMember, ...]
    used: tuple[ReportTrial, ...]
    drawing: Resampling = dataclasses.field(default_factory=Resampling)

    def require(self, *needs: Need) -> None:
        """Raise NoDataError for the first need that is not met."""
        met = {
            Need.TRIALS: self.trials,
            Need.TESTED_SYSTEM: self.systems,
            Need.ENSEMBLE: self.source.ensemble,
            Need.EXPLANATIONS: [r for r in self.source.runs if explanations_file(r).is_file()],
        }
        for need in needs:
            if not met[need]:
                raise NoDataError(need.value)

    @property
    def ensemble(self) -> EnsembleRecord:
        """The content of ``ensemble.json``; NoDataError where there is none."""
        if self.source.ensemble is None:
            raise NoDataError(Need.ENSEMBLE.value)
        return self.source.ensemble.info

    @property
    def description(self) -> RunDescription | EnsembleRecord:
        """What says where the data came from: the first run, else the ensemble itself."""
        return self.source.runs[0].info if self.source.runs else self.ensemble

    @property
    def dataset(self) -> Mapping[str, Any]:
        """The description's account of the dataset; empty where it has none."""
        return self.description.get("dataset") or {}

    @property
    def plan(self) -> Mapping[str, Any]:
        """The fold plan: the run's fold file, else what the ensemble keeps of it."""
        if self.source.runs:
            return self.source.runs[0].plan
        return self.description.get("protocol") or {}

    @property
    def protocol(self) -> str:
        """The protocol as the command line takes it."""
        return str(self.plan.get("protocol") or self.plan.get("name") or "unknown")

    @property
    def measured(self) -> tuple[MeasuredSystem, ...]:
        """All systems: ensemble, best single trial, mean of all trials."""
        order = {"ensemble": 0, "single": 1, "mean": 2}
        return tuple(sorted([*self.systems, *self.recorded], key=lambda m: order[m.key]))

    @property
    def finished(self) -> tuple[ReportTrial, ...]:
        """Trials that were trained on every fold and have an objective."""
        return tuple(t for t in self.trials if t.state == "complete" and t.objective is not None)

    @property
    def architectures(self) -> tuple[str, ...]:
        """In the order in which trials first name them."""
        return tuple(dict.fromkeys(trial.architecture for trial in self.trials))

    def finished_by_architecture(self) -> dict[str, list[ReportTrial]]:
        """Finished trials of each architecture that has some."""
        return grouped(self.finished, lambda trial: trial.architecture)


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by what ``key`` gives of each, in the order in which they come.

    Example:
        >>> grouped([3, 1, 4], lambda n: n % 2)
        {1: [3, 1], 0: [4]}
    """
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def measure(
    posteriors: Posteriors, *, key: str, chosen: str, drawing: Resampling
) -> EvaluatedSystem:
    """Measure a system on its test rows."""
    test = _test_rows(posteriors, key)
    return EvaluatedSystem(
        key=key,
        chosen=chosen,
        pooled=bootstrap_intervals(
            test.truth,
            test.values,
            test.speaker_ids.tolist(),
            num_resamples=drawing.resamples,
            seed=drawing.seed,
        ),
        by_fold={
            fold: classification_metrics(rows.truth, rows.values)
            for fold in sorted(set(test.folds.tolist()))
            for rows in [test.where(fold=fold)]
        },
        test=test,
    )


def _test_rows(posteriors: Posteriors, key: str) -> Posteriors:
    """The test rows of a system's posteriors, by fold and utterance id."""
    test = posteriors.where(part="test").ordered()
    if not len(test):
        raise ArtifactError(f"the posteriors of the {LABELS[key].lower()} hold no test rows")
    return test


def best_by_fold(trials: Sequence[ReportTrial]) -> tuple[ReportTrial, ...]:
    """For each fold the finished trial with the highest dev UAR on that fold's dev rows.

    Ties go to the lower dev NLL, then by name to the earlier trial, as in an ensemble's
    combiner ``single``.
    """
    complete = [t for t in trials if t.state == "complete" and t.fold_dev]
    num_folds = max((len(t.fold_dev) for t in complete), default=0)
    complete = [t for t in complete if len(t.fold_dev) == num_folds]
    complete.sort(key=lambda t: (t.run, t.number))
    return tuple(
        max(complete, key=lambda t: merit(t.fold_dev[fold], "uar")) for fold in range(num_folds)
    )


def _single(source: ReportSource, chosen: Sequence[ReportTrial]) -> Posteriors | None:
    """Rows of each fold from the trial that was chosen on that fold's dev rows."""
    runs = {run.path: run for run in source.runs}
    parts: list[Posteriors] = []
    read: dict[tuple[Path, int], Posteriors] = {}
    for fold, trial in enumerate(chosen):
        if trial.key not in read:
            read[trial.key] = runs[trial.run_path].posteriors(trial.number)
        parts.append(read[trial.key].where(fold=fold))
    return concatenate(parts) if parts else None


def _chosen_sentence(chosen: Sequence[ReportTrial], objective: str = "uar") -> str:
    title = METRICS[objective].title if objective in METRICS else objective
    rule = f"the trial with the best {title} on that fold's dev rows"
    counts = Counter(trial.name for trial in chosen).most_common()
    if len(counts) == 1:
        return f"For each fold, {rule}: always {counts[0][0]}."
    names = [f"{name} ({plural(number, 'fold')})" for name, number in counts]
    return f"For each fold, {rule}: {listing(names)}."


def build_report_data(source: ReportSource) -> ReportData:
    """Work out everything the page claims.

    Raises:
        ArtifactError: a posterior table is missing or damaged, or tables do not fit together.
    """
    trials = tuple(trial for run in source.runs for trial in run.trials)
    ensemble = source.ensemble
    if ensemble is not None:
        return _ensemble_data(source, ensemble, trials)
    chosen = best_by_fold(trials)
    systems = []
    if (single := _single(source, chosen)) is not None:
        sentence = _chosen_sentence(chosen)
        systems.append(measure(single, key="single", chosen=sentence, drawing=Resampling()))
    return ReportData(
        source=source,
        classes=source.runs[0].classes,
        trials=trials,
        systems=tuple(systems),
        recorded=(),
        comparison=None,
        members=(),
        used=_unique(chosen),
    )


def _unique(trials: Sequence[ReportTrial]) -> tuple[ReportTrial, ...]:
    return tuple({trial.key: trial for trial in trials}.values())


def _ensemble_data(
    source: ReportSource, ensemble: ReportedEnsemble, trials: tuple[ReportTrial, ...]
) -> ReportData:
    info, usual = ensemble.info, Resampling()
    by_number = source.named_trials
    keys = [(f["best_single"]["run"], f["best_single"]["trial"]) for f in info["folds"]]
    chosen = [by_number[key] for key in keys if key in by_number]
    posteriors = {"ensemble": ensemble.posteriors}
    if len(chosen) == len(keys) and (single := _single(source, chosen)) is not None:
        posteriors["single"] = single
    systems, recorded = [], []
    for system in read_recorded(info):
        if system.key not in posteriors:
            recorded.append(system)
            continue
        if system.key == "single":
            sentence = _chosen_sentence(chosen, info.get("objective", "uar"))
            system = dataclasses.replace(system, chosen=sentence)
        test = _test_rows(posteriors[system.key], system.key)
        systems.append(EvaluatedSystem(**vars(system), test=test))
        _check_recorded(ensemble, systems[-1])
    parts = [(m["run"], m["trial"]) for f in info["folds"] for m in f["members"]]
    members = [by_number[key] for key in parts if key in by_number]
    return ReportData(
        source=source,
        classes=ensemble.classes,
        trials=trials,
        systems=tuple(systems),
        recorded=tuple(recorded),
        comparison=info["comparison"],
        members=read_members(info),
        used=_unique([*chosen, *members]),
        drawing=Resampling(
            resamples=info.get("num_resamples", usual.resamples), seed=info.get("seed", usual.seed)
        ),
    )


def _check_recorded(ensemble: ReportedEnsemble, system: EvaluatedSystem) -> None:
    """Refuse an ensemble whose description was not made from these posteriors."""
    found = classification_metrics(system.test.truth, system.test.values)
    for name, recorded in system.pooled.items():
        if name in found and abs(recorded.value - found[name]) > TOLERANCE:
            raise ArtifactError(
                f"{ensemble.path}: ensemble.json records {name} {recorded.value:.6f} of the "
                f"{system.label.lower()}, but its posteriors give {found[name]:.6f}; build the "
                "ensemble again"
            )


def read_interval(found: IntervalRecord) -> Interval:
    """An interval of ``ensemble.json``."""
    return Interval(value=found["value"], low=found["low"], high=found["high"])


def read_recorded(info: EnsembleRecord) -> list[MeasuredSystem]:
    """Metrics of the ensemble, the best single trial and the mean of all, as recorded."""
    systems = (
        (
            "ensemble",
            "ensemble",
            "Members and weights of each fold were fitted on that fold's dev rows.",
        ),
        ("single", "best_single", "For each fold, the trial with the best objective on dev rows."),
        ("mean", "mean_of_all", "Equal weights for every finished trial; nothing is chosen."),
    )
    return [
        MeasuredSystem(
            key=key,
            chosen=chosen,
            pooled={k: read_interval(v) for k, v in info["pooled"][name].items()},
            by_fold={f["fold"]: f["metrics"][name]["test"] for f in info["folds"]},
        )
        for key, name, chosen in systems
        if name in info["pooled"] and all(name in f["metrics"] for f in info["folds"])
    ]


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


def read_members(info: EnsembleRecord) -> tuple[EnsembleMember, ...]:
    """Members of ``ensemble.json`` with their weights in every fold, largest mean share first."""
    folds = info["folds"]
    labels = member_labels(info)
    rows: dict[str, list[MemberRecord | None]] = {}
    for i, fold in enumerate(folds):
        for row in fold["members"]:
            rows.setdefault(row["member"], [None] * len(folds))[i] = row
    members = []
    for name, each in rows.items():
        found = [row for row in each if row is not None]
        members.append(
            EnsembleMember(
                name=labels[name],
                architecture=found[0]["architecture"],
                weights=tuple(r["weight"] if r else 0.0 for r in each),
                shares=tuple(r["share"] if r else 0.0 for r in each),
                temperatures=tuple(r["temperature"] if r else None for r in each),
                dev_uar=_mean([row["dev"]["uar"] for row in found]),
                test_uar=_mean([row["test"]["uar"] for row in found]),
                gain=_mean([(row["gain"]["test"] or {}).get("uar") for row in found]),
            )
        )
    return tuple(sorted(members, key=lambda m: (-sum(m.shares), m.name)))
