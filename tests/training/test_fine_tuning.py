"""An encoder fine-tuned through adapters: trained, saved, resumed, used, and refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from serplatform.api.open_run import open_or_create
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.distributed.tune.placement import SearchLimits
from serplatform.encoders.open import open_encoder
from serplatform.encoders.pinned import pinned
from serplatform.errors import BadInputError
from serplatform.models.base import ARCHITECTURES
from serplatform.prediction.export import export
from serplatform.prediction.open import open_system
from serplatform.prediction.predict import predict
from serplatform.prediction.predictor import Predictor
from serplatform.prediction.recordings import find_recordings
from serplatform.prediction.rows import PredictionTally
from serplatform.protocols.plan import make_plan, read_plan
from serplatform.run_directory import RunDirectory
from serplatform.studies.request import SearchRequest
from serplatform.studies.setup import check_encoders, create_run
from serplatform.training.bundle import load_model
from serplatform.training.loop import FoldTrainer
from serplatform.training.trial_config import resolve
from tests.support.audio_run import make_audio_run
from tests.support.tiny_encoders import tiny_wav2vec2, tiny_whisper

VALUES = {
    "model.rank": 2,
    "training.precision": "float32",
    "training.learning_rate": 0.01,
    "training.batch_size": 6,
    "training.max_epochs": 6,
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("encoders") / "tiny-whisper")


@pytest.fixture(scope="module")
def audio_run(tmp_path_factory, encoder):
    values = {**VALUES, "model.encoder": str(encoder), "data.feature": "waveform"}
    return make_audio_run(
        tmp_path_factory.mktemp("run"),
        trials=[("encoder_lora", values)],
        features=["waveform"],
        settings=["data.feature=waveform", f"model.encoder={encoder}"],
    )


@pytest.fixture
def make(audio_run, encoder):
    dataset = Dataset.open(audio_run.dataset)
    plan = make_plan(dataset.utterances, "speaker-kfold:2", 0)

    def trainer(device="cpu", **values):
        dotted = {name.replace("__", "."): value for name, value in values.items()}
        values = {**VALUES, "model.encoder": str(encoder), **dotted}
        config = resolve("encoder_lora", values, "test")
        return FoldTrainer(config, FoldData(dataset, plan, 0, config.data), seed=1, device=device)

    return trainer


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_loss_falls(make, precision):
    training = {"scheduler": "none", "learning_rate": 0.03, "max_epochs": 15, "patience": 15}
    given = {f"training__{name}": value for name, value in training.items()}
    trainer = make(training__precision=precision, **given)
    losses = [trainer.run_epoch().train_loss for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]


def test_a_model_is_its_adapters_and_head_and_gives_the_same_posteriors(make, encoder, tmp_path):
    trainer = make()
    for _ in range(3):
        trainer.run_epoch()
    trainer.save_model(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as opened:
        names = set(opened.keys())
    assert names == {name for name, _ in trainer.model.named_parameters()}
    assert (tmp_path / "model.safetensors").stat().st_size < encoder.stat().st_size + 20_000
    stored = (tmp_path / "config.json").read_text()
    assert json.loads(stored)["model"]["encoder"] == pinned(open_encoder(str(encoder)))
    assert str(encoder.parent) not in stored
    loaded = load_model(tmp_path)
    assert loaded.config == trainer.config
    data = trainer.data
    with torch.inference_mode():
        found = loaded.model(data.collate(data.rows("test"))).log_posteriors.exp()
    np.testing.assert_allclose(found.numpy(), trainer.posteriors("test"), atol=1e-6)


@pytest.mark.parametrize("averaged", [{}, {"training__ema_decay": 0.9, "training__swa_epochs": 2}])
def test_resumed_training_equals_uninterrupted(make, tmp_path, averaged):
    values = {"model__adapter_dropout": 0.3, "model__dropout": 0.3, **averaged}
    straight, first = make(**values), make(**values)
    expected = [straight.run_epoch() for _ in range(4)]
    reports = [first.run_epoch() for _ in range(2)]
    first.save_state(tmp_path / "state")
    stored = sum(file.stat().st_size for file in (tmp_path / "state").iterdir())
    assert stored < 20 * 4 * first.num_parameters + 50_000
    second = make(**values)
    second.load_state(tmp_path / "state")
    reports += [second.run_epoch() for _ in range(2)]
    timeless = [[dataclasses.replace(r, seconds=0.0) for r in part] for part in (reports, expected)]
    assert timeless[0] == timeless[1]
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_a_state_is_of_one_encoder(make, encoder, tmp_path):
    trainer = make()
    trainer.run_epoch()
    trainer.save_state(tmp_path / "state")
    other = tiny_whisper(tmp_path / encoder.name, seed=1)
    with pytest.raises(BadInputError, match="of another configuration"):
        make(model__encoder=str(other)).load_state(tmp_path / "state")


def test_new_audio_is_classified_as_the_stored_test_rows_are(audio_run, tmp_path):
    export(audio_run.run, tmp_path / "bundle")
    assert all(p.stat().st_size < 100_000 for p in (tmp_path / "bundle").rglob("*.safetensors"))
    rows = []
    for path in (audio_run.run, tmp_path / "bundle"):
        predictor = Predictor(open_system(path))
        files = find_recordings([str(audio_run.audio)])[0]
        rows.append(list(predict(predictor, files, PredictionTally())))
    assert len(rows[0]) == 24
    for one, other in zip(*rows, strict=True):
        np.testing.assert_allclose(one.posteriors, other.posteriors, atol=1e-6)
    run = RunDirectory(audio_run.run)
    stored = run.read_posteriors(0).to_pylist()
    found = load_model(run.model_directory(0, 0))
    dataset, plan = Dataset.open(audio_run.dataset), read_plan(run.folds_file)
    data = FoldData(dataset, plan, 0, found.config.data)
    with torch.inference_mode():
        again = found.model(data.collate(data.rows("test"))).log_posteriors.exp().numpy()
    expected = [
        [row[f"p_{name}"] for name in found.classes]
        for row in stored
        if row["fold"] == 0 and row["part"] == "test"
    ]
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_an_encoder_that_is_gone_is_said_in_one_sentence(make, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # which remembers places
    trainer = make(model__encoder=str(tiny_whisper(tmp_path / "b" / "mine", seed=7)))
    trainer.run_epoch()
    trainer.save_model(tmp_path / "model")
    (tmp_path / "b").rename(tmp_path / "c")
    with pytest.raises(
        BadInputError, match=r"the encoder mine with weights .* SERPLATFORM_ENCODERS"
    ):
        load_model(tmp_path / "model")
    monkeypatch.setenv("SERPLATFORM_ENCODERS", str(tmp_path / "c"))
    assert load_model(tmp_path / "model").config == trainer.config


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("large") / "large"
    return tiny_wav2vec2(folder, hidden_size=256, intermediate_size=1024)


MESSAGE = (
    r"^encoder_lora: fine-tuning 2 million parameters \(large\) needs a GPU, and this would train "
    r"on the CPU; .*--gpus-per-trial 1.*frozen features, pretrained:large@LAYER"
)


def test_a_large_encoder_is_refused_on_the_cpu_and_its_weights_are_not_read(
    make, large, monkeypatch
):
    monkeypatch.setattr("serplatform.encoders.checkpoint.Checkpoint.load", None)
    with pytest.raises(BadInputError, match=MESSAGE):
        make(model__encoder=str(large))


def request(data, *settings, **more):
    return SearchRequest(
        dataset=data, protocol="speaker-kfold:2", settings=settings, trials="2", **more
    )


def test_a_search_on_the_cpu_is_refused_before_it_begins(audio_run, large, tmp_path):
    asked = request(audio_run.dataset, f"encoder={large}", architectures=("encoder_lora",))
    run = create_run(tmp_path / "run", asked, ["test"])
    with pytest.raises(BadInputError, match=MESSAGE):
        check_encoders(run.spaces, "cpu")
    check_encoders(run.spaces, "cuda")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((), r"no encoder is named; .*--set model\.encoder=DIRECTORY"),
        (("encoder=/nowhere/w",), r"^/nowhere/w: no such directory"),
    ],
)
def test_a_search_without_its_encoder_is_refused_and_nothing_is_written(
    audio_run, tmp_path, settings, message
):
    asked = request(audio_run.dataset, *settings, architectures=("encoder_lora",))
    with pytest.raises(BadInputError, match=message):
        create_run(tmp_path / "run", asked, ["test"])
    assert not (tmp_path / "run").exists()


def test_all_leaves_it_out_in_one_line_unless_an_encoder_is_named(
    audio_run, encoder, tmp_path, capsys
):
    plain = [name for name in ARCHITECTURES.names() if name != "encoder_lora"]
    everywhere = tuple(f"{name}.data.feature=waveform" for name in plain)
    asked = request(audio_run.dataset, *everywhere, architectures=("all",), exact=True)
    run = open_or_create(asked, SearchLimits(), tmp_path / "without")[0]
    assert sorted(run.spaces) == plain
    told = capsys.readouterr().err
    line = "encoder_lora fine-tunes an encoder; name one with --set encoder_lora.model.encoder="
    assert told.count(line) == 1
    named = (*everywhere, f"encoder_lora.model.encoder={encoder}")
    asked = request(audio_run.dataset, *named, architectures=("all",), exact=True)
    run = open_or_create(asked, SearchLimits(), tmp_path / "with")[0]
    assert sorted(run.spaces) == sorted([*plain, "encoder_lora"])
    assert line not in capsys.readouterr().err
