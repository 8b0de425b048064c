"""What predicts: for each outer fold the models of some trials, and how they are combined.

A run is one trial's models. An ensemble is, for each fold, its members' models of that fold with
the combiner that was fitted on that fold's dev rows. A bundle is either, in one directory. The
posterior of new audio is the mean, over the folds, of each fold's (combined) posterior: the
folds trained on different speakers, and their mean uses them all.

Shapes: M candidates, N clips, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serplatform import plugins
from serplatform.arrays import DoubleArray
from serplatform.artifacts.ensemble import BundledConfidences, read_ensemble
from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import TrialRecord, merit
from serplatform.ensemble.base import Combiner, combiner_from_parameters
from serplatform.ensemble.calibration import apply_temperature
from serplatform.errors import ArtifactError, BadInputError
from serplatform.run_directory import RunDirectory
from serplatform.storage.mirror import ensure, find_copy, shown

ENSEMBLE_FILE = "ensemble.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """One trial's model of one fold.

    Attributes:
        name: of the trial, unique in the system.
        architecture: registered name.
        directory: holds ``model.safetensors`` and ``config.json``.
        position: among the M candidates that the fold's combiner was fitted on.
        temperature: divides its log posteriors before combining; None: not calibrated.
        share: of the weights of its fold.
    """

    name: str
    architecture: str
    directory: Path
    position: int = 0
    temperature: float | None = None
    share: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldSystem:
    """What one outer fold contributes.

    Attributes:
        fold: its number.
        members: those with a weight.
        parameters: of the fitted combiner; None: the only member's posteriors are taken.
        num_candidates: M.
    """

    fold: int
    members: tuple[Member, ...]
    parameters: Mapping[str, Any] | None = None
    num_candidates: int = 1

    def combiner(self, num_classes: int) -> Combiner | None:
        """The combiner, ready to combine.

        Raises:
            ArtifactError: the parameters are damaged.
            BadInputError: this program has no such combiner.
        """
        if self.parameters is None:
            return None
        combiner = combiner_from_parameters(self.parameters, f"fold {self.fold}")
        if not combiner.fits(self.num_candidates, num_classes):
            raise ArtifactError(
                f"fold {self.fold}: the combiner's parameters do not fit {self.num_candidates} "
                f"candidates and {num_classes} classes; combine again"
            )
        return combiner

    def combine(
        self,
        combiner: Combiner | None,
        posteriors: Sequence[DoubleArray],
        shape: tuple[int, int],
    ) -> DoubleArray:
        """Combine the members' posteriors, each of ``shape`` (N, K), to (N, K).

        Candidates that are not members say 1/K for every class, which no combiner weighs; a
        fold may have no member at all.
        """
        if combiner is None:
            return posteriors[0]
        table = np.full((self.num_candidates, *shape), 1.0 / shape[1])  # (M, N, K)
        for member, values in zip(self.members, posteriors, strict=True):
            scaled = values
            if member.temperature is not None:
                scaled = apply_temperature(values, member.temperature)
            table[member.position] = scaled
        return combiner.combine(table)


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """Everything that prediction needs, before any model is loaded.

    Attributes:
        kind: ``run`` or ``ensemble``.
        source: where it was opened.
        title: what it is, for people.
        classes: K names, the order of the posteriors.
        folds: at least one.
        synthetic: it was trained on machine-made speech.
        description: data, protocol, metrics and limits, as bundles keep them; empty unless the
            system came from a bundle.
        rejection: what thresholds of confidence are chosen from, as bundles keep it; None
            unless the system came from one that has it.
    """

    kind: str
    source: Path
    title: str
    classes: tuple[str, ...]
    folds: tuple[FoldSystem, ...]
    synthetic: bool
    description: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rejection: BundledConfidences | None = None

    @property
    def num_models(self) -> int:
        return sum(len(fold.members) for fold in self.folds)

    def describe(self) -> str:
        """One sentence on what is averaged."""
        folds = len(self.folds)
        if not self.num_models:
            return (
                f"{self.title}: has no member, for dev rows spoke against every trial; every class "
                "gets the same posterior, which is no better than chance"
            )
        if self.kind == "ensemble":
            return (
                f"{self.title}: {self.num_models} models; those of each fold are combined with the "
                f"weights fitted on its dev rows, then the mean over {folds} folds is taken"
            )
        return f"{self.title}: mean of the posteriors of its {folds} fold models"


def open_system(path: Path, trial: int | None = None) -> System:
    """Open what ``search``, ``train``, ``ensemble`` or ``export`` wrote.

    Args:
        path: a run, an ensemble or a bundle.
        trial: which trial of a run; None: the best on dev.

    Raises:
        BadInputError: it is none of these, or the trial cannot be used.
        ArtifactError: a file is missing or damaged.
    """
    from serplatform.prediction.bundle import BUNDLE_FILE, read_bundle

    if not path.exists():
        raise BadInputError(f"{path}: no such directory; give a run, an ensemble or a bundle")
    is_run = (path / "run.json").is_file()
    if trial is not None and not is_run:
        raise BadInputError(f"--trial {trial}: is for runs, and {path} is none")
    if is_run:
        return open_run(path, trial)
    if (path / ENSEMBLE_FILE).is_file():
        return open_ensemble(path)
    if (path / BUNDLE_FILE).is_file():
        return read_bundle(path)
    raise BadInputError(
        f"{path}: is neither a run (run.json), nor an ensemble ({ENSEMBLE_FILE}), nor a bundle "
        f"({BUNDLE_FILE}); give what `search --out`, `ensemble --out` or `export --out` wrote"
    )


def open_run(path: Path, trial: int | None = None) -> System:
    """One trial of a run: its model of every fold."""
    directory = RunDirectory(path)
    run = directory.read_run()
    plugins.restore(directory.path, run.get("plugins", []))
    record = choose_trial(directory, run, trial)
    number = record["trial"]
    members = tuple(
        Member(
            name=f"trial-{number:05d}",
            architecture=record["architecture"],
            directory=_existing(directory.model_directory(number, fold), path),
        )
        for fold in range(_num_folds(directory, run))
    )
    return System(
        kind="run",
        source=path,
        title=f"trial {number} ({record['architecture']}) of {shown(path)}",
        classes=tuple(run["classes"]),
        folds=tuple(FoldSystem(fold=k, members=(member,)) for k, member in enumerate(members)),
        synthetic=run["dataset"].get("synthetic", False),
    )


def choose_trial(directory: RunDirectory, run: RunDescription, trial: int | None) -> TrialRecord:
    """The record of a trial: the one named, or the best by its mean dev objective.

    Raises:
        BadInputError: there is no such trial, or it is not complete.
    """
    records = directory.records()
    complete = {n: r for n, r in records.items() if r["state"] == "complete"}
    if not complete:
        raise BadInputError(f"{directory}: no trial is complete, so there is no model to use")
    if trial is not None:
        if trial in complete:
            return complete[trial]
        state = f"is {records[trial]['state']}" if trial in records else "does not exist"
        known = ", ".join(map(str, sorted(complete)[:20])) + (" …" if len(complete) > 20 else "")
        raise BadInputError(f"--trial {trial}: {state} in {directory}; complete trials: {known}")
    objective = run["objective"][0]
    return max(complete.values(), key=lambda r: (merit(r["dev"], objective), -r["trial"]))


def open_ensemble(path: Path) -> System:
    """Each fold's members with the combiner fitted on that fold's dev rows."""
    ensemble = read_ensemble(path)
    plugins.restore(path, ensemble.get("plugins", []))
    order = {name: position for position, name in enumerate(ensemble["parameter_order"])}
    runs: dict[str, RunDirectory] = {}
    folds = []
    for entry in ensemble["folds"]:
        members = []
        for row in entry["members"]:
            if row["member"] not in order:
                raise ArtifactError(
                    f"{path / ENSEMBLE_FILE}: parameter_order lacks the member {row['member']}; "
                    "combine again with `serplatform ensemble`"
                )
            if row["run"] not in runs:
                runs[row["run"]] = _find_run(path, row["run"], ensemble["folds_hash"])
                made_with = runs[row["run"]].read_run().get("plugins", [])
                plugins.restore(runs[row["run"]].path, made_with)
            run = runs[row["run"]]
            members.append(
                Member(
                    name=row["member"],
                    architecture=row["architecture"],
                    directory=_existing(run.model_directory(row["trial"], entry["fold"]), run.path),
                    position=order[row["member"]],
                    temperature=row["temperature"],
                    share=row["share"],
                )
            )
        folds.append(
            FoldSystem(
                fold=entry["fold"],
                members=tuple(members),
                parameters=entry["parameters"],
                num_candidates=len(order),
            )
        )
    dataset = ensemble.get("dataset")
    return System(
        kind="ensemble",
        source=path,
        title=f"{ensemble['combiner']} ensemble {shown(path)}",
        classes=tuple(ensemble["classes"]),
        folds=tuple(folds),
        synthetic=dataset is not None and dataset.get("synthetic", False),
    )


def _find_run(ensemble: Path, recorded: str, folds_hash: str) -> RunDirectory:
    """A member's run: where it was, or around the ensemble when both were moved together.

    An ensemble that lies in its run goes with that one, also where the run is a copy.
    """
    there = find_copy(recorded)
    parent = ensemble.resolve().parent
    around = [parent, parent / Path(recorded).name]
    inside = RunDirectory(parent).ensemble_directory == ensemble.resolve()
    for place in [parent, there, around[1]] if inside else [there, *around]:
        if not (place / "run.json").is_file():
            continue
        if place == there or RunDirectory(place).read_run()["folds_hash"] == folds_hash:
            return RunDirectory(place)
    raise ArtifactError(
        f"{ensemble}: its members' models are in the run {recorded}, which is not there any more; "
        f"put it back, put a copy named '{Path(recorded).name}' beside the ensemble, or combine "
        "again"
    )


def _num_folds(directory: RunDirectory, run: RunDescription) -> int:
    return run["protocol"].get("num_folds") or len(directory.read_folds(run)["folds"])


def _existing(model: Path, run: Path) -> Path:
    if not ensure(model).is_dir():
        raise ArtifactError(
            f"{model}: no such model; {run} was copied without its models, or they were removed"
        )
    return model
