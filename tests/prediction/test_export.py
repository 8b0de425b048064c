"""Bundles predict the same where nothing else is left, and notice every change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from serplatform.artifacts.files import file_sha256, read_json, write_parquet
from serplatform.ensembles.build import build_ensemble
from serplatform.errors import ArtifactError, BadInputError
from serplatform.prediction import export as export_module
from serplatform.prediction.export import export
from serplatform.prediction.model_card import model_card
from serplatform.prediction.open import contents_digest, open_system
from serplatform.prediction.predict import predict
from serplatform.prediction.predictor import Predictor
from serplatform.prediction.recordings import find_recordings
from serplatform.prediction.rows import PredictedRow, PredictionTally
from serplatform.run_directory import RunDirectory


def rows_of(path: Path, audio: Path) -> list[PredictedRow]:
    return list(
        predict(Predictor(open_system(path)), find_recordings([str(audio)])[0], PredictionTally())
    )


def same(ours: list[PredictedRow], theirs: list[PredictedRow]) -> None:
    assert [r.file for r in ours] == [r.file for r in theirs]
    assert len(ours) > 1
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.posteriors, other.posteriors, atol=1e-6)


@pytest.fixture
def bundle(ensembles: dict[str, Path], tmp_path: Path) -> Path:
    export(ensembles["product"], tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.parametrize("combiner", ["mean", "product", "stacking", "greedy"])
def test_a_bundle_of_an_ensemble_predicts_the_same(audio_run, ensembles, combiner, tmp_path):
    export(ensembles[combiner], tmp_path / "b")
    same(rows_of(tmp_path / "b", audio_run.audio), rows_of(ensembles[combiner], audio_run.audio))


def test_an_ensemble_without_members_is_exported_and_answers_evenly(audio_run, tmp_path):
    run = Path(shutil.copytree(audio_run.run, tmp_path / "run"))
    directory = RunDirectory(run)
    for number, record in directory.records().items():
        table = directory.read_posteriors(number)
        rows = table.to_pylist()
        for row in rows:  # certain of another class
            wrong = {"angry": "neutral", "neutral": "sad", "sad": "angry"}[row["truth"]]
            row |= {f"p_{name}": float(name == wrong) for name in ("angry", "neutral", "sad")}
        write_parquet(
            directory.posteriors_file(number), pa.Table.from_pylist(rows, schema=table.schema)
        )
        digest = file_sha256(directory.posteriors_file(number))
        directory.write_record({**record, "posteriors_sha256": digest})
    build_ensemble([run], tmp_path / "ens")
    export(tmp_path / "ens", tmp_path / "bundle")
    for path in (tmp_path / "ens", tmp_path / "bundle"):
        assert "no better than chance" in open_system(path).describe()
        for row in rows_of(path, audio_run.audio):
            np.testing.assert_allclose(row.posteriors, 1 / 3)
    assert "Not shown to be better than chance" in (tmp_path / "bundle" / "README.md").read_text()


def test_a_bundle_needs_neither_dataset_nor_run(audio_run, tmp_path):
    everything = shutil.copytree(audio_run.run.parent, tmp_path / "copy")
    before = rows_of(everything / "run", audio_run.audio)
    export(everything / "run", tmp_path / "bundle")
    shutil.rmtree(everything)
    moved = (tmp_path / "bundle").rename(tmp_path / "moved")
    same(rows_of(moved, audio_run.audio), before)


def test_a_bundle_holds_only_its_models(bundle, tmp_path):
    content = read_json(bundle / "bundle.json")
    files = {str(p.relative_to(bundle)) for p in bundle.rglob("*") if p.is_file()}
    assert files == {*content["files"], "bundle.json", "README.md"}
    assert all(name.endswith((".safetensors", "config.json")) for name in content["files"])
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]  # nothing half-written is left
    assert str(tmp_path.parent) not in json.dumps(content)  # no path of this machine


def test_another_trial_can_be_exported(audio_run, tmp_path):
    content = export(audio_run.run, tmp_path / "b", trial=1)
    assert content["title"] == "blstmatt, trial 1"
    assert open_system(tmp_path / "b").folds[0].members[0].name == "trial-00001"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_every_altered_file_is_named(bundle, name):
    changed = sorted(bundle.rglob(name))[:2]
    for file in changed:
        content = bytearray(file.read_bytes())
        content[-2] ^= 1
        file.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        open_system(bundle)
    for file in changed:
        assert f"{file.relative_to(bundle)}: is truncated or altered" in str(caught.value)


def test_truncated_and_missing_files_are_named(bundle):
    first, second = sorted(bundle.rglob("model.safetensors"))[:2]
    first.write_bytes(first.read_bytes()[:100])
    second.unlink()
    with pytest.raises(ArtifactError, match=r"truncated or altered(.|\n)*is missing"):
        open_system(bundle)


def test_an_edited_description_is_noticed(bundle):
    file = bundle / "bundle.json"
    content = read_json(file)
    content["classes"].reverse()
    file.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"bundle\.json: its contents were altered"):
        open_system(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema version 99"),
        ({"kind": "pickle"}, "kind is 'pickle': it should be 'run' or 'ensemble'"),
        ({"folds": None}, "folds is null where a list belongs"),
        ({"files": {"../../x": "0"}}, r"leads out of the bundle"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(bundle, change, message):
    file = bundle / "bundle.json"
    content = {**read_json(file), **change}
    content["sha256"] = contents_digest(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=message):
        open_system(bundle)


def test_a_directory_in_use_is_refused(audio_run, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine.txt").write_text("mine")
    with pytest.raises(BadInputError, match="is not empty"):
        export(audio_run.run, tmp_path / "b")
    with pytest.raises(BadInputError, match="is a file"):
        export(audio_run.run, tmp_path / "b/mine.txt")
    assert (tmp_path / "b/mine.txt").read_text() == "mine"
    (tmp_path / "b/mine.txt").unlink()
    export(audio_run.run, tmp_path / "b")  # empty: taken


def test_a_bundle_is_not_exported_again(bundle, tmp_path):
    with pytest.raises(BadInputError, match="is a bundle already"):
        export(bundle, tmp_path / "again")


def test_a_failed_export_leaves_nothing(audio_run, tmp_path, monkeypatch):
    def fail(content):
        raise RuntimeError("power cut")

    monkeypatch.setattr(export_module, "model_card", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        export(audio_run.run, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_model_is_not_exported(audio_run, tmp_path):
    run = shutil.copytree(audio_run.run, tmp_path / "run")
    file = run / "models/trial-00001/fold-0/model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match=r"fold-0/model\.safetensors.*truncated or altered"):
        export(run, tmp_path / "b", trial=1)
    assert not (tmp_path / "b").exists()


def test_the_card_tells_data_protocol_metrics_and_limits(bundle):
    content = read_json(bundle / "bundle.json")
    card = (bundle / "README.md").read_text()
    uar = content["description"]["metrics"]["uar"]
    assert (
        f"| {100 * uar['value']:.1f} % | {100 * uar['low']:.1f} to {100 * uar['high']:.1f} % | "
        f"{100 * uar['mean']:.1f} ± {100 * uar['sd']:.1f} % |"
    ) in card
    for expected in (
        "# product ensemble of",
        "| utterances | 24 |",
        "speaker-kfold:2, 2 folds; no speaker is in two parts",
        content["description"]["protocol"]["folds_hash"],
        "This mean could not be measured",
        "## Limits",
    ):
        assert expected in card
    assert "Synthetic data" not in card


def test_metrics_of_a_run_are_those_of_its_test_rows(audio_run, tmp_path):
    from serplatform.artifacts.files import read_parquet
    from serplatform.metrics import classification_metrics

    content = export(audio_run.run, tmp_path / "b", trial=0)
    rows = read_parquet(audio_run.run / "posteriors/trial-00000.parquet").to_pylist()
    rows = [row for row in rows if row["part"] == "test"]
    classes = content["classes"]
    expected = classification_metrics(
        np.array([classes.index(row["truth"]) for row in rows]),
        np.array([[row[f"p_{name}"] for name in classes] for row in rows]),
    )
    for name, value in expected.items():
        assert content["description"]["metrics"][name]["value"] == pytest.approx(value, abs=1e-12)


def test_the_card_of_a_trial_says_what_chose_it_and_why_the_ece_has_no_interval(
    audio_run, tmp_path
):
    content = export(audio_run.run, tmp_path / "b", trial=0)
    card = (tmp_path / "b" / "README.md").read_text()
    assert "the mean over folds includes dev rows that are test rows of other folds" in card
    assert "Nothing was chosen on test rows" not in card
    ece = content["description"]["metrics"]["ece"]
    assert f"| {ece['value']:.3f} | none |" in card
    assert "one speaker" not in card


def test_synthetic_speech_and_shared_speakers_are_said_loudly(bundle):
    content = read_json(bundle / "bundle.json")
    content["synthetic"] = True
    content["description"]["protocol"]["speaker_independent"] = False
    card = model_card(content)
    assert "> **Synthetic data.**" in card
    assert "must not be used on their speech" in card
    assert "**speakers are shared between parts**" in card


def test_names_in_the_card_mean_nothing_to_markdown(bundle):
    content = read_json(bundle / "bundle.json")
    content["description"]["data"]["title"] = "x | y\n# <script>alert(1)</script> [a](b)"
    card = model_card(content)
    assert r"| corpus | x \| y \# \<script\>alert(1)\</script\> \[a\](b) |" in card
