"""The Optuna studies of a run: one per architecture, all in one storage.

Trials are asked for and told about here, whatever runs them. Every trial carries its number
within the run; telling twice is harmless; trials that a dead process left running are either
settled from their records or handed out again. Where a study and a trial's record disagree, the
record counts.

Trials of earlier runs (``search --warm-start``) are finished trials of a study under an attribute
of their own. They have no number in the run, so nothing counts, shows or resumes them; and they
have no rungs, which Optuna's ``SuccessiveHalvingPruner`` keeps with each trial, so no trial is
pruned against them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.trial import TrialState

from serplatform.artifacts.run import ObservationRecord, WarmStartRecord
from serplatform.artifacts.trial import DEV_METRICS, StudyAttribute, TrialRecord
from serplatform.errors import BadInputError, unknown_name
from serplatform.metrics import HIGHER_IS_BETTER
from serplatform.models.architectures import ARCHITECTURES
from serplatform.seeding import derive_seed
from serplatform.studies.choices import OBJECTIVES, SAMPLERS, check_choices
from serplatform.studies.optuna_internals import StudySampler
from serplatform.studies.order import NoTrial, TrialOrder
from serplatform.studies.parameter import value_in, values_equal
from serplatform.studies.pruning import FoldPruner, make_pruner
from serplatform.studies.sizes import Sized, Sizing
from serplatform.studies.space import SearchSpace, first_points, paper_point
from serplatform.studies.study_storage import open_storage
from serplatform.studies.trial_artifacts import describe_study

#: user attribute of an Optuna trial: its number, its settings, whether it is the paper's
ATTRIBUTE = "serplatform"
#: user attribute of a trial of an earlier run: that run, and its number there
OBSERVATION = "serplatform_warm_start"

#: of so many trials of ``tpe``, the last is drawn at random
RANDOM_EVERY = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A trial to run.

    Attributes:
        number: within the run, over all architectures.
        architecture: registered name.
        values: flat dotted parameters that differ from the paper's settings.
        paper: the paper's own configuration (at the sizes the space fixes).
        resumed: it was in flight when an earlier process ended.
        seed: of its training; None: derived from the run's and its number.
        label: what it is called while it runs; empty: its architecture.
        fold: the one that it trains; None: all.
    """

    number: int
    architecture: str
    values: Mapping[str, object]
    paper: bool
    resumed: bool = False
    seed: int | None = None
    label: str = ""
    fold: int | None = None


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Build a sampler by name (one of :data:`.SAMPLERS`).

    Raises:
        BadInputError: the name is unknown.
    """
    if name == "tpe":
        with warnings.catch_warnings():  # `group` is what conditional parameters need
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return StudySampler(
                random_every=RANDOM_EVERY,
                seed=seed,
                multivariate=True,
                group=True,
                constant_liar=True,
                n_startup_trials=8,
            )
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    raise BadInputError(unknown_name("sampler", name, SAMPLERS))


class Studies:
    """The studies of one run.

    Args:
        spaces: architecture to its search space, with the user's ``--set`` already fixed.
        storage: location for ``study_storage.open_storage``.
        records: finished trials by number, as the run directory holds them.
        objectives: names of :data:`.OBJECTIVES`; the first is reported during training.
        sampler: one of :data:`.SAMPLERS`.
        pruner: one of :data:`.PRUNERS`; unused with several objectives.
        max_epochs: largest number of epochs a fold may take.
        num_folds: folds a trial trains.
        seed: of the run.
        prefix: of the studies' names, different for each run that shares a storage.
        warm_starts: earlier runs: points to try first, besides the space's own, and trials that
            the sampler learns from.
        order: which architecture is next; None: each as often as the others.
        sizing: decides spaces that are not among ``spaces`` yet.
        on_sized: is told of each, and says what its first points are worth.
        points_first: the points of a space are tried before the paper's configuration.
        fold: the one that every trial trains, see ``studies.nested``; None: all.
        numbers: what the trials' numbers are counted by: the first, and the step to the next.
        attach: is given each trial and its record just before the study is told.
        about: what the studies are of, for `optuna-dashboard`.

    The paper's configuration is the first trial of each architecture whose space holds it, and
    is never pruned: it is what the search is compared with.
    """

    def __init__(
        self,
        spaces: Mapping[str, SearchSpace],
        *,
        storage: str,
        records: Mapping[int, TrialRecord],
        objectives: Sequence[str] = ("uar",),
        sampler: str = "tpe",
        pruner: str = "folds",
        max_epochs: int,
        num_folds: int,
        seed: int,
        prefix: str = "",
        warm_starts: Sequence[WarmStartRecord] = (),
        order: TrialOrder | None = None,
        sizing: Sizing | None = None,
        on_sized: Callable[[Sized], Sequence[float]] = lambda _: (),
        points_first: bool = False,
        fold: int | None = None,
        numbers: tuple[int, int] = (0, 1),
        attach: Callable[[optuna.trial.Trial, TrialRecord], None] = lambda *_: None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        check_choices(objectives, sampler, pruner)
        self.objectives = tuple(objectives)
        self._spaces: dict[str, SearchSpace] = {}
        self._pruning = pruner != "none" and len(self.objectives) == 1
        self._pruning &= self.objectives[0] in DEV_METRICS  # others are known at the end only
        self._folds = None
        if self._pruning and pruner == "folds":
            more = HIGHER_IS_BETTER[self.objectives[0]]
            self._folds = FoldPruner(self.objectives[0], 1 if more else -1)
            for record in records.values():
                self._folds.tell(record)
        self._storage = open_storage(storage)
        self._papers: dict[str, dict[str, object] | None] = {}
        self._studies: dict[str, optuna.Study] = {}
        # by number within the run: trials that are not told yet, and the architecture of every one
        self._live: dict[int, optuna.trial.Trial] = {}
        self._architectures: dict[int, str] = {}
        self._paper: set[int] = set()
        self._in_flight: list[Suggestion] = []
        self._sizing = sizing
        self._on_sized = on_sized
        self._points_first = points_first
        self._fold = fold
        self._numbers = numbers
        self._attach = attach
        self._about = about
        self._open_study = functools.partial(
            self._open,
            records=records,
            sampler=sampler,
            pruner=functools.partial(
                make_pruner, pruner, max_epochs=max_epochs, num_folds=num_folds
            ),
            seed=seed,
            prefix=prefix,
            warm_starts=warm_starts,
        )
        if order is None:
            order = TrialOrder(list(spaces), self.objectives[0])
            for architecture in spaces:
                order.add(architecture)
        self._order = order
        for architecture, space in spaces.items():
            self._open_study(architecture, space)
        for record in records.values():
            self._order.ended(record)
        self._in_flight.sort(key=lambda suggestion: suggestion.number)

    # -- a process that starts

    def _open(
        self,
        architecture: str,
        space: SearchSpace,
        *,
        records: Mapping[int, TrialRecord],
        sampler: str,
        pruner: Callable[[], optuna.pruners.BasePruner],
        seed: int,
        prefix: str,
        warm_starts: Sequence[WarmStartRecord],
    ) -> None:
        """Open or create the study of an architecture, and settle what a dead process left."""
        self._spaces[architecture] = space
        self._papers[architecture] = paper_point(space)
        study = optuna.create_study(
            storage=self._storage,
            study_name=f"{prefix}{architecture}",
            directions=[OBJECTIVES[name] for name in self.objectives],
            sampler=make_sampler(sampler, 0),
            pruner=pruner(),
            load_if_exists=True,
        )
        self._studies[architecture] = study
        self._name_metrics(study)
        if self._about is not None:
            describe_study(study, {"architecture": architecture, **self._about})
        self._reconcile(architecture, study, records)
        self._restore_lost(architecture, study, records)
        # a resumed sampler must not repeat the draws that the first process made
        study.sampler = make_sampler(
            sampler, derive_seed(seed, "sampler", architecture, len(study.trials))
        )
        for start in warm_starts:
            _add_observations(study, space, start["observations"].get(architecture, ()))
        points = [p for start in warm_starts for p in start["points"].get(architecture, ())]
        self._enqueue(architecture, study, points)

    def _name_metrics(self, study: optuna.Study) -> None:
        """Name the objectives for `optuna-dashboard`; earlier versions did not."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if study.metric_names is None:
                of_dev = {name: f"dev_{name}" for name in DEV_METRICS}
                study.set_metric_names([of_dev.get(name, name) for name in self.objectives])

    def _reconcile(
        self, architecture: str, study: optuna.Study, records: Mapping[int, TrialRecord]
    ) -> None:
        for frozen in study.get_trials(deepcopy=False):
            attribute = frozen.user_attrs.get(ATTRIBUTE)
            if attribute is None:
                if frozen.state == TrialState.RUNNING:  # died before it had a number
                    study.tell(frozen.number, state=TrialState.FAIL, skip_if_finished=True)
                continue
            number = int(attribute["trial"])
            again = self._suggestion(architecture, attribute, resumed=True)
            self._note(number, architecture, attribute["paper"])
            if frozen.state != TrialState.RUNNING:
                if frozen.state == TrialState.COMPLETE and number not in records:
                    # its files were damaged: trained again, it gives the same values
                    self._in_flight.append(again)
                continue
            study_id = self._storage.get_study_id_from_name(study.study_name)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(
                study_id, frozen.number
            )
            self._live[number] = optuna.trial.Trial(study, trial_id)
            if number in records:
                self.tell(records[number])
            else:
                self._in_flight.append(again)

    def _suggestion(
        self, architecture: str, attribute: StudyAttribute, *, resumed: bool = False
    ) -> Suggestion:
        return Suggestion(
            number=int(attribute["trial"]),
            architecture=architecture,
            values=attribute["values"],
            paper=attribute["paper"],
            resumed=resumed,
            label="" if self._fold is None else f"{architecture} of fold {self._fold}",
            fold=self._fold,
        )

    def _restore_lost(
        self, architecture: str, study: optuna.Study, records: Mapping[int, TrialRecord]
    ) -> None:
        """Add recorded trials that the storage does not know, as if they had been told."""
        for number, record in sorted(records.items()):
            if number in self._architectures or record["architecture"] != architecture:
                continue
            values = outcome(record, self.objectives)[1]
            _add_finished(
                study,
                self._spaces[architecture],
                record["params"],
                state=TrialState.FAIL if values is None else TrialState.COMPLETE,
                values=values,
                user_attrs={ATTRIBUTE: _attribute(number, record["paper"], record["params"])},
            )
            self._note(number, architecture, record["paper"])

    def _enqueue(
        self, architecture: str, study: optuna.Study, more: Sequence[Mapping[str, object]]
    ) -> None:
        """Queue the paper's configuration, then the points to try first, unless they are waiting
        already or have been a trial."""
        space = self._spaces[architecture]
        known: list[Mapping[str, object]] = []
        for frozen in study.get_trials(deepcopy=False):
            if ATTRIBUTE in frozen.user_attrs:
                values = frozen.user_attrs[ATTRIBUTE]["values"]
                known.append({k: v for k, v in values.items() if k in space.parameters})
            elif frozen.state == TrialState.WAITING:
                known.append(space.decode(frozen.system_attrs.get("fixed_params", {})))
        paper = self._papers[architecture]
        first = [] if paper is None or self._has_paper(architecture) else [paper]
        own = first_points(space)
        own_first = self._points_first or ARCHITECTURES.get(architecture).closed_form
        for point in [*own, *first, *more] if own_first else [*first, *own, *more]:
            if not value_in(point, known):
                known.append(point)
                study.enqueue_trial(space.encode(point))

    def _note(self, number: int, architecture: str, paper: bool) -> None:
        self._architectures[number] = architecture
        if paper:
            self._paper.add(number)

    def _has_paper(self, architecture: str) -> bool:
        return any(self._architectures[number] == architecture for number in self._paper)

    # -- asking and telling

    @property
    def num_asked(self) -> int:
        """Trials handed out over the life of the run, finished or in flight."""
        return len(self._architectures)

    @property
    def num_in_flight(self) -> int:
        """Trials of an earlier process that are still to be handed out again."""
        return len(self._in_flight)

    def ask(self, seconds: float | None = None) -> Suggestion | NoTrial:
        """The next trial: one in flight first, else as the order says.

        Args:
            seconds: until the time budget ends, or None.
        """
        if self._in_flight:
            return self._in_flight.pop(0)
        for sized in () if self._sizing is None else self._sizing.take():
            self.add(sized, self._on_sized(sized))
        architecture = self._order.next(
            Counter(self._architectures.values()),
            seconds,
        )
        if isinstance(architecture, NoTrial):
            return architecture
        space = self._spaces[architecture]
        trial = self._studies[architecture].ask()
        drawn = space.suggest(trial)
        point = self._papers[architecture]
        paper = (
            point is not None and not self._has_paper(architecture) and values_equal(drawn, point)
        )
        values = {**space.fixed, **drawn}
        # the lowest that is free: a rebuilt study may have gaps
        number = next(n for n in itertools.count(*self._numbers) if n not in self._architectures)
        attribute = _attribute(number, paper, values)
        trial.set_user_attr(ATTRIBUTE, attribute)
        self._live[number] = trial
        self._note(number, architecture, paper)
        return self._suggestion(architecture, attribute)

    def add(self, sized: Sized, gains: Sequence[float]) -> None:
        """Search an architecture whose space has been decided, with first points of these gains."""
        self._order.add(sized.architecture, sized.seconds, gains)
        self._open_study(sized.architecture, sized.space)

    def report(self, number: int, step: int, value: float, fold: int = 0) -> bool:
        """Report the objective after an epoch; True when the trial should be pruned."""
        if not self._pruning or number not in self._live or not math.isfinite(value):
            return False
        trial = self._live[number]
        trial.report(value, step)
        if self._folds is not None:
            weak = self._folds.report(number, self._architectures[number], fold, value)
        else:
            weak = trial.should_prune()  # asked of every trial: it also records the rung
        return weak and number not in self._paper

    def tell(self, record: TrialRecord) -> None:
        """Settle a trial from its record; a second time changes nothing."""
        trial = self._live.pop(record["trial"], None)
        if self._folds is not None:
            self._folds.tell(record)
        if trial is not None:
            self._order.ended(record)
            state, values = outcome(record, self.objectives)
            if error := record.get("error"):
                trial.set_user_attr("error", error)
            self._attach(trial, record)
            trial.study.tell(trial, values, state=state, skip_if_finished=True)


