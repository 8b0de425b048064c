"""What figures and sentences are made of: systems, their intervals, their comparison, members.

Shapes: N test rows, K classes, S speakers, R resamples.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from serplatform.artifacts.ensemble import EnsembleRecord
from serplatform.artifacts.evaluation import EvaluationRecord
from serplatform.artifacts.looks import LookCount, digest_of
from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import merit
from serplatform.errors import ArtifactError
from serplatform.metrics import classification_metrics
from serplatform.report.leaderboard import RankedTrial, objective_of, rank_trials, ranked_trials
from serplatform.report.load import (
    Posteriors,
    ReportedEnsemble,
    ReportedRun,
    ReportSource,
    ReportTrial,
    concatenate,
)
from serplatform.report.members import EnsembleMember, read_members
from serplatform.report.systems import (
    LABELS,
    EvaluatedSystem,
    MeasuredSystem,
    measure,
    read_recorded,
    tested_rows,
)
from serplatform.report.wording import METRICS, listing, plural
from serplatform.run_directory import RunDirectory
from serplatform.statistics.intervals import Interval

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
    ENSEMBLE = "nothing was combined; `serplatform ensemble` combines two or more finished trials"
    EVALUATION = "no evaluation was given; `serplatform report RUN --evaluation FILE.json`"
    EXPLANATIONS = "nothing was explained yet; run `serplatform explain RUN`"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything that figures are computed from.

    Attributes:
        source: what was read.
        classes: K names in label order.
        trials: of all runs.
        systems: the ensemble first, if there is one; then the best single trial; empty when
            no trial finished.
        others: the one trial that prediction and export take of the run, unless every fold
            chooses it; the reference, where one was trained.
        recorded: systems of which only the metrics are at hand.
        comparisons: UAR of the ensemble minus that of other systems, as its file has them.
        resamples: of speakers, behind the intervals of an ensemble of an earlier version.
        members: of the ensemble, largest mean share first.
        used: trials that a system is made of, as far as their runs are there.
        look: at the test rows, which the numbers come from; None without any.
        test_values: every trial alone is measured on test rows, too.
        genders: of speakers by utterance id, as far as they are known; None: groups are not asked
            to be compared.
        evaluations: on other datasets; figures of that section show the first.
    """

    source: ReportSource
    classes: tuple[str, ...]
    trials: tuple[ReportTrial, ...]
    systems: tuple[EvaluatedSystem, ...]
    recorded: tuple[MeasuredSystem, ...]
    members: tuple[EnsembleMember, ...]
    used: tuple[ReportTrial, ...]
    others: tuple[EvaluatedSystem, ...] = ()
    comparisons: Mapping[str, Interval] = dataclasses.field(default_factory=dict)
    resamples: int | None = None
    look: LookCount | None = None
    test_values: bool = False
    genders: Mapping[str, str] | None = None
    evaluations: tuple[EvaluationRecord, ...] = ()

    @property
    def sealed(self) -> bool:
        """No test row is opened yet."""
        return any(run.sealed for run in self.source.runs)

    @functools.cached_property
    def leaderboard(self) -> tuple[RankedTrial, ...]:
        """Every complete trial, ranked by dev rows; on test rows the exported one alone, unless
        ``test_values``."""
        exported = int(self.source.exported and not self.sealed)
        return rank_trials(self.source.runs, tested=None if self.test_values else exported)

    def require(self, *needs: Need) -> None:
        """Raise NoDataError for the first need that is not met."""
        met = {
            Need.TRIALS: self.trials,
            Need.TESTED_SYSTEM: self.systems,
            Need.ENSEMBLE: self.source.ensemble,
            Need.EVALUATION: self.evaluations,
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
        """All systems, in the order of :data:`LABELS`."""
        found = [*self.systems, *self.others, *self.recorded]
        return tuple(sorted(found, key=lambda m: list(LABELS).index(m.key)))

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


def best_by_fold(trials: Sequence[ReportTrial]) -> tuple[ReportTrial, ...]:
    """For each fold the finished trial with the highest dev UAR on that fold's dev rows.

    Ties go to the lower dev NLL, then by name to the earlier trial, as in an ensemble's
    combiner ``single``.
    """
    complete = [t for t in trials if t.state == "complete" and t.fold_dev]
    complete.sort(key=lambda t: (t.run, t.number))
    folds = sorted({fold for t in complete for fold in t.dev_by_fold})
    return tuple(
        max(
            (t for t in complete if fold in t.dev_by_fold),
            key=lambda t: merit(t.dev_by_fold[fold], "uar"),
        )
        for fold in folds
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
    return f"For each fold, {rule}: {_by_fold(chosen)}."


def _by_fold(chosen: Sequence[ReportTrial], most: int | None = None) -> str:
    """Which trials folds have chosen, or how many where there are more than ``most``."""
    counts = Counter(trial.name for trial in chosen).most_common()
    if len(counts) == 1:
        return f"{counts[0][0]} in every fold"
    if most is not None and len(counts) > most:
        return f"{len(counts)} trials, chosen fold by fold"
    return listing([f"{name} in {plural(number, 'fold')}" for name, number in counts])


def build_report_data(source: ReportSource, *, test_values: bool = False) -> ReportData:
    """Work out everything the page claims; runs note that their test rows are measured.

    ``test_values``: measure every trial alone on test rows, too.

    Raises:
        ArtifactError: a posterior table is missing or damaged, or tables do not fit together.
    """
    found = _report_data(source)
    test_values = test_values and bool(found.systems)
    return dataclasses.replace(
        found, look=_look(found, test_values=test_values), test_values=test_values
    )


def _look(report: ReportData, *, test_values: bool) -> LookCount | None:
    """Which look at the test rows this is: the ensemble's, unless more is measured here."""
    runs = {run.path: run for run in report.source.runs}
    ensemble = report.source.ensemble
    measured: dict[str, str] = {}
    if ensemble is None and report.systems:
        measured["single"] = digest_of(
            runs[t.run_path].digest(t) for t in best_by_fold(report.trials)
        )
        if len(runs) == 1:
            run, first = ranked_trials([*runs.values()])[0]
            measured["trial"] = digest_of([run.digest(first)])
    if test_values:
        every = [runs[t.run_path].digest(t) or "" for t in report.trials if t.state == "complete"]
        measured["every trial"] = digest_of(["every trial", digest_of(sorted(every))])
    combiner = "single" if ensemble is None else ensemble.info["combiner"]
    found = [
        RunDirectory(path).look(measured, combiner=combiner, seed=0) for path in runs if measured
    ]
    if ensemble is not None and not found:
        made = ensemble.info.get("look")
        complete = made is not None and all("sealed" in run.info for run in runs.values())
        looks = (run.looks for run in runs.values())
        found = [LookCount(made or 1, max([made or 1, *looks]), complete)]
    return max(found, key=lambda look: look.number, default=None)


def _report_data(source: ReportSource) -> ReportData:
    trials = tuple(trial for run in source.runs for trial in run.trials)
    ensemble = source.ensemble
    if ensemble is not None and source.runs and len(ensemble.info["parameter_order"]) < 2:
        ensemble, source = None, dataclasses.replace(source, ensemble=None)  # of one trial
    if ensemble is not None:
        return _ensemble_data(source, ensemble, trials)
    chosen = best_by_fold(trials)
    systems = []
    sealed = any(run.sealed for run in source.runs)
    if not sealed and (single := _single(source, chosen)) is not None:
        systems.append(
            measure(
                single,
                key="single",
                what=_by_fold(chosen, 2),
                chosen=_chosen_sentence(chosen),
            )
        )
    return ReportData(
        source=source,
        classes=source.runs[0].classes,
        trials=trials,
        systems=tuple(systems),
        recorded=(),
        members=(),
        used=_unique(chosen),
        others=tuple(_others(source, systems)),
    )


def _others(source: ReportSource, systems: Sequence[EvaluatedSystem]) -> Iterator[EvaluatedSystem]:
    """The trial that prediction and export take of the run, and the reference."""
    if not systems:
        return
    same = systems[-1].test
    for run, trial in ranked_trials(source.runs)[: source.exported]:
        rule = f"{trial.name}: the best mean dev {objective_of(source.runs)} over all folds."
        what = f"{trial.name}, which predict and export take"
        found = _measured_trial(run, trial, same, key="trial", what=what, chosen=rule)
        if found is not None and not (
            systems[-1].key == "single" and np.array_equal(found.test.values, same.values)
        ):
            yield found
    for reference in filter(None, (run.reference for run in source.runs)):
        for run, trial in ranked_trials([reference])[:1]:
            what = f"{trial.architecture} with fixed settings"
            rule = f"{what}, on the same folds; nothing was chosen."
            found = _measured_trial(run, trial, same, key="reference", what=what, chosen=rule)
            if found is not None:
                yield found
                return


def _measured_trial(
    run: ReportedRun, trial: ReportTrial, same: Posteriors, **told: str
) -> EvaluatedSystem | None:
    """One trial in every fold; None where its test rows are damaged, or others than ``same``."""
    try:
        found = measure(run.posteriors(trial.number), **told)
    except ArtifactError:
        return None
    return found if found.test.same_rows(same) else None


def _unique(trials: Sequence[ReportTrial]) -> tuple[ReportTrial, ...]:
    return tuple({trial.key: trial for trial in trials}.values())


def _ensemble_data(
    source: ReportSource, ensemble: ReportedEnsemble, trials: tuple[ReportTrial, ...]
) -> ReportData:
    info = ensemble.info
    by_number = source.named_trials
    keys = [(f["best_single"]["run"], f["best_single"]["trial"]) for f in info["folds"]]
    chosen = [by_number[key] for key in keys if key in by_number]
    posteriors = {"ensemble": ensemble.posteriors}
    if len(chosen) == len(keys) and (single := _single(source, chosen)) is not None:
        posteriors["single"] = single
    members = read_members(info)
    systems, recorded = [], []
    for system in read_recorded(info):
        if system.key == "ensemble":
            what = f"{info['combiner']} of {plural(len(members), 'trial')}"
            system = dataclasses.replace(system, what=what)
        if system.key not in posteriors:
            recorded.append(system)
            continue
        if system.key == "single":
            sentence = _chosen_sentence(chosen, info.get("objective", "uar"))
            system = dataclasses.replace(system, what=_by_fold(chosen, 2), chosen=sentence)
        test = tested_rows(posteriors[system.key], system.key)
        systems.append(EvaluatedSystem(**vars(system), test=test))
        _check_recorded(ensemble, systems[-1])
    parts = [(m["run"], m["trial"]) for f in info["folds"] for m in f["members"]]
    used = [by_number[key] for key in parts if key in by_number]
    return ReportData(
        source=source,
        classes=ensemble.classes,
        trials=trials,
        systems=tuple(systems),
        recorded=tuple(recorded),
        comparisons={
            against: Interval(**found["difference"]["uar"])
            for against, found in (
                ("single", info["comparison"]),
                ("mean", info.get("comparison_with_mean")),
                ("reference", info.get("comparison_with_reference")),
            )
            if found is not None
        },
        resamples=info.get("num_resamples"),
        members=members,
        used=_unique([*chosen, *used]),
        others=tuple(_others(source, systems)),
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
