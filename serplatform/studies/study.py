"""The Optuna studies of a run: one an architecture, all in one storage, the only truth.

Trials are asked for and told about here, whatever runs them. Every trial carries its number
within the run; telling twice is harmless; trials that a dead process left running are either
settled from their records or handed out again. Nothing depends on a scheduler's own files.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import TrialState

from serplatform.artifacts.run import ObservationRecord
from serplatform.artifacts.trial import DEV_METRICS, TrialRecord
from serplatform.errors import ArtifactError, BadInputError, unknown_name
from serplatform.metrics import HIGHER_IS_BETTER
from serplatform.seeding import derive_seed
from serplatform.storage.destination import check_file
from serplatform.storage.location import address, redact
from serplatform.studies.observations import add_observations
from serplatform.studies.optuna_internals import StudyJournal, StudySampler
from serplatform.studies.parameter import values_equal
from serplatform.studies.space import SearchSpace, first_points, paper_point

#: Environment variable with the whole URL of a storage whose recorded URL lacks its password.
STORAGE_VARIABLE = "SERPLATFORM_STORAGE"
#: user attribute of an Optuna trial: its number, its settings, whether it is the paper's
ATTRIBUTE = "serplatform"
#: state of a record to the name of its Optuna trial's state
STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}

Direction = Literal["minimize", "maximize"]

#: objective name → direction
OBJECTIVES: dict[str, Direction] = {
    **{name: "maximize" if HIGHER_IS_BETTER[name] else "minimize" for name in DEV_METRICS},
    "parameters": "minimize",
    "seconds": "minimize",
}

SAMPLERS = ("tpe", "random", "gp")
PRUNERS = ("asha", "median", "hyperband", "none")
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
    """

    number: int
    architecture: str
    values: Mapping[str, Any]
    paper: bool
    resumed: bool = False
    seed: int | None = None
    label: str = ""


def full_storage(recorded: str) -> str:
    """An Optuna storage URL with the password that is never recorded.

    Args:
        recorded: as in ``run.json``, ``***`` in the place of what is secret.

    Raises:
        BadInputError: :data:`STORAGE_VARIABLE` does not hold the whole URL.
    """
    if "***" not in recorded:
        return recorded
    whole = os.environ.get(STORAGE_VARIABLE, "")
    if redact(whole) != recorded:
        raise BadInputError(
            f"the study's storage is {recorded}, and its password is not recorded: set the "
            f"environment variable {STORAGE_VARIABLE} to the whole URL"
        )
    return whole


def check_storage(url: str, *, connect: bool = True) -> str:
    """See that the Optuna storage that a user names can be used.

    Args:
        url: as the user wrote it.
        connect: to a database that is no file, to see that it answers.

    Returns:
        its URL, where the file of an SQLite database has its whole path.

    Raises:
        BadInputError: it is no URL, in memory only, of a kind or driver that is not there, or
            cannot be opened.
    """
    if "://" not in url:
        name = url.strip().rpartition(":")[2] or "studies.db"
        raise BadInputError(
            f"--storage '{url}': is no URL; write sqlite:///{name} for a database file, or leave "
            "it out: the run then keeps a journal of its own"
        )
    head, _, rest = url.partition("://")
    if head not in ("sqlite", "sqlite+pysqlite"):
        if connect:
            open_storage(url)
        return url
    file, mark, query = rest.removeprefix("/").partition("?")
    if not rest.startswith("/") or file in ("", ":memory:"):
        raise BadInputError(
            f"--storage {url}: names no file, and in memory nothing is kept; write e.g. "
            "sqlite:///studies.db"
        )
    path = check_file(file, "--storage", what="a SQLite database")
    if not isinstance(path, Path) or not path.parent.is_dir():
        raise BadInputError(f"--storage {url}: there is no directory for this file; make it first")
    return f"{head}:///{address(path)}{mark}{query}"


def open_storage(location: str) -> BaseStorage:
    """Open an Optuna storage: a journal file's path, or any Optuna storage URL.

    A journal whose writer was killed may end in half a line and a stale lock; both are
    removed, which loses nothing that was acknowledged. The caller must hold the run's lock.
    """
    if "://" in location:
        try:
            return optuna.storages.get_storage(location)
        except ImportError:
            raise BadInputError(
                f"--storage {redact(location)}: the package that reads this database is not "
                "installed, e.g. psycopg2-binary for postgresql, pymysql for mysql+pymysql"
            ) from None
        except Exception as error:  # noqa: BLE001 - each database has errors of its own
            reason = redact(str(error).strip().partition("\n")[0])
            raise BadInputError(
                f"--storage {redact(location)}: cannot be opened ({reason}); give an "
                "Optuna storage URL such as sqlite:///studies.db, or leave it out"
            ) from None
    path = Path(location)
    if path.exists():
        _cut_partial_line(path)
    for lock in (f"{location}.lock", f"{location}.lock.rename"):
        if os.path.lexists(lock):
            os.unlink(lock)
    try:
        storage = JournalStorage(StudyJournal(location))
        for last in path.read_bytes().splitlines()[-1:]:
            json.loads(last)  # Optuna would stumble over it at the next line only
        return storage
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        AssertionError,
        optuna.exceptions.OptunaError,
    ) as error:
        raise ArtifactError(
            f"{location}: the study's journal is damaged ({error}); move it away and resume: "
            "it is rebuilt from the trial records"
        ) from None


