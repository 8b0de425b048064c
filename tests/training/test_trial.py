"""A trial over its folds: what it leaves behind, and how another process goes on with it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from serplatform.artifacts.posteriors import posterior_schema
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import SerplatformError
from serplatform.metrics import classification_metrics
from serplatform.protocols.plan import write_plan
from serplatform.run_directory import RunDirectory
from serplatform.training import trial as trial_module
from serplatform.training.epoch import TrainingDiverged
from serplatform.training.trial import TrialTask, TrialTraining
from tests.support.search_checks import history_faults

EPOCHS = 4
VALUES = {"training.max_epochs": EPOCHS, "training.batch_size": 16, "model.dropout": 0.3}
TIMES = ("seconds", "ended", "peak_memory_mb", "host")


@pytest.fixture
def run(tmp_path, plan):
    directory = RunDirectory(tmp_path / "run")
    write_plan(directory.folds_file, plan)
    directory.write_run(
        {
            "schema_version": 1,
            "classes": list(plan.classes),
            "dataset": {"path": "data", "fingerprint": "0"},
            "protocol": {"name": plan.protocol},
            "spaces": {},
            "seed": 0,
            "objective": ["uar"],
            "folds_hash": "",
            "status": "running",
            "notes": [],
        }
    )
    return directory


@pytest.fixture
def make_task(run, dataset_path):
    def make(number=0, **values):
        given = {name.replace("__", "."): value for name, value in values.items()}
        return TrialTask(
            number=number,
            architecture="toy",
            values={**VALUES, **given},
            run=str(run.path),
            dataset=str(dataset_path),
            seed=5,
        )

    return make


def train(trial: TrialTraining):
    reports = []
    while not trial.finished:
        reports.append(trial.step())
    return reports


def without_times(record):
    kept = {key: value for key, value in record.items() if key not in TIMES}
    kept["history"] = [
        {key: value for key, value in entry.items() if key != "seconds"}
        for entry in record["history"]
    ]
    return kept


def test_a_trial_leaves_its_posteriors_models_and_record(run, make_task, plan):
    reports = train(TrialTraining(make_task(3)))
    record = run.records()[3]
    assert record["state"] == "complete"
    assert record["params"] == VALUES
    assert len(reports) == record["epochs"] == len(record["history"])
    assert history_faults(record["history"]) == []
    assert [r.done for r in reports] == [False] * (len(reports) - 1) + [True]
    for fold in range(3):
        for name in ("model.safetensors", "config.json"):
            assert (run.model_directory(3, fold) / name).exists()
    assert not run.state_directory(3).exists()

    table = run.read_posteriors(3)
    assert table.schema == posterior_schema(list(plan.classes))
    rows = table.to_pylist()
    tested = sorted(row["utterance_id"] for row in rows if row["part"] == "test")
    assert tested == sorted(u for fold in plan.folds for u in fold.test)
    names = [f"p_{name}" for name in plan.classes]
    values = np.array([[row[name] for name in names] for row in rows])
    np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-12)
    for fold in range(3):
        mine = [i for i, r in enumerate(rows) if r["fold"] == fold and r["part"] == "dev"]
        truth = np.array([plan.classes.index(rows[i]["truth"]) for i in mine])
        expected = classification_metrics(truth, values[mine])
        assert record["fold_dev"][fold] == pytest.approx(expected)
    uar = [fold["uar"] for fold in record["fold_dev"]]
    assert record["dev"]["uar"] == pytest.approx(np.mean(uar))
    assert reports[-1].objective == pytest.approx(record["dev"]["uar"])


def test_the_objective_is_the_mean_of_the_folds_begun(make_task):
    reports = train(TrialTraining(make_task()))
    best: dict[int, dict[int, float]] = {}
    for report in reports:
        best.setdefault(report.fold, {})[report.epoch] = report.history["dev"]["uar"]
        expected = np.mean([max(epochs.values()) for epochs in best.values()])
        assert report.objective == pytest.approx(expected)
        assert report.step == report.fold * EPOCHS + report.epoch


def test_a_record_says_with_how_many_threads_it_was_trained(run, make_task):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            train(TrialTraining(make_task(number=threads)))
    finally:
        torch.set_num_threads(before)
    assert {number: record["threads"] for number, record in run.records().items()} == {1: 1, 2: 2}


def test_what_a_trial_does_with_its_data_stands_in_its_record(run, make_task):
    train(TrialTraining(make_task(0, data__normalization="speaker")))
    train(TrialTraining(make_task(1)))
    notes = run.records()[0]["notes"]
    assert len(notes) == 1
    assert "test speakers included" in notes[0]
    assert run.records()[1]["notes"] == []


@pytest.mark.parametrize("stop_after", [1, 3, 4, 5, 9, 11])
def test_a_trial_goes_on_where_another_process_left_it(run, make_task, stop_after):
    train(TrialTraining(make_task(0)))
    whole, whole_rows = run.records()[0], run.read_posteriors(0)
    run.record_file(0).unlink()
    run.posteriors_file(0).unlink()

    first = TrialTraining(make_task(0))
    for _ in range(stop_after):
        first.step()
    first.suspend()
    second = TrialTraining(make_task(0))
    assert len(train(second)) == len(whole["history"]) - stop_after
    assert without_times(run.records()[0]) == without_times(whole)
    assert run.read_posteriors(0).equals(whole_rows)


def test_a_dead_process_costs_the_epochs_since_the_last_save(run, make_task, monkeypatch):
    monkeypatch.setattr(trial_module, "STATE_SHARE", 0.0)  # saves when a fold ends only
    first = TrialTraining(make_task(0))
    for _ in range(EPOCHS + 3):
        first.step()
    saved = json.loads((run.state_directory(0) / "progress.json").read_text())["history"]
    second = TrialTraining(make_task(0))
    train(second)
    history = run.records()[0]["history"]
    assert history_faults(history) == []
    # an epoch's seconds show that it is the very one that was saved
    assert history[: len(saved)] == saved
    assert len(history) == 3 * EPOCHS


def test_what_an_epoch_saves_is_whole_at_every_moment(run, make_task, monkeypatch):
    """A process that dies while it saves leaves the state before."""
    trial = TrialTraining(make_task(0))
    trial.step()
    trial.suspend()
    before = (run.state_directory(0) / "progress.json").read_bytes()

    def die(*_, **__):
        raise KeyboardInterrupt("killed")

    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "write_json", die)
        patch.setattr(trial_module, "STATE_SHARE", 1e9)
        with pytest.raises(KeyboardInterrupt, match="killed"):
            trial.step()
    assert (run.state_directory(0) / "progress.json").read_bytes() == before
    assert len(train(TrialTraining(make_task(0)))) == 3 * EPOCHS - 1


def test_the_state_of_another_configuration_is_not_taken(run, make_task):
    first = TrialTraining(make_task(0))
    first.step()
    first.suspend()
    assert len(train(TrialTraining(make_task(0, model__hidden_dim=8)))) == 3 * EPOCHS


def test_only_rank_0_writes(run, make_task):
    trial = TrialTraining(make_task(0), rank=1)
    for _ in range(2 * EPOCHS):
        trial.step()
    trial.suspend()
    assert not (run.path / "state").exists()
    assert not (run.path / "models").exists()


def test_a_trial_that_diverges_says_so_and_records_nothing(run, make_task):
    with pytest.raises(TrainingDiverged, match="training loss became infinite or not a number"):
        train(TrialTraining(make_task(0, model__explode=True)))
    assert run.records() == {}


def test_a_finished_trial_cannot_go_on(make_task):
    trial = TrialTraining(make_task(7))
    train(trial)
    with pytest.raises(ValueError, match="trial 7 has finished"):
        trial.step()


def test_augmentation_depends_on_the_epoch_and_not_on_the_batches(make_task, monkeypatch):
    def keys(batch_size):
        collected = []
        collate = FoldData.collate

        def record(self, rows, *, augment=None, **others):
            collected.append(augment)
            return collate(self, rows, augment=augment, **others)

        trial = TrialTraining(
            make_task(batch_size, training__batch_size=batch_size, data__gain_db=3.0)
        )
        epochs = []
        with monkeypatch.context() as patch:
            patch.setattr(FoldData, "collate", record)
            for _ in range(2):
                collected.clear()
                trial.step()
                epochs.append({key for key in collected if key is not None})
        return epochs

    first, second = keys(8)
    assert (len(first), len(second)) == (1, 1)
    assert all(isinstance(key, int) for key in first | second)
    assert first != second
    assert keys(32) == [first, second]


def test_a_process_that_was_taken_over_writes_no_more(run, make_task):
    """As on a node that froze: it goes on after its trial was given to another one."""
    frozen = TrialTraining(make_task(0))
    frozen.step()
    live = TrialTraining(make_task(0))
    live.step()
    left = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    with pytest.raises(SerplatformError, match="trial 0: another process has resumed"):
        train(frozen)
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == left
    train(live)
    assert not run.state_directory(0).exists()
    assert not history_faults(run.records()[0]["history"])


def test_a_process_writes_no_more_of_a_trial_that_was_recorded_elsewhere(run, make_task):
    frozen = TrialTraining(make_task(0))
    frozen.step()
    train(TrialTraining(make_task(0)))
    record = run.record_file(0).read_bytes()
    with pytest.raises(SerplatformError, match="another process has resumed"):
        train(frozen)
    assert run.record_file(0).read_bytes() == record
    assert not run.state_directory(0).exists()
