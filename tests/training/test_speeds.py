"""Training on clips at further speeds, by steps and in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.models.pooled_classifier import PooledClassifier, inner_folds
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset
from serplatform.training.bundle import load_model
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import resolve


@pytest.fixture(scope="module")
def make_data(tmp_path_factory):
    names = ("log_mel_23", "log_mel_23~0.9", "log_mel_23~1.1")
    path = tmp_path_factory.mktemp("speeds") / "data"
    dataset = Dataset.open(
        make_dataset(path, per_speaker=8, features=dict.fromkeys(names, 23), seconds=(0.2, 0.5))
    )
    plan = make_plan(dataset.utterances, "speaker-kfold:3", 0)

    def make(architecture, **values):
        own = {"data.feature": "log_mel_23", "data.speeds": True, **values}
        config = resolve(architecture, own, "test")
        return FoldTrainer(config, FoldData(dataset, plan, 0, config.data), seed=3)

    return make


@pytest.mark.parametrize("architecture", ["svm", "lda"])
def test_a_closed_form_fit_takes_all_copies_and_keeps_them_together(
    make_data, monkeypatch, tmp_path, architecture
):
    seen = []
    fit = PooledClassifier.fit

    def record(self, batches, groups, class_weights):
        given = list(batches)
        seen.append((torch.cat([batch.rows for batch in given]).numpy(), given, groups))
        return fit(self, given, groups, class_weights)

    monkeypatch.setattr(PooledClassifier, "fit", record)
    trainer = make_data(architecture, **{"data.pooling": "none"})
    report = trainer.run_epoch()
    [(rows, batches, groups)] = seen
    data = trainer.data
    train = data.rows("train")
    assert np.array_equal(np.sort(rows), np.repeat(train, 3))
    speakers = np.array(data.dataset.speaker_ids)[rows]
    assert len(set(zip(groups, speakers, strict=True))) == len(set(speakers))
    labels = np.concatenate([batch.labels.numpy() for batch in batches])
    for inside, outside in inner_folds(labels, groups):
        assert not set(rows[inside]) & set(rows[outside])
    plain = make_data(architecture, **{"data.pooling": "none", "data.speeds": False})
    plain.run_epoch()
    assert not np.array_equal(trainer.posteriors("dev"), plain.posteriors("dev"))
    assert np.isfinite(report.train_loss)
    trainer.save_model(tmp_path / "with")
    plain.save_model(tmp_path / "without")
    assert load_model(tmp_path / "with").metrics["speeds"] == [0.9, 1.0, 1.1]
    assert "speeds" not in load_model(tmp_path / "without").metrics
    assert any("speeds 0.9, 1, 1.1" in note for note in trainer.notes)


def test_steps_are_taken_on_drawn_speeds_and_go_on_from_a_state(make_data, tmp_path, monkeypatch):
    lengths = []
    collate = FoldData.collate

    def record(self, rows, **how):
        lengths.append(how.get("augment"))
        return collate(self, rows, **how)

    monkeypatch.setattr(FoldData, "collate", record)
    values = {"training.max_epochs": 3, "training.batch_size": 8}
    whole = make_data("toy", **values)
    whole.run_epoch()
    keys = {key for key in lengths if key is not None}
    assert len(keys) == 1  # in training; dev rows are as they are
    assert None in lengths
    whole.save_state(tmp_path / "state")
    resumed = make_data("toy", **values)
    resumed.load_state(tmp_path / "state")
    for trainer in (whole, resumed):
        trainer.run_epoch()
    assert np.array_equal(whole.posteriors("dev"), resumed.posteriors("dev"))
    plain = make_data("toy", **{**values, "data.speeds": False})
    plain.run_epoch()
    assert plain.run_epoch().train_loss != whole.run_epoch().train_loss