def _cut_partial_line(path: Path) -> None:
    """Cut what follows the last newline of a file."""
    with path.open("rb+") as stream:
        size = stream.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - 4096)
            stream.seek(start)
            block = stream.read(end - start)
            newline = block.rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            stream.truncate(end)


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Build a sampler by name (one of :data:`SAMPLERS`).

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


def make_pruner(name: str, *, max_epochs: int, num_folds: int) -> optuna.pruners.BasePruner:
    """Build a pruner by name (one of :data:`PRUNERS`).

    The resource is the number of epochs spent over all folds, at most
    ``max_epochs * num_folds``; rungs therefore lie inside the first fold and between folds.
    ``asha`` is asynchronous successive halving (Li et al., MLSys 2020) with a reduction
    factor of 3 and a first rung at a quarter of the first fold.

    Raises:
        BadInputError: the name is unknown.
    """
    first_rung = max(1, math.ceil(max_epochs / 4))
    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=first_rung, reduction_factor=3, min_early_stopping_rate=0
        )
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=first_rung)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=first_rung, max_resource=max_epochs * num_folds, reduction_factor=3
        )
    if name == "none":
        return optuna.pruners.NopPruner()
    raise BadInputError(unknown_name("pruner", name, PRUNERS))


def check_objectives(names: Sequence[str]) -> tuple[str, ...]:
    """Return the objectives when all are known and differ.

    Raises:
        BadInputError: otherwise.
    """
    for name in names:
        if name not in OBJECTIVES:
            raise BadInputError(unknown_name("objective", name, OBJECTIVES))
    if len(set(names)) != len(names) or not names:
        raise BadInputError(f"--objective {','.join(names)}: give each objective once")
    return tuple(names)


