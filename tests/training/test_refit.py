"""The kept model fitted again on training and dev rows: what it reads, and what stays as it was."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import ipc

from serplatform.artifacts.files import (
    file_sha256,
    read_json,
    read_parquet,
    write_json,
    write_parquet,
)
from serplatform.artifacts.trial import REFIT_NOTE
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.distributed.canary import permuted_copy
from serplatform.ensembles.build import notes
from serplatform.ensembles.posteriors import read_library
from serplatform.errors import BadInputError
from serplatform.explanations.model_probe import probe_model
from serplatform.metrics import classification_metrics
from serplatform.models import svm
from serplatform.models.pooled_classifier import PooledClassifier
from serplatform.protocols.plan import make_plan, plan_hash, write_plan
from serplatform.run_directory import RunDirectory
from serplatform.testing.synthetic import make_dataset, write_shard
from serplatform.training.bundle import load_model
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial import TrialTask, TrialTraining
from serplatform.training.trial_config import resolve

ALL = pytest.mark.parametrize("architecture", ["svm", "logistic", "lda"])
FILES = ("model.safetensors", "config.json")


def fitted(dataset: Dataset, plan, architecture: str, fold: int = 0, **values) -> FoldTrainer:
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    config = resolve(architecture, dotted, "test")
    trainer = FoldTrainer(config, FoldData(dataset, plan, fold, config.data), seed=0)
    trainer.run_epoch()
    return trainer


def saved(trainer: FoldTrainer, directory: Path) -> list[bytes]:
    trainer.save_model(directory)
    return [(directory / name).read_bytes() for name in FILES]


def altered(dataset: Dataset, ids: set[str], out: Path) -> Dataset:
    """A copy in which some utterances have other labels and other frames of the same number."""
    shutil.copytree(dataset.path, out)
    table = read_parquet(out / "utterances.parquet")
    names, labels = (table[column].to_pylist() for column in ("utterance_id", "emotion"))
    wrong = dict(zip(dataset.classes, np.roll(dataset.classes, 1).tolist(), strict=True))
    labels = [wrong[e] if n in ids else e for n, e in zip(names, labels, strict=True)]
    place = table.schema.get_field_index("emotion")
    write_parquet(
        out / "utterances.parquet",
        table.set_column(place, table.schema.field("emotion"), pa.array(labels, pa.string())),
    )
    rng = np.random.default_rng(0)
    for file in sorted(out.glob("*.arrow")):
        batch = ipc.open_stream((dataset.path / file.name).read_bytes()).read_all()
        own = batch["utterance_id"].to_pylist()
        frames = [np.array(values, np.float32) for values in batch["frames"].to_pylist()]
        write_shard(
            file,
            own,
            [
                rng.normal(5, 9, len(values)).astype(np.float32) if name in ids else values
                for name, values in zip(own, frames, strict=True)
            ],
        )
    meta = dict(dataset.meta)
    utterances = {"utterances.parquet": file_sha256(out / "utterances.parquet")}
    write_json(out / "dataset.json", {**meta, "files": {**meta["files"], **utterances}})
    return Dataset.open(out)


@ALL
@pytest.mark.parametrize("normalization", ["train", "speaker"])
def test_no_test_row_is_read_and_every_dev_row_is(
    dataset, plan, tmp_path, architecture, normalization
):
    values = {"data__normalization": normalization, "training__class_weights": "balanced"}
    fold = plan.folds[0]
    models, tested = {}, []
    for name, ids in (("whole", ()), ("test", fold.test), ("dev", fold.dev)):
        data = altered(dataset, set(ids), tmp_path / name)
        trainer = fitted(data, plan, architecture, **values)
        models[name] = saved(trainer, tmp_path / f"model of {name}")
        tested.append(trainer.posteriors("test"))
    assert (tested[0] != tested[1]).any()  # they were altered
    assert models["test"] == models["whole"]
    assert models["dev"][0] != models["whole"][0]


@ALL
def test_dev_posteriors_are_those_of_the_fit_on_training_rows(dataset, plan, architecture):
    on, off = (fitted(dataset, plan, architecture, training__refit=on) for on in (True, False))
    assert (on.posteriors("test") != off.posteriors("test")).any()
    for part in ("dev", "train"):  # after the refit, which test rows asked for
        assert np.array_equal(on.posteriors(part), off.posteriors(part))
    assert on.best_metrics == off.best_metrics
    assert REFIT_NOTE in on.notes
    assert REFIT_NOTE not in off.notes


@ALL
def test_the_kept_model_is_that_of_a_fold_whose_dev_rows_train(
    dataset, plan, tmp_path, monkeypatch, architecture
):
    """Its rows, its speakers and its normalisation; and it gives the test posteriors."""
    given = []

    def record(self, batches, groups, class_weights):
        batches = list(batches)
        given.append((torch.cat([batch.rows for batch in batches]).tolist(), len(set(groups))))
        fit(self, batches, groups, class_weights)

    fit = PooledClassifier.fit
    monkeypatch.setattr(PooledClassifier, "fit", record)
    trainer = fitted(dataset, plan, architecture)
    trainer.save_model(tmp_path)
    fold = plan.folds[0]
    for (rows, groups), ids in zip(given, (fold.train, fold.train + fold.dev), strict=True):
        assert {dataset.utterance_ids[row] for row in rows} == set(ids)
        assert len(rows) == len(ids)
        assert groups == len({dataset.speaker_ids[row] for row in rows})
    dev_speaker = set(trainer.data.speaker_ids("dev"))
    swapped = dataclasses.replace(  # dev rows train; test rows stand in as dev rows
        fold, train=tuple(sorted(fold.train + fold.dev)), dev=fold.test, test=()
    )
    twin = fitted(
        dataset, dataclasses.replace(plan, folds=(swapped,)), architecture, training__refit=False
    )
    assert dev_speaker <= set(twin.data.speaker_ids("train"))
    loaded = load_model(tmp_path)
    for name, value in twin.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    assert loaded.pipeline.describe() == twin.data.preprocessing()
    assert np.array_equal(trainer.posteriors("test"), twin.posteriors("dev"))
    assert loaded.metrics["dev"] == trainer.best_metrics
    assert trainer.num_parameters == twin.num_parameters


@ALL
def test_permuted_labels_stay_at_chance_and_true_ones_do_not(tmp_path, architecture):
    path = make_dataset(
        tmp_path / "true",
        num_speakers=6,
        per_speaker=24,
        separation=6.0,
        features={"log_mel_40": 40},
    )
    uar = []
    for data in (path, permuted_copy(path, tmp_path / "permuted", seed=3)):
        dataset = Dataset.open(data)
        plan = make_plan(dataset.utterances, "speaker-kfold:3", 0)
        trainers = [fitted(dataset, plan, architecture, fold) for fold in range(3)]
        truth = np.concatenate([t.data.labels("test") for t in trainers])
        found = np.concatenate([t.posteriors("test") for t in trainers])
        uar.append(classification_metrics(truth, found)["uar"])
    assert uar[0] > 0.9
    assert abs(uar[1] - 0.25) < 0.11  # three standard deviations of 144 draws at 1 in 4


def test_what_is_trained_by_steps_is_not_fitted_again():
    with pytest.raises(BadInputError, match=r"training\.refit = True: csa is trained by steps"):
        resolve("csa", {"training.refit": True}, "test")
    assert resolve("csa", {}, "test").training.refit is False
    config = resolve("svm", {"training.refit": False}, "test")
    assert resolve("svm", config.values(), "test") == config


def test_rows_that_are_too_many_together_are_told_with_the_remedy(dataset, plan, monkeypatch):
    trainer = fitted(dataset, plan, "svm")
    monkeypatch.setattr(svm, "MOST_ROWS", len(trainer.data.rows("train")))
    with pytest.raises(BadInputError, match=r"training\.refit, on training and dev.*to false"):
        trainer.posteriors("test")


def test_a_model_written_before_the_option_was_fitted_to_training_rows(dataset, plan, tmp_path):
    fitted(dataset, plan, "svm", training__refit=False).save_model(tmp_path)
    described = read_json(tmp_path / "config.json")
    del described["training"]["refit"]
    write_json(tmp_path / "config.json", described, checksum=True)
    assert load_model(tmp_path).config.training.refit is False


# -- trials


@pytest.fixture
def run(tmp_path, plan, dataset_path):
    directory = RunDirectory(tmp_path / "run")
    write_plan(directory.folds_file, plan)
    directory.write_run(
        {
            "schema_version": 1,
            "classes": list(plan.classes),
            "dataset": {"path": str(dataset_path), "fingerprint": "0"},
            "protocol": {"name": plan.protocol},
            "spaces": {},
            "seed": 0,
            "objective": ["uar"],
            "folds_hash": plan_hash(plan),
            "status": "complete",
            "notes": [],
        }
    )
    return directory


def task(run: RunDirectory, dataset_path: Path, number: int = 0, **values) -> TrialTask:
    return TrialTask(
        number=number,
        architecture="svm",
        values=values,
        run=str(run.path),
        dataset=str(dataset_path),
        seed=5,
    )


def train(trial: TrialTraining) -> None:
    while not trial.finished:
        trial.step()


def test_a_trial_that_was_killed_leaves_the_same_bytes(run, dataset_path, monkeypatch):
    train(TrialTraining(task(run, dataset_path)))
    rows = run.posteriors_file(0).read_bytes()
    files = [run.model_directory(0, fold) / name for fold in range(3) for name in FILES]
    whole = [file.read_bytes() for file in files]
    for file in (*files, run.record_file(0), run.posteriors_file(0)):
        file.unlink()

    def die(*_):
        raise KeyboardInterrupt("killed")

    first = TrialTraining(task(run, dataset_path))
    first.step()
    with monkeypatch.context() as patch:  # after the refit of the second fold, before it is written
        patch.setattr(FoldTrainer, "save_model", die)
        with pytest.raises(KeyboardInterrupt, match="killed"):
            first.step()
    train(TrialTraining(task(run, dataset_path)))
    assert [file.read_bytes() for file in files] == whole
    assert run.posteriors_file(0).read_bytes() == rows


def test_its_record_its_ensembles_and_its_explanations_know_of_it(run, dataset, dataset_path, plan):
    train(TrialTraining(task(run, dataset_path, 0)))
    train(TrialTraining(task(run, dataset_path, 1, **{"training.refit": False})))
    records = run.records()
    assert REFIT_NOTE in records[0]["notes"]
    assert REFIT_NOTE not in records[1]["notes"]
    assert records[0]["dev"] == records[1]["dev"]
    library = read_library([run.path])
    assert [c.refit for c in library.candidates] == [True, False]
    assert f"svm: {REFIT_NOTE}" in notes(library)
    for number in (0, 1):  # what `explain` compares: the saved model on test rows, and the record
        table = run.read_posteriors(number)
        for fold in range(3):
            rows = np.array([dataset.row_of[u] for u in plan.folds[fold].test], dtype=np.int64)
            probed = probe_model(run, dataset, plan, number, fold, rows)
            known = {
                r["utterance_id"]: [r[f"p_{name}"] for name in plan.classes]
                for r in table.to_pylist()
                if r["part"] == "test" and r["fold"] == fold
            }
            for result in probed.results:
                expected = known[dataset.utterance_ids[result.row]]
                np.testing.assert_allclose(result.posteriors, expected, atol=1e-12)
