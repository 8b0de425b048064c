"""Models that are fitted at once: one epoch, what they are given, what is kept and refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import BadInputError
from serplatform.models.pooled_classifier import PooledClassifier
from serplatform.protocols.plan import make_plan
from serplatform.protocols.selection import recording_groups
from serplatform.studies.own_space import own_space
from serplatform.training.bundle import load_model
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import resolve

BOTH = pytest.mark.parametrize("architecture", ["svm", "logistic"])
SEGMENTS = {"data__pooling": "time", "data__pooling_segments": 3}
FRAMES = {"data__pooling": "none"}
SEQUENCE = {**SEGMENTS, "data__pooling_layout": "sequence"}


@BOTH
@pytest.mark.parametrize("values", [{}, SEGMENTS, FRAMES, SEQUENCE])
def test_one_epoch_is_all(make_trainer, architecture, values):
    trainer = make_trainer(architecture, data__feature="log_mel_23", **values)
    before = torch.random.get_rng_state()
    report = trainer.run_epoch()
    assert trainer.finished
    assert trainer.best_epoch == report.epoch == 1
    assert report.learning_rate is None
    assert report.dev["uar"] > 0.5  # chance is 0.25
    assert 0 < report.train_loss < np.log(4)
    assert torch.equal(before, torch.random.get_rng_state())
    with pytest.raises(RuntimeError, match="finished after epoch 1"):
        trainer.run_epoch()


@BOTH
def test_only_training_rows_are_fitted_to_in_the_order_of_their_groups(
    make_trainer, monkeypatch, architecture
):
    seen = []

    def record(self, batches, groups, class_weights):
        given = list(batches)
        seen.append((torch.cat([batch.rows for batch in given]).numpy(), groups))
        return fit(self, given, groups, class_weights)

    fit = PooledClassifier.fit
    monkeypatch.setattr(PooledClassifier, "fit", record)
    trainer = make_trainer(architecture, data__pooling="none")
    trainer.run_epoch()
    [(rows, groups)] = seen
    data = trainer.data
    assert sorted(rows) == data.rows("train").tolist()
    speakers = np.array(data.dataset.speaker_ids)[rows]
    assert len(set(groups)) == len(set(speakers)) == len(set(zip(groups, speakers, strict=True)))


@BOTH
def test_the_seed_plays_no_part(make_trainer, architecture):
    one, other = make_trainer(architecture, seed=1), make_trainer(architecture, seed=2)
    one.run_epoch()
    other.run_epoch()
    assert np.array_equal(one.posteriors("test"), other.posteriors("test"))


@BOTH
def test_state_and_model_read_back_give_the_same_posteriors(make_trainer, tmp_path, architecture):
    trainer = make_trainer(architecture, training__refit=False)
    trainer.run_epoch()
    trainer.save_state(tmp_path / "state")
    trainer.save_model(tmp_path / "model")
    resumed = make_trainer(architecture, training__refit=False)
    resumed.load_state(tmp_path / "state")
    assert resumed.finished
    expected = trainer.posteriors("test")
    assert np.array_equal(resumed.posteriors("test"), expected)
    assert resumed.num_parameters == trainer.num_parameters > 100
    loaded = load_model(tmp_path / "model")
    batch = trainer.data.collate(trainer.data.rows("test"))
    with torch.inference_mode():
        found = loaded.model(batch).log_posteriors.double().softmax(dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_class_weights_move_posteriors_to_the_rare_class(make_trainer):
    trainers = [make_trainer("svm", training__class_weights=kind) for kind in ("none", "balanced")]
    rare = int(trainers[0].data.class_counts("train").argmin())
    common = trainers[0].data.rows("train")[trainers[0].data.labels("train") != rare]
    rows = trainers[0].data.rows("train")
    few = np.sort(np.append(common, rows[trainers[0].data.labels("train") == rare][:4]))
    mean = []
    for trainer in trainers:
        trainer.data._rows["train"] = few
        again = FoldTrainer(trainer.config, trainer.data, seed=0)
        again.run_epoch()
        mean.append(again.posteriors("dev")[:, rare].mean())
    assert mean[1] > mean[0]


@BOTH
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "training.learning_rate",
            0.5,
            r"training.learning_rate = 0.5.*closed form.*class_weights",
        ),
        ("training.max_epochs", 3, "training.max_epochs = 3.*closed form"),
        ("data.noise", 0.1, "changes training frames at random.*noise off"),
    ],
)
def test_settings_of_steps_and_epochs_are_refused(architecture, name, value, message):
    with pytest.raises(BadInputError) as caught:
        resolve(architecture, {name: value}, "test")
    assert re.search(message, str(caught.value))
    config = resolve(architecture, {"training.class_weights": "balanced"}, "test")
    assert resolve(architecture, config.values(), "test") == config


def test_a_space_of_its_ranges_searches_no_steps():
    assert not [name for name in own_space("svm")[0]["parameters"] if "training" in name]
    assert "training.learning_rate" in own_space("csa")[0]["parameters"]


def test_one_training_speaker_is_grouped_by_recording(dataset_path):
    dataset = Dataset.open(dataset_path)
    plan = make_plan(dataset.utterances, "speaker-kfold:3", 0)
    data = FoldData(dataset, plan, 0, resolve("svm", {}, "test").data)
    assert len(set(data.groups("train"))) == len(set(data.speaker_ids("train"))) > 1
    one = np.flatnonzero(np.array(dataset.speaker_ids) == data.speaker_ids("train")[0])
    data._rows["train"] = one
    expected = recording_groups(dataset.utterances.take(one))
    assert np.array_equal(data.groups("train"), expected)
    trainer = FoldTrainer(resolve("svm", {}, "test"), data, seed=0)
    assert np.isfinite(trainer.run_epoch().dev["nll"])
    assert any("one training speaker" in note for note in trainer.notes)