class Studies:
    """The studies of one run.

    Args:
        spaces: architecture to its search space, with the user's ``--set`` already fixed.
        storage: location for :func:`open_storage`.
        records: finished trials by number, as the run directory holds them.
        objectives: names of :data:`OBJECTIVES`; the first is reported during training.
        sampler: one of :data:`SAMPLERS`.
        pruner: one of :data:`PRUNERS`; unused with several objectives.
        max_epochs: largest number of epochs a fold may take.
        num_folds: folds a trial trains.
        seed: of the run.
        prefix: of the studies' names, which tells apart the runs that share a storage.
        points: architecture to whole points of its space to try first, besides the space's own.
        observations: architecture to trials of earlier runs that its sampler learns from.

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
        pruner: str = "asha",
        max_epochs: int,
        num_folds: int,
        seed: int,
        prefix: str = "",
        points: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        observations: Mapping[str, Sequence[ObservationRecord]] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.objectives = check_objectives(objectives)
        self._spaces = dict(spaces)
        self._pruning = pruner != "none" and len(self.objectives) == 1
        self._pruning &= self.objectives[0] in DEV_METRICS  # others are known at the end only
        self._storage = open_storage(storage)
        self._studies: dict[str, optuna.Study] = {}
        self._live: dict[int, optuna.trial.Trial] = {}
        self._architecture_of: dict[int, str] = {}
        self._paper: set[int] = set()
        self._has_paper: set[str] = set()
        self._papers: dict[str, dict[str, Any] | None] = {}
        self._in_flight: list[Suggestion] = []
        self._asked = dict.fromkeys(spaces, 0)
        self._next_number = 0
        directions: list[Direction | optuna.study.StudyDirection] = [
            OBJECTIVES[name] for name in self.objectives
        ]
        for architecture, space in self._spaces.items():
            study = optuna.create_study(
                storage=self._storage,
                study_name=f"{prefix}{architecture}",
                directions=directions,
                sampler=make_sampler(sampler, 0),
                pruner=make_pruner(pruner, max_epochs=max_epochs, num_folds=num_folds),
                load_if_exists=True,
            )
            self._studies[architecture] = study
            self._reconcile(architecture, study, records)
            self._restore_lost(architecture, study, records)
            # a resumed sampler must not repeat the draws that the first process made
            study.sampler = make_sampler(
                sampler, derive_seed(seed, "sampler", architecture, len(study.trials))
            )
            add_observations(study, space, (observations or {}).get(architecture, ()))
            self._enqueue(architecture, study, (points or {}).get(architecture, ()))
        self._in_flight.sort(key=lambda suggestion: suggestion.number)

    # -- a process that starts

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
            self._note(number, architecture, attribute["paper"])
            if frozen.state != TrialState.RUNNING:
                if frozen.state == TrialState.COMPLETE and number not in records:
                    # its files were damaged: trained again, it gives the values it was told with
                    self._hand_out_again(number, architecture, attribute)
                continue
            study_id = self._storage.get_study_id_from_name(study.study_name)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(
                study_id, frozen.number
            )
            self._live[number] = optuna.trial.Trial(study, trial_id)
            if number in records:
                self.tell(records[number])
            else:
                self._hand_out_again(number, architecture, attribute)

    def _hand_out_again(self, number: int, architecture: str, attribute: Mapping[str, Any]) -> None:
        self._in_flight.append(
            Suggestion(
                number=number,
                architecture=architecture,
                values=attribute["values"],
                paper=attribute["paper"],
                resumed=True,
            )
        )

    def _restore_lost(
        self, architecture: str, study: optuna.Study, records: Mapping[int, TrialRecord]
    ) -> None:
        """Add recorded trials that the storage does not know, as if they had been told."""
        space = self._spaces[architecture]
        for number, record in sorted(records.items()):
            if number in self._architecture_of or record["architecture"] != architecture:
                continue
            searched = {k: v for k, v in record["params"].items() if k in space.parameters}
            replay = optuna.trial.FixedTrial(space.encode(searched))
            space.suggest(replay)
            values = objective_values(record, self.objectives)
            complete = record["state"] == "complete" and values is not None
            state = TrialState.COMPLETE if complete else TrialState.FAIL
            study.add_trial(
                optuna.trial.create_trial(
                    state=state,
                    params=replay.params,
                    distributions=replay.distributions,
                    values=values if complete else None,
                    user_attrs={ATTRIBUTE: _attribute(number, record["paper"], record["params"])},
                )
            )
            self._note(number, architecture, record["paper"])

    def _enqueue(
        self, architecture: str, study: optuna.Study, more: Sequence[Mapping[str, Any]]
    ) -> None:
        """Queue the paper's configuration, then the points to try first, each once in a run's
        life: not what has been a trial or is waiting already."""
        space = self._spaces[architecture]
        known: list[Mapping[str, Any]] = []
        for frozen in study.get_trials(deepcopy=False):
            if ATTRIBUTE in frozen.user_attrs:
                values = frozen.user_attrs[ATTRIBUTE]["values"]
                known.append({k: v for k, v in values.items() if k in space.parameters})
            elif frozen.state == TrialState.WAITING:
                known.append(space.decode(frozen.system_attrs.get("fixed_params", {})))
        paper = self._papers[architecture] = paper_point(space)
        first = [] if paper is None or architecture in self._has_paper else [paper]
        for point in [*first, *first_points(space), *more]:
            if not any(values_equal(point, other) for other in known):
                known.append(point)
                study.enqueue_trial(space.encode(point))

    def _note(self, number: int, architecture: str, paper: bool) -> None:
        self._architecture_of[number] = architecture
        self._asked[architecture] += 1
        while self._next_number in self._architecture_of:
            self._next_number += 1  # the lowest that is free: a rebuilt study may have gaps
        if paper:
            self._paper.add(number)
            self._has_paper.add(architecture)

    def _register(
        self,
        trial: optuna.trial.Trial,
        number: int,
        architecture: str,
        values: Mapping[str, Any],
        paper: bool,
    ) -> None:
        trial.set_user_attr(ATTRIBUTE, _attribute(number, paper, values))
        self._live[number] = trial
        self._note(number, architecture, paper)

    # -- asking and telling

    @property
    def num_asked(self) -> int:
        """Trials handed out over the life of the run, finished or in flight."""
        return sum(self._asked.values())

    @property
    def num_in_flight(self) -> int:
        """Trials of an earlier process that are still to be handed out again."""
        return len(self._in_flight)

    def ask(self) -> Suggestion:
        """The next trial: one in flight first, else of the architecture asked least."""
        if self._in_flight:
            return self._in_flight.pop(0)
        architecture = min(self._asked, key=lambda name: (self._asked[name],))
        space = self._spaces[architecture]
        trial = self._studies[architecture].ask()
        drawn = space.suggest(trial)
        point = self._papers[architecture]
        paper = (
            point is not None and architecture not in self._has_paper and values_equal(drawn, point)
        )
        values = {**space.fixed, **drawn}
        number = self._next_number
        self._register(trial, number, architecture, values, paper)
        return Suggestion(number=number, architecture=architecture, values=values, paper=paper)

    def report(self, number: int, step: int, value: float) -> bool:
        """Report the objective after an epoch; True when the trial should be pruned."""
        if not self._pruning or number not in self._live or not math.isfinite(value):
            return False
        trial = self._live[number]
        trial.report(value, step)
        weak = trial.should_prune()  # asked of every trial: it also records the rung
        return weak and number not in self._paper

    def tell(self, record: TrialRecord) -> None:
        """Settle a trial from its record; a second time changes nothing."""
        number = int(record["trial"])
        trial = self._live.pop(number, None)
        if trial is None:
            return
        study = self._studies[self._architecture_of[number]]
        values = objective_values(record, self.objectives)
        if record["state"] == "complete" and values is not None:
            study.tell(trial, values, skip_if_finished=True)
        elif record["state"] == "pruned":
            study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def _attribute(number: int, paper: bool, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"trial": number, "paper": paper, "values": dict(values)}


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
