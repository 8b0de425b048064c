"""Train the models of a system once on all rows, so that a member is one model, not one a fold.

What combines them stays that of the cross-validation: each fold's weights and temperatures are
applied to these models, and the mean over folds is taken as before. No row is left to test them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from serplatform.artifacts.bundle import RefitRecord, RefittedMember
from serplatform.artifacts.dataset import has_been
from serplatform.artifacts.layout import CONFIG_FILE
from serplatform.artifacts.model import read_model
from serplatform.artifacts.trial import trained_folds
from serplatform.console import Pace, say
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import ArtifactError, BadInputError, SerplatformError
from serplatform.models.architectures import ARCHITECTURES
from serplatform.prediction.system import MemberModel, PredictionSystem
from serplatform.protocols.base import FoldPlan
from serplatform.protocols.plan import plan_from_json
from serplatform.run_directory import RunDirectory
from serplatform.seeding import derive_seed
from serplatform.storage.mirror import ensure
from serplatform.training.all_rows import AllRowsTrainer, Course, plan_of_all_rows
from serplatform.training.bundle import stored_config

#: name of a model's directory, where that of a fold has ``fold-0``
ALL_ROWS = "all-rows"
_LINE_EVERY = 5.0  # seconds


def refit_system(
    system: PredictionSystem, folder: Path, data: str | Path | None = None
) -> tuple[PredictionSystem, RefitRecord]:
    """Train each member of a run's or an ensemble's system on all rows.

    Args:
        system: opened from a run or an ensemble.
        folder: models are written to ``<number>/all-rows`` in it.
        data: where the dataset lies now; None: where it lay when the run was begun.

    Returns:
        the same system with these models, and what a bundle says of them: ``rows, speakers,
        members``, each with its ``epochs`` and the ``best_epochs`` of the folds, None in closed
        form.

    Raises:
        BadInputError: the dataset is not there, or a member cannot be trained on all rows.
        ArtifactError: it is another dataset, or a file of a run is damaged.
    """
    members = {member.name: member for member in system.members}
    if not members:
        raise BadInputError(f"--refit: {system.title} has no member to train; leave it out")
    opened: dict[Path, tuple[Dataset, FoldPlan]] = {}
    places: dict[str, Path] = {}
    told: list[RefittedMember] = []
    for number, member in enumerate(members.values(), start=1):
        run = RunDirectory(member.directory.parents[2])
        if run.path not in opened:
            opened[run.path] = dataset_of(run, data, "--refit trains"), _all_rows(run)
        dataset, plan = opened[run.path]
        places[member.name] = folder / str(number) / ALL_ROWS
        begun = f"Training {member.name} ({member.architecture}) on all rows, {number} of "
        say(f"{begun}{len(members)} …")
        course = _train(member, run, dataset, plan, places[member.name])
        closed = ARCHITECTURES.get(member.architecture).closed_form
        told.append(
            {
                "member": member.name,
                "epochs": None if closed else course.epochs,
                "best_epochs": None if closed else list(course.best_epochs),
            }
        )
    folds = [
        dataclasses.replace(
            fold,
            members=tuple(
                dataclasses.replace(member, directory=places[member.name])
                for member in fold.members
            ),
        )
        for fold in system.folds
    ]
    dataset, plan = next(iter(opened.values()))
    rows = plan.folds[0].train
    speakers = {dataset.speaker_ids[dataset.row_of[name]] for name in rows}
    return (
        dataclasses.replace(system, folds=tuple(folds)),
        {"rows": len(rows), "speakers": len(speakers), "members": told},
    )


def _all_rows(run: RunDirectory) -> FoldPlan:
    return plan_of_all_rows(plan_from_json(run.read_folds(run.read_run()), str(run)))


def dataset_of(run: RunDirectory, data: str | Path | None, does: str) -> Dataset:
    """The dataset of a run, where it lies now; ``does`` is the option that needs it, and a verb."""
    option = does.partition(" ")[0]
    recorded = run.read_run()["dataset"]
    path = data or recorded["path"]
    try:
        dataset = Dataset.open(path)
    except SerplatformError as error:
        raise BadInputError(
            f"{does} on the dataset of {run}, and {error}; name it with --data, or leave {option} "
            "out"
        ) from None
    if not has_been(dataset.meta, recorded["fingerprint"]):
        raise ArtifactError(
            f"{path}: is not the dataset of {run} (fingerprint {dataset.fingerprint[:12]}, run "
            f"{recorded['fingerprint'][:12]}), and {does} on that one; name it with --data, or "
            f"leave {option} out"
        )
    return dataset


def _train(
    member: MemberModel, run: RunDirectory, dataset: Dataset, plan: FoldPlan, place: Path
) -> Course:
    """Train a trial on all rows and write its model."""
    import torch

    trial = int(member.directory.parent.name.rpartition("-")[2])
    record = run.read_record(run.record_file(trial))
    folds = trained_folds(record, len(run.read_folds(run.read_run())["folds"]))
    places = [ensure(run.model_directory(trial, fold)) for fold in folds]
    models = [read_model(place) for place in places]
    course = Course.of_folds([model["metrics"] for model in models], record.get("history", []))
    config = stored_config(models[0], places[0] / CONFIG_FILE)
    trainer = AllRowsTrainer(
        config,
        FoldData(dataset, plan, 0, config.data),
        course,
        seed=derive_seed(record.get("seed") or 0, "all rows"),
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    pace = Pace(_LINE_EVERY)
    pace.is_due()
    while not trainer.finished:
        report = trainer.run_epoch()
        if pace.is_due():
            say(f"  epoch {report.epoch} of {course.epochs}, training loss {report.train_loss:.3f}")
    trainer.save_model(place)
    return course
