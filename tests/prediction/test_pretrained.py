"""Models on hidden states of a tiny encoder: trained, exported, and used where it is or is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import serplatform as sp
from serplatform.artifacts.files import file_sha256, read_json, write_json
from serplatform.encoders import open as open_module
from serplatform.encoders.base import Encoder
from serplatform.errors import ArtifactError, BadInputError
from serplatform.prediction.export import export
from serplatform.prediction.open import contents_digest, open_system
from serplatform.prediction.predict import predict
from serplatform.prediction.predictor import Predictor
from serplatform.prediction.recordings import find_recordings
from serplatform.prediction.rows import PredictedRow, PredictionTally
from serplatform.report.build import build_report
from tests.support.audio_run import AudioRun, make_audio_run

pytest.importorskip("transformers")
from tests.support.tiny_encoders import edit_json, tiny_whisper

_SMALL = {
    "training.max_epochs": 1,
    "model.hidden_dim": 4,
    "model.num_layers": 1,
    "data.feature": "pretrained:tiny@1+pretrained:tiny@2",
}
NAME = "tiny"


@pytest.fixture(scope="module")
def whisper_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[AudioRun, Path]:
    """A run on two layers joined, and its encoder, which is kept out of every test's sight."""
    folder = tmp_path_factory.mktemp("whisper_run")
    encoder = tiny_whisper(folder / "encoders" / NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        run = make_audio_run(
            folder,
            trials=[("blstmatt", _SMALL)],
            features=("log_mel_23", f"pretrained:{encoder}@1,2"),
        )
    return run, encoder.rename(folder / "kept")


@pytest.fixture(autouse=True)
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has seen no encoder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv(open_module.FOLDERS_VARIABLE, raising=False)
    monkeypatch.setattr(open_module, "_bundled", [])


@pytest.fixture
def folder(whisper_run: tuple[AudioRun, Path], tmp_path: Path) -> Path:
    """A folder that holds the encoder."""
    shutil.copytree(whisper_run[1], tmp_path / "encoders" / NAME)
    return tmp_path / "encoders"


def rows_of(path: Path, audio: Path) -> list[PredictedRow]:
    sources = find_recordings([str(audio / "s0")])[0]
    return list(predict(Predictor(open_system(path)), sources, PredictionTally()))


def posteriors(rows: list[PredictedRow]) -> np.ndarray:
    assert len(rows) == 6
    return np.array([row.posteriors for row in rows])


def test_the_encoder_is_found_by_its_hash_and_runs_once_a_clip(
    whisper_run, folder, monkeypatch, tmp_path
):
    run, _ = whisper_run
    monkeypatch.setenv(open_module.FOLDERS_VARIABLE, f"{tmp_path / 'none'}{os.pathsep}{folder}")
    calls = []
    encode = Encoder.hidden_states

    def counted(self, samples, layers):
        calls.append(list(layers))
        return encode(self, samples, layers)

    monkeypatch.setattr(Encoder, "hidden_states", counted)
    predictor = Predictor(open_system(run.run))
    assert calls == [[1, 2]]  # loads the weights
    calls.clear()
    sources = find_recordings([str(run.audio / "s0")])[0]
    assert posteriors(list(predict(predictor, sources, PredictionTally()))).shape == (6, 3)
    assert calls == [[1, 2]] * 6
    sha256 = file_sha256(folder / NAME / "model.safetensors")
    assert predictor.encoders == [f"{NAME} (SHA-256 {sha256[:12]}…), layer 1, 2"]


def test_without_the_encoder_one_sentence_says_what_to_do(whisper_run, tmp_path):
    run, encoder = whisper_run
    content = export(run.run, tmp_path / "bundle")
    sha256 = file_sha256(encoder / "model.safetensors")
    assert content["encoders"][0]["directory"] is None
    assert not (tmp_path / "bundle/encoders").exists()
    with pytest.raises(BadInputError) as caught:
        Predictor(open_system(tmp_path / "bundle"))
    for expected in (NAME, sha256[:12], "SERPLATFORM_ENCODERS", "--with-encoder"):
        assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    card = (tmp_path / "bundle/README.md").read_text()
    assert sha256 in card
    assert "**Not in this bundle: tiny.**" in card
    assert "what this encoder was trained on is not known here" in card
    assert "Nothing else is needed" not in card


def test_a_bundle_with_its_encoder_needs_nothing_else(whisper_run, folder, monkeypatch, tmp_path):
    run, _ = whisper_run
    monkeypatch.setenv(open_module.FOLDERS_VARIABLE, str(folder))
    expected = posteriors(rows_of(run.run, run.audio))
    content = export(run.run, tmp_path / "bundle", with_encoder=True, encoder_licence="MIT")
    packed = content["encoders"][0]
    assert packed["directory"] == f"encoders/{NAME}"
    assert packed["licence"] == "MIT"
    assert str(tmp_path) not in json.dumps(content)
    listed = {name for name in content["files"] if name.startswith("encoders/")}
    assert listed == {
        f"encoders/{NAME}/{name}"
        for name in (
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "preprocessor_config.json",
        )
    }
    shutil.rmtree(folder)
    moved = (tmp_path / "bundle").rename(tmp_path / "moved")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "serplatform", "predict", moved, run.audio / "s0", "--json"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Pretrained encoder tiny" in done.stderr
    found = [list(row["posteriors"].values()) for row in json.loads(done.stdout)["predictions"]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_python_exports_and_predicts_with_an_encoder(whisper_run, folder, monkeypatch, tmp_path):
    run, _ = whisper_run
    monkeypatch.setenv(open_module.FOLDERS_VARIABLE, str(folder))
    sp.load(run.run).export(tmp_path / "bundle", with_encoder=True, encoder_licence="MIT")
    expected = sp.load(run.run).predict(run.audio / "s0", quiet=True)
    monkeypatch.delenv(open_module.FOLDERS_VARIABLE)
    shutil.rmtree(folder)
    found = sp.load(tmp_path / "bundle").predict(run.audio / "s0", quiet=True)
    assert len(found) == 6
    np.testing.assert_allclose(found["p_angry"], expected["p_angry"], atol=1e-6)


def test_a_clip_that_the_encoder_fails_on_is_left_out_and_the_others_go_on(
    whisper_run, folder, monkeypatch
):
    run, _ = whisper_run
    monkeypatch.setenv(open_module.FOLDERS_VARIABLE, str(folder))
    predictor, encode = Predictor(open_system(run.run)), Encoder.hidden_states

    def failing(self, samples, layers):
        if len(samples) == 6_400:  # 0.4 s: one of the recordings
            raise BadInputError("layer 1 gives values that are not finite")
        return encode(self, samples, layers)

    monkeypatch.setattr(Encoder, "hidden_states", failing)
    tally = PredictionTally()
    sources = find_recordings([str(run.audio / "s0")])[0]
    rows = list(predict(predictor, sources, tally))
    assert len(rows) == 5
    assert [(Path(r.name).name, r.reason) for r in tally.refused] == [
        ("u2.wav", "layer 1 gives values that are not finite")
    ]


def test_damaged_weights_are_told_before_any_recording(whisper_run, folder, monkeypatch):
    run, _ = whisper_run
    monkeypatch.setenv(open_module.FOLDERS_VARIABLE, str(folder))
    weights = folder / NAME / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(BadInputError, match=r"model\.safetensors"):
        Predictor(open_system(run.run))


def test_other_weights_under_the_same_name_are_named(whisper_run, tmp_path, monkeypatch):
    run, _ = whisper_run
    tiny_whisper(tmp_path / "other" / NAME, seed=1)
    monkeypatch.setenv(open_module.FOLDERS_VARIABLE, str(tmp_path / "other"))
    with pytest.raises(BadInputError, match=r"other/tiny has other weights"):
        Predictor(open_system(run.run))


def test_the_right_weights_with_other_settings_are_refused(whisper_run, folder, monkeypatch):
    run, _ = whisper_run
    monkeypatch.setenv(open_module.FOLDERS_VARIABLE, str(folder))
    edit_json(folder / NAME / "config.json", activation_function="relu")
    with pytest.raises(BadInputError, match=r"other settings than .*architecture"):
        Predictor(open_system(run.run))


@pytest.fixture
def packed(whisper_run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with its encoder, which lies nowhere else any more."""
    monkeypatch.setenv(open_module.FOLDERS_VARIABLE, str(folder))
    export(whisper_run[0].run, tmp_path / "bundle", with_encoder=True, encoder_licence="MIT")
    monkeypatch.delenv(open_module.FOLDERS_VARIABLE)
    shutil.rmtree(folder)
    return tmp_path / "bundle"


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)


def test_altered_weights_in_a_bundle_are_named(packed):
    weights = packed / "encoders" / NAME / "model.safetensors"
    flip(weights)
    with pytest.raises(ArtifactError, match=r"encoders/tiny/model\.safetensors: is truncated or"):
        open_system(packed)


def test_weights_altered_with_their_checksums_are_still_not_the_ones_trained_on(packed):
    weights = packed / "encoders" / NAME / "model.safetensors"
    flip(weights)
    content = read_json(packed / "bundle.json")
    content["files"][f"encoders/{NAME}/model.safetensors"] = file_sha256(weights)
    content["encoders"][0]["sha256"] = file_sha256(weights)
    write_json(packed / "bundle.json", {**content, "sha256": contents_digest(content)})
    with pytest.raises(BadInputError, match="has other weights"):
        Predictor(open_system(packed))


def test_an_encoder_that_leads_out_of_the_bundle_is_refused(packed):
    content = read_json(packed / "bundle.json")
    content["encoders"][0]["directory"] = "../../elsewhere"
    write_json(packed / "bundle.json", {**content, "sha256": contents_digest(content)})
    with pytest.raises(ArtifactError, match=r"no files are listed for \.\./\.\./elsewhere"):
        open_system(packed)


def test_without_a_licence_nothing_is_passed_on(whisper_run, folder, monkeypatch, tmp_path):
    run, _ = whisper_run
    monkeypatch.setenv(open_module.FOLDERS_VARIABLE, str(folder))
    with pytest.raises(BadInputError, match=r"no licence is known for tiny .*--encoder-licence"):
        export(run.run, tmp_path / "b", with_encoder=True)
    assert not (tmp_path / "b").exists()
    (folder / NAME / "README.md").write_text("---\nlicense: other\n---\n")
    with pytest.raises(BadInputError, match="no licence is known"):
        export(run.run, tmp_path / "b", with_encoder=True)
    (folder / NAME / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n")
    content = export(run.run, tmp_path / "b", with_encoder=True)
    assert content["encoders"][0]["licence"] == "cc-by-nc-sa-4.0"
    assert f"encoders/{NAME}/README.md" in content["files"]
    card = (tmp_path / "b/README.md").read_text()
    assert "**tiny must not be used commercially** (cc-by-nc-sa-4.0)" in card
    assert "must be shared under its licence" in card
    (folder / NAME / "README.md").unlink()
    (folder / NAME / "LICENSE").write_text("Do what you like.\n")
    content = export(run.run, tmp_path / "c", with_encoder=True)
    assert content["encoders"][0]["licence"] == "as stated in its file LICENSE"
    assert f"encoders/{NAME}/LICENSE" in content["files"]


def test_with_encoder_needs_one_to_pack(audio_run, tmp_path):
    with pytest.raises(BadInputError, match=r"--with-encoder: no model of .* reads a pretrained"):
        export(audio_run.run, tmp_path / "b", with_encoder=True)


def test_an_encoder_that_is_not_here_cannot_be_packed(whisper_run, tmp_path):
    with pytest.raises(BadInputError, match="is not on this machine"):
        export(whisper_run[0].run, tmp_path / "b", with_encoder=True, encoder_licence="MIT")
    assert not (tmp_path / "b").exists()


def test_the_page_says_what_is_known_of_the_training_data(whisper_run, tmp_path):
    run, encoder = whisper_run
    copy = Path(shutil.copytree(run.run, tmp_path / "run"))
    page = build_report(copy, tmp_path / "page.html").read_text()
    assert "Training data of a pretrained encoder" in page
    assert f"tiny (SHA-256 {file_sha256(encoder / 'model.safetensors')[:12]}…)" in page
    assert "it is not known whether the test rows were in its training data" in page
    shutil.rmtree(copy / "models")  # its name is still known
    page = build_report(copy, tmp_path / "page.html").read_text()
    assert "tiny: what this encoder was trained on is not known here" in page
