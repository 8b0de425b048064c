from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from serplatform.artifacts.files import read_json
from serplatform.errors import ArtifactError
from serplatform.training.bundle import load_model


@pytest.fixture
def saved(make_trainer, tmp_path):
    trainer = make_trainer(
        "moma", model__hidden_dim=8, model__attention_dim=8, training__learning_rate=0.01
    )
    for _ in range(3):
        trainer.run_epoch()
    trainer.save_model(tmp_path / "model")
    return trainer, tmp_path / "model"


def edit(directory, **changes):
    file = directory / "config.json"
    file.write_text(json.dumps(read_json(file) | changes))


def test_model_read_back_gives_the_same_posteriors(saved):
    trainer, directory = saved
    loaded = load_model(directory)
    data = trainer.data
    with torch.inference_mode():
        output = loaded.model(data.collate(data.rows("test")))
    assert not loaded.model.training
    assert output.log_posteriors.exp().numpy() == pytest.approx(
        trainer.posteriors("test"), abs=1e-6
    )
    assert loaded.classes == data.classes
    assert loaded.config == trainer.config
    assert loaded.pipeline.describe() == data.preprocessing()
    assert loaded.input_spec == data.input_spec
    assert loaded.metrics == {"epoch": trainer.best_epoch, "dev": trainer.best_metrics}


def test_description_is_plain_json(saved):
    directory = saved[1]
    stored = read_json(directory / "config.json")
    assert stored["schema_version"] == 1
    assert stored["architecture"] == "moma"
    assert stored["model"]["hidden_dim"] == 8
    assert stored["training"]["learning_rate"] == 0.01
    assert stored["data"]["feature"] == "log_mel_23"
    assert stored["input_spec"]["feature_dim"] == 23
    assert len(stored["weights"]["sha256"]) == 64
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "model.safetensors"]


def test_writing_again_replaces_the_model(saved):
    trainer, directory = saved
    trainer.run_epoch()
    trainer.save_model(directory)
    assert load_model(directory).metrics["epoch"] == trainer.best_epoch


def test_altered_weights_are_noticed(saved):
    file = saved[1] / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.safetensors: .* truncated or altered"):
        load_model(saved[1])


@pytest.mark.parametrize(
    ("file", "message"),
    [("model.safetensors", "cannot be read"), ("config.json", "no such model description")],
)
def test_missing_file_is_named(saved, file, message):
    (saved[1] / file).unlink()
    with pytest.raises(ArtifactError, match=message):
        load_model(saved[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 99}, "schema version 99, this program reads 1"),
        ({"classes": ["angry"]}, "lists 1 classes for a model of 4"),
        ({"input_spec": None}, "input_spec is null where an object belongs"),
        ({"model": {"units": 3}}, "Unknown parameter 'model.units'"),
        ({"architecture": "mona"}, "Unknown architecture 'mona'.*Did you mean 'moma'"),
        ({"model": {"hidden_dim": 4, "attention_dim": 8}}, "weights do not fit"),
    ],
)
def test_description_that_does_not_fit_is_refused(saved, changes, message):
    edit(saved[1], **changes)
    with pytest.raises(ArtifactError, match=message):
        load_model(saved[1])


def test_word_vectors_keep_their_size(make_trainer, tmp_path, monkeypatch):
    """The vectors themselves are in the weights; the description holds their sizes."""
    import dataclasses

    trainer = make_trainer()
    trainer.run_epoch()
    spec = dataclasses.replace(
        trainer.data.input_spec, vocabulary_size=5, word_vectors=torch.ones(5, 3)
    )
    monkeypatch.setattr(type(trainer.data), "input_spec", spec)
    trainer.save_model(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.input_spec.word_vectors.shape == (5, 3)
    assert loaded.input_spec.vocabulary_size == 5
    assert np.isfinite(loaded.metrics["dev"]["uar"])
