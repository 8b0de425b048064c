"""Contextual word vectors from a table with texts to trained models and to new audio."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from serplatform.artifacts.files import read_json, read_parquet
from serplatform.corpora.audio import read_audio
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.encoders.text import TextEncoder, open_text_encoder
from serplatform.errors import BadInputError
from serplatform.features.base import FEATURES
from serplatform.inputs.config import DataConfig
from serplatform.prediction.open import open_system
from serplatform.prediction.predictor import Predictor
from serplatform.protocols.plan import make_plan
from tests.prediction.test_predictor import fold_posteriors, stored_tests
from tests.support.audio_run import AudioRun, make_audio_run
from tests.support.tiny_text import tiny_bert, tiny_roberta

pytest.importorskip("transformers", reason="the extra 'pretrained' is not installed")

_QUICK = {"training.max_epochs": 1, "training.batch_size": 16}
_VECTORS = {"data.word_vectors": "pretrained-text:bert@2"}
TRIALS = (
    ("lstm_attn_text", {**_QUICK, **_VECTORS, "model.embedding_dim": 16}),
    ("can", {**_QUICK, **_VECTORS, "model.embedding_dim": 6, "model.hidden_dim": 8}),
    (
        "fgcme",
        {
            **_QUICK,
            "data.word_vectors": "pretrained-text:roberta@1",
            "model.embedding_dim": 6,
            "model.hidden_dim": 8,
            "model.text_dim": 8,
        },
    ),
)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    tiny_bert(folder / "bert")
    tiny_roberta(folder / "roberta")
    return folder


@pytest.fixture(scope="module")
def run(encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    names = [f"pretrained-text:{encoders}/bert@2", f"pretrained-text:{encoders}/roberta@1"]
    return make_audio_run(
        tmp_path_factory.mktemp("run"), trials=TRIALS, features=("log_mel_23", *names)
    )


def test_a_dataset_holds_a_vector_for_each_word_in_half_precision(run, encoders):
    dataset = Dataset.open(run.dataset)
    texts = read_parquet(run.dataset / "utterances.parquet")["text"].to_pylist()
    encoder = TextEncoder(encoders / "bert", "bert")
    for row, text in enumerate(texts):
        expected = encoder.word_vectors(text.split(), 2).astype(np.float16)
        np.testing.assert_array_equal(dataset.frames("pretrained-text:bert@2", row), expected)
    spec = dataset.meta["features"]["pretrained-text:bert@2"]["spec"]
    assert spec["encoder"]["sha256"] == encoder.sha256
    assert str(encoders) not in str(spec)
    assert dataset.check() == []


def test_vector_i_of_a_batch_is_of_word_i_however_words_are_cut(run, encoders):
    dataset = Dataset.open(run.dataset)
    plan = make_plan(dataset.utterances, "speaker-kfold:2", 0)
    encoder = TextEncoder(encoders / "bert", "bert")
    texts = dataset.utterances.column("text").to_pylist()
    for more in ({}, {"word_segmentation": "equal", "trim": True}, {"word_silence": "divide"}):
        name = f"pretrained-text:{encoders}/bert@2"  # as given to prepare
        data = FoldData(
            dataset, plan, 0, DataConfig(words=True, word_vectors=name, word_min_count=2, **more)
        )
        rows = data.rows("train")
        batch = data.collate(rows)
        assert batch.word_vectors.shape == (*batch.word_ids.shape, 16)
        for vectors, count, row in zip(batch.word_vectors, batch.num_words, rows, strict=True):
            expected = encoder.word_vectors(texts[row].split(), 2)
            assert len(expected) == count
            np.testing.assert_allclose(vectors[:count], expected, atol=2e-3)
            assert not vectors[count:].any()


@pytest.mark.parametrize("trial", range(len(TRIALS)))
def test_a_run_gives_the_posteriors_it_stored_and_reads_the_vectors(run, trial):
    predictor = Predictor(open_system(run.run, trial))
    table = run.run / "posteriors" / f"trial-{trial:05d}.parquet"
    stored = stored_tests(table, predictor.classes)
    found = fold_posteriors(predictor, run.dataset, run.audio)
    for fold, rows in stored.items():
        for name, posteriors in rows.items():
            np.testing.assert_allclose(found[name][fold], posteriors, atol=1e-5)
    samples = read_audio(run.audio / "s0/u1.wav").samples
    spoken, other, silent = (
        predictor.posteriors([predictor.read(samples, text=text)])
        for text in ("dogs are sitting", "sitting are dogs", None)
    )
    assert np.abs(spoken - other).max() > 1e-7
    assert np.isfinite(silent).all()


def test_a_projection_is_trained_only_where_sizes_differ(run):
    models = [Predictor(open_system(run.run, n))._models for n in (0, 1)]
    same, differ = (next(iter(m.values())).model.embedding.projection for m in models)
    assert isinstance(same, torch.nn.Identity)
    assert (differ.in_features, differ.out_features) == (16, 6)


def test_an_encoder_is_found_by_its_weights_or_named_as_missing(
    run, encoders, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    moved = tmp_path / "moved"
    shutil.move(encoders / "bert", moved / "other-name")
    try:
        with pytest.raises(BadInputError, match=r"the encoder bert with weights \w+… is not on"):
            Predictor(open_system(run.run, 0))
        monkeypatch.setenv("SERPLATFORM_ENCODERS", str(moved))
        assert Predictor(open_system(run.run, 0)).vocabularies
    finally:
        shutil.move(moved / "other-name", encoders / "bert")


def test_the_model_says_which_encoder_it_needs(run):
    config = next((run.run / "models").rglob("trial-00000/**/config.json"))
    words = read_json(config)["preprocessing"]["words"]
    assert words["contextual"] == "pretrained-text:bert@2"
    assert words["contextual_spec"]["encoder"]["name"] == "bert"


def test_word_vectors_are_no_feature_of_audio_and_must_be_in_the_dataset(run, encoders):
    assert (
        "name it in data.word_vectors" in DataConfig(feature="pretrained-text:bert@2").errors()[0]
    )
    dataset = Dataset.open(run.dataset)
    plan = make_plan(dataset.utterances, "speaker-kfold:2", 0)
    config = DataConfig(words=True, word_vectors="pretrained-text:bert@1")
    with pytest.raises(BadInputError, match="pretrained-text:bert@1"):
        FoldData(dataset, plan, 0, config)
    with pytest.raises(BadInputError, match="there is no layer 9; bert has layers 0 to 2"):
        FEATURES.make(FEATURES.expand(f"pretrained-text:{encoders}/bert@9")[0])
    with pytest.raises(BadInputError, match="of one layer and not pooled"):
        FEATURES.make(FEATURES.expand(f"pretrained-text:{encoders}/bert@1:pooled")[0])
    assert open_text_encoder(str(encoders / "bert")).num_layers == 2
