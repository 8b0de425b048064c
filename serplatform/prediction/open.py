"""Open what predicts: a trial of a run, an ensemble, or a bundle, which is either of them.

A bundle is one directory with everything a system needs: ``bundle.json``, and its models in
``models/<member>/fold-<k>/``. ``bundle.json`` holds the SHA-256 of every file and of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import cast

from serplatform import plugins
from serplatform.artifacts.bundle import BundleDescription, BundledMember, SystemDescription
from serplatform.artifacts.ensemble import MemberRecord, ensemble_identity, read_ensemble
from serplatform.artifacts.files import file_sha256
from serplatform.artifacts.layout import no_system
from serplatform.artifacts.records import read_record
from serplatform.artifacts.run import RunDescription
from serplatform.artifacts.trial import TrialRecord, ranked, trial_identity
from serplatform.config import digest
from serplatform.encoders.open import look_in
from serplatform.errors import ArtifactError, BadInputError
from serplatform.prediction.system import ENSEMBLE_FILE, FoldSystem, MemberModel, PredictionSystem
from serplatform.run_directory import RunDirectory
from serplatform.storage.mirror import ensure, find_copy, shown

BUNDLE_FILE = "bundle.json"
CARD_FILE = "README.md"


def open_system(path: Path, trial: int | None = None) -> PredictionSystem:
    """Open what ``search``, ``train``, ``ensemble`` or ``export`` wrote.

    Args:
        path: a run, an ensemble or a bundle.
        trial: which trial of a run; None: the best on dev.

    Raises:
        BadInputError: it is none of these, or the trial cannot be used.
        ArtifactError: a file is missing or damaged.
    """
    if not path.exists():
        raise no_system(path)
    if (path / "run.json").is_file():
        return open_run(path, trial)
    if trial is not None:
        raise BadInputError(f"--trial {trial}: is for runs, and {path} is none")
    if (path / ENSEMBLE_FILE).is_file():
        return open_ensemble(path)
    if (path / BUNDLE_FILE).is_file():
        return read_bundle(path)
    raise BadInputError(
        f"{path}: is neither a run (run.json), nor an ensemble ({ENSEMBLE_FILE}), nor a bundle "
        f"({BUNDLE_FILE}); give what `search --out`, `ensemble --out` or `export --out` wrote"
    )


def open_run(path: Path, trial: int | None = None) -> PredictionSystem:
    """One trial of a run: its model of every fold."""
    directory = RunDirectory(path)
    run = directory.read_run()
    if run.get("nested"):
        raise BadInputError(
            f"{path}: is nested, so no trial has a model of every fold; give its ensemble "
            f"({path}/ensemble), make one of each fold's best trial with `serplatform ensemble "
            f"{path} --combiner single --out ENS`, or search without --nested"
        )
    plugins.restore(directory.path, run)
    record = choose_trial(directory, run, trial)
    number = record["trial"]
    num_folds = run["protocol"].get("num_folds") or len(directory.read_folds(run)["folds"])
    members = tuple(
        MemberModel(
            name=f"trial-{number:05d}",
            architecture=record["architecture"],
            directory=_existing(directory.model_directory(number, fold), path),
        )
        for fold in range(num_folds)
    )
    return PredictionSystem(
        kind="run",
        source=path,
        title=f"trial {number} ({record['architecture']}) of {shown(path)}",
        classes=tuple(run["classes"]),
        folds=tuple(FoldSystem(fold=k, members=(member,)) for k, member in enumerate(members)),
        synthetic=run["dataset"].get("synthetic", False),
        identity=trial_identity(record, run["folds_hash"]),
    )


def choose_trial(directory: RunDirectory, run: RunDescription, trial: int | None) -> TrialRecord:
    """The record of a complete trial: the one named, or the best by its mean dev objective."""
    records = directory.records()
    complete = {n: r for n, r in records.items() if r["state"] == "complete"}
    if not complete:
        raise BadInputError(
            f"{directory}: no trial is complete, so there is no model to use; go on with\n"
            f"  serplatform search --resume --out {directory}"
        )
    if trial is not None:
        if trial in complete:
            return complete[trial]
        state = f"is {records[trial]['state']}" if trial in records else "does not exist"
        known = ", ".join(map(str, sorted(complete)[:20])) + (" …" if len(complete) > 20 else "")
        raise BadInputError(f"--trial {trial}: {state} in {directory}; complete trials: {known}")
    return ranked(complete.values(), run["objective"][0])[0]


def open_ensemble(path: Path) -> PredictionSystem:
    """Each fold's members with the combiner fitted on that fold's dev rows."""
    ensemble = read_ensemble(path)
    plugins.restore(path, ensemble)
    order = {name: position for position, name in enumerate(ensemble["parameter_order"])}
    runs: dict[str, RunDirectory] = {}
    folds = []
    for entry in ensemble["folds"]:
        if "parameter_order" in entry:  # of a nested search
            order = {name: position for position, name in enumerate(entry["parameter_order"])}
        members = []
        for row in entry["members"]:
            if row["member"] not in order:
                raise ArtifactError(
                    f"{path / ENSEMBLE_FILE}: parameter_order lacks the member {row['member']}; "
                    "combine again with `serplatform ensemble`"
                )
            if row["run"] not in runs:
                runs[row["run"]] = _find_run(path, row["run"], ensemble["folds_hash"])
                plugins.restore(runs[row["run"]].path, runs[row["run"]].read_run())
            run = runs[row["run"]]
            directory = _existing(run.model_directory(row["trial"], entry["fold"]), run.path)
            members.append(_member(row, directory, order[row["member"]]))
        folds.append(
            FoldSystem(
                fold=entry["fold"],
                members=tuple(members),
                parameters=entry["parameters"],
                num_candidates=len(order),
            )
        )
    dataset = ensemble.get("dataset")
    return PredictionSystem(
        kind="ensemble",
        source=path,
        title=f"{ensemble['combiner']} ensemble {shown(path)}",
        classes=tuple(ensemble["classes"]),
        folds=tuple(folds),
        synthetic=dataset is not None and dataset.get("synthetic", False),
        identity=ensemble_identity(ensemble),
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


def _existing(model: Path, run: Path) -> Path:
    if not ensure(model).is_dir():
        raise ArtifactError(
            f"{model}: no such model; {run} was copied without its models, or they were removed"
        )
    return model


def contents_digest(bundle: Mapping[str, object]) -> str:
    """SHA-256 (hex) of everything in ``bundle.json`` but this digest itself."""
    return digest({key: value for key, value in bundle.items() if key != "sha256"})


def read_bundle(path: Path) -> PredictionSystem:
    """Open a bundle and verify every file that prediction uses; each damaged one is named."""
    file = path / BUNDLE_FILE
    bundle = read_record(BundleDescription, file, "bundle description", "export again")
    if bundle["sha256"] != contents_digest(bundle):
        raise ArtifactError(f"{file}: its contents were altered; copy the bundle or export again")
    if errors := _file_errors(path, bundle["files"]):
        raise ArtifactError(f"{path}: the bundle is not whole; copy it or export it again:", errors)
    listed = {str(PurePosixPath(name).parent) for name in bundle["files"]}
    models = [row["directory"] for entry in bundle["folds"] for row in entry["members"]]
    encoders = [e["directory"] for e in bundle.get("encoders", []) if e["directory"] is not None]
    for directory in (*models, *encoders):
        if directory not in listed:
            raise ArtifactError(
                f"{file}: the bundle is incomplete: no files are listed for {directory}; "
                "export again"
            )
    plugins.restore(path, bundle, foreign=True)
    for directory in encoders:
        look_in(path / directory)
    return PredictionSystem(
        kind=bundle["kind"],
        source=path,
        title=bundle["title"],
        classes=tuple(bundle["classes"]),
        folds=tuple(
            FoldSystem(
                fold=entry["fold"],
                members=tuple(
                    _member(row, path / row["directory"], row["position"])
                    for row in entry["members"]
                ),
                parameters=entry["parameters"],
                num_candidates=entry["num_candidates"],
            )
            for entry in bundle["folds"]
        ),
        synthetic=bundle["synthetic"],
        description=cast("SystemDescription", bundle["description"]),
        rejection=bundle.get("rejection"),
        identity=bundle.get("identity", ""),
    )


def _member(row: BundledMember | MemberRecord, directory: Path, position: int) -> MemberModel:
    return MemberModel(
        name=row["member"],
        architecture=row["architecture"],
        directory=directory,
        position=position,
        temperature=row["temperature"],
        share=row["share"],
    )


def _file_errors(path: Path, files: Mapping[str, str]) -> list[str]:
    errors = []
    for name, expected in files.items():
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts:
            errors.append(f"{name}: leads out of the bundle")
            continue
        file = path / name
        if not file.is_file():
            errors.append(f"{name}: is missing")
        elif file_sha256(file) != expected:
            errors.append(f"{name}: is truncated or altered (its checksum does not match)")
    return errors