def _attribute(number: int, paper: bool, values: Mapping[str, object]) -> StudyAttribute:
    return {"trial": number, "paper": paper, "values": dict(values)}


def outcome(
    record: TrialRecord, objectives: Sequence[str]
) -> tuple[TrialState, list[float] | None]:
    """State and values of a recorded trial in a study: without finite values, it failed."""
    values = objective_values(record, objectives)
    if record["state"] == "complete" and values is not None:
        return TrialState.COMPLETE, values
    return TrialState.PRUNED if record["state"] == "pruned" else TrialState.FAIL, None


def _add_finished(
    study: optuna.Study,
    space: SearchSpace,
    settings: Mapping[str, object],
    *,
    state: TrialState,
    values: Sequence[float] | None,
    user_attrs: dict[str, object],
    intermediate_values: dict[int, float] | None = None,
) -> None:
    """Add a trial that the study did not run, with those of its settings that are searched."""
    searched = {name: value for name, value in settings.items() if name in space.parameters}
    replay = optuna.trial.FixedTrial(space.encode(searched))
    space.suggest(replay)
    study.add_trial(
        optuna.trial.create_trial(
            state=state,
            params=replay.params,
            distributions=replay.distributions,
            values=values,
            intermediate_values=intermediate_values,
            user_attrs=user_attrs,
        )
    )


def _add_observations(
    study: optuna.Study, space: SearchSpace, observations: Sequence[ObservationRecord]
) -> None:
    """Add those that the study does not have; a second time changes nothing."""
    have = {
        tuple(frozen.user_attrs[OBSERVATION])
        for frozen in study.get_trials(deepcopy=False)
        if OBSERVATION in frozen.user_attrs
    }
    for found in observations:
        if (found["run"], found["trial"]) not in have:
            pruned = found["objectives"] is None
            _add_finished(
                study,
                space,
                found["values"],
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                values=found["objectives"],
                intermediate_values={found["step"]: found["reached"]} if pruned else None,
                user_attrs={OBSERVATION: [found["run"], found["trial"]]},
            )


def objective_values(record: TrialRecord, objectives: Sequence[str]) -> list[float] | None:
    """The objectives of a recorded trial from its dev metrics; None where one is not finite."""
    named = {
        **record.get("dev", {}),
        "parameters": record.get("num_parameters"),
        "seconds": record.get("seconds"),
    }
    values = [named.get(name) for name in objectives]
    if any(value is None or not math.isfinite(value) for value in values):
        return None
    return [float(value) for value in values if value is not None]
