"""Graphs say what models say; what has none is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from serplatform.artifacts.files import read_json
from serplatform.cli.main import run
from serplatform.datasets.dataset import Dataset
from serplatform.ensembles.build import build_ensemble
from serplatform.errors import BadInputError
from serplatform.inputs.normalization import Normalization
from serplatform.models.base import ARCHITECTURES, SerModel
from serplatform.prediction.export import export
from serplatform.prediction.onnx import compare as compare_module
from serplatform.prediction.onnx import export as module
from serplatform.prediction.onnx.combiner import CombinerGraph
from serplatform.prediction.onnx.compare import compare
from serplatform.prediction.onnx.export import describe_model, export_onnx, utterances
from serplatform.prediction.onnx.graph import (
    REFUSED,
    TOLERANCE,
    GraphSession,
    ModelGraph,
    export_graph,
    input_names,
)
from serplatform.prediction.open import open_system
from serplatform.prediction.predictor import average
from serplatform.testing.batches import input_spec, random_batch
from serplatform.testing.contracts import small_model
from serplatform.training.bundle import load_model
from tests.support.audio_run import AudioRun, make_audio_run

pytest.importorskip("onnxscript")

#: of those that are here since long, swept once a day; a new one is swept at once
DAILY = [
    "attn_fusion",
    "attn_pool",
    "blstmatt",
    "can",
    "cnn_blstm_asp",
    "cnn_lstm",
    "functionals_mlp",
    "lda",
    "logistic",
    "lstm_attn_audio",
    "lstm_attn_text",
    "mha",
    "moma",
    "svm",
    "utt_concat",
]
KINDS = ("train", "utterance", "speaker", "speaker_shrunk", "none")
EXPORTED = sorted(set(ARCHITECTURES.names()) - set(REFUSED))


def swept(names: list[str]) -> list[object]:
    return [pytest.param(n, marks=pytest.mark.slow if n in DAILY else ()) for n in names]


def without_normalization(model: SerModel, dim: int) -> ModelGraph:
    zeros = np.zeros(dim)
    return ModelGraph(model, Normalization("none", zeros, zeros + 1, zeros + 1))


@pytest.mark.parametrize("name", swept(EXPORTED))
def test_every_architecture_is_exported_equal(name: str) -> None:
    spec = input_spec(ARCHITECTURES.get(name))
    model = small_model(name).eval()
    batch = random_batch([37, 21, 30], spec, seed=1)
    names = input_names("none", words=batch.word_ids is not None, vectors=False)
    graph = without_normalization(model, spec.feature_dim)
    session = GraphSession(export_graph(graph, {n: getattr(batch, n) for n in names}))
    assert "lengths" in session.inputs
    for lengths in ([37, 21, 30], [5], [1], [200, 3, 1, 90]):
        batch = random_batch(lengths, spec, seed=len(lengths))
        with torch.inference_mode():
            expected = model(batch).log_posteriors.exp().numpy()
        found = session({n: getattr(batch, n) for n in names})
        np.testing.assert_allclose(found, expected, atol=TOLERANCE, err_msg=str(lengths))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refusal_names_an_architecture_and_its_reason(name: str) -> None:
    assert name in ARCHITECTURES.names()
    assert len(REFUSED[name].split()) > 8


@pytest.fixture(scope="module")
def lda_run(tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    """A trial of each normalization, fitted in closed form."""
    trials = [("lda", {"data.normalization": kind}) for kind in KINDS]
    return make_audio_run(tmp_path_factory.mktemp("onnx_run"), trials=trials)


@pytest.mark.parametrize(
    "trial",
    [
        pytest.param(
            trial,
            id=kind,
            marks=() if kind in ("utterance", "speaker_shrunk") else pytest.mark.slow,
        )
        for trial, kind in enumerate(KINDS)
    ],
)
def test_a_graph_normalizes_as_its_model_does(lda_run: AudioRun, trial: int) -> None:
    loaded = load_model(open_system(lda_run.run, trial).folds[0].members[0].directory)
    compared = compare(loaded, *utterances(Dataset.open(lda_run.dataset)), "lda")
    assert compared.difference <= 1e-6
    assert describe_model("lda", loaded, compared)["inputs"].keys() == set(compared.inputs)
    assert ("speaker_mean" in compared.inputs) == (trial in (2, 3))


@pytest.mark.parametrize("combiner", ["mean", "product", "stacking", "greedy", "auto", "single"])
def test_the_combiner_is_that_of_the_system(
    lda_run: AudioRun, combiner: str, tmp_path: Path
) -> None:
    temperature = combiner == "product"
    build_ensemble([lda_run.run], tmp_path / "e", combiner=combiner, temperature=temperature)
    system = open_system(tmp_path / "e")
    places = sorted({member.directory for fold in system.folds for member in fold.members})
    drawn = np.random.default_rng(0).dirichlet([0.5, 0.5, 0.5], (len(places), 20))
    drawn[0, 0] = [1.0, 0.0, 0.0]
    solo = dict(zip(places, drawn, strict=True))
    expected = average(
        np.stack(
            [
                f.combine(f.combiner(3), [solo[m.directory] for m in f.members], (20, 3))
                for f in system.folds
            ]
        )
    )
    found = CombinerGraph(system, places)(torch.from_numpy(drawn))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_the_command_exports_an_ensemble(lda_run: AudioRun, tmp_path: Path, capsys) -> None:
    build_ensemble([lda_run.run], tmp_path / "e", combiner="single")
    out = tmp_path / "graphs"
    assert run(["export", str(tmp_path / "e"), "--onnx", "--out", str(out)]) == 0
    assert "graphs and their combiner" in capsys.readouterr().out
    found = read_json(out / "onnx.json")
    files = {str(path.relative_to(out)) for path in out.rglob("*.onnx")}
    assert files == {"combiner.onnx", *(model["file"] for model in found["models"])}
    assert len(found["models"]) == open_system(tmp_path / "e").num_models
    assert str(lda_run.run.parent).encode() not in (out / found["models"][0]["file"]).read_bytes()
    assert b"site-packages" not in (out / found["models"][0]["file"]).read_bytes()
    assert all(0 <= model["largest_difference"] <= TOLERANCE for model in found["models"])
    assert str(lda_run.run.parent) not in json.dumps(found)  # no path of this machine


def test_a_bundle_needs_its_dataset(lda_run: AudioRun, tmp_path: Path) -> None:
    export(lda_run.run, tmp_path / "bundle", trial=0)
    with pytest.raises(BadInputError, match="is a bundle, which knows no dataset"):
        export_onnx(tmp_path / "bundle", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_differs_or_has_no_graph_is_refused(lda_run: AudioRun, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(compare_module, "TOLERANCE", -1.0)
    with pytest.raises(BadInputError, match=r"lda: the posteriors of its graph differ by up to"):
        export_onnx(lda_run.run, tmp_path / "out", trial=0)
    monkeypatch.setattr(module, "REFUSED", {"lda": "planted for this test"})
    with pytest.raises(BadInputError, match=r"(?s)cannot be written as ONNX.*lda: planted"):
        export_onnx(lda_run.run, tmp_path / "out", trial=0)
    assert not (tmp_path / "out").exists()
    assert run(["export", str(lda_run.run), "--onnx", "--refit", "--out", "x"]) == 2
    assert run(["export", str(lda_run.run)]) == 2
