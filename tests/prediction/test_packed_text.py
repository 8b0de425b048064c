"""Encoders of text and the Whisper that located words: packed with a model, used where it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from serplatform.artifacts.files import read_json
from serplatform.prediction.export import export
from serplatform.prediction.open import open_system
from serplatform.prediction.predict import predict
from serplatform.prediction.predictor import Predictor
from serplatform.prediction.recordings import find_recordings
from serplatform.prediction.rows import PredictionTally
from serplatform.report.encoders import used_encoders
from serplatform.report.load import load_run
from tests.support.audio_run import AudioRun, make_audio_run

pytest.importorskip("transformers")
from tests.support.speaking_whisper import speaking_whisper
from tests.support.tiny_text import tiny_bert

_TRIAL = (
    "lstm_attn_text",
    {
        "training.max_epochs": 1,
        "model.embedding_dim": 16,
        "data.word_vectors": "pretrained-text:bert@2",
    },
)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    tiny_bert(folder / "bert")
    speaking_whisper(folder / "speaker", "kids talk by the door", languages=False)
    return folder


@pytest.fixture(scope="module")
def run(encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    return make_audio_run(
        tmp_path_factory.mktemp("run"),
        trials=[_TRIAL],
        features=("log_mel_23", f"pretrained-text:{encoders}/bert@2"),
        align=f"whisper:{encoders}/speaker",
    )


def _predict(bundle: Path, run: AudioRun, home: Path) -> subprocess.CompletedProcess[str]:
    """In a process that knows nothing of this machine."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "serplatform", "predict", bundle, run.audio / "s0", "--json"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=home,
        timeout=240,
        check=False,
    )


def test_a_bundle_packs_what_reads_words_and_what_located_them(run, encoders, tmp_path):
    predictor, tally = Predictor(open_system(run.run)), PredictionTally()
    sources = find_recordings([str(run.audio / "s0")])[0]
    expected = [row.posteriors for row in predict(predictor, sources, tally)]
    bert, speaker = predictor.encoders
    assert bert.startswith("bert (SHA-256 ")
    assert bert.endswith(", layer 2")
    assert speaker.startswith("speaker (SHA-256 ")
    packed = tmp_path / "packed"
    content = export(run.run, packed, with_encoder=True, encoder_licence="MIT")
    assert {e["name"]: e["directory"] for e in content["encoders"]} == {
        "bert": "encoders/bert",
        "speaker": "encoders/speaker",
    }
    assert str(encoders) not in "".join(p.read_text() for p in packed.rglob("*.json"))
    export(run.run, tmp_path / "bare")
    assert "**Not in this bundle: " in (tmp_path / "bare/README.md").read_text()
    shutil.move(encoders, tmp_path / "away")
    try:
        done = _predict(packed, run, encoders.parent)
        refused = _predict(tmp_path / "bare", run, tmp_path)
    finally:
        shutil.move(tmp_path / "away", encoders)
    assert done.returncode == 0, done.stderr
    assert "which locates words" in done.stderr
    found = [list(row["posteriors"].values()) for row in json.loads(done.stdout)["predictions"]]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert refused.returncode == 2
    assert "the encoder bert with weights" in refused.stderr
    assert "--with-encoder" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_page_knows_encoders_of_text_also_where_the_model_is_gone(run, tmp_path):
    copy = shutil.copytree(run.run, tmp_path / "copy")
    trials = load_run(copy).trials
    assert {e["name"] for e in used_encoders(trials)} == {"bert", "speaker"}
    shutil.rmtree(copy / "models")
    assert used_encoders(trials) == [{"name": "bert"}]


def test_a_bundle_names_word_vectors_as_data_does(run, tmp_path):
    export(run.run, tmp_path / "bundle")
    config = read_json(next((tmp_path / "bundle/models").rglob("config.json")))
    assert config["data"]["word_vectors"] == "pretrained-text:bert@2"
