"""Members trained once on all rows: what they are fitted on, and what is said of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import serplatform as sp
from serplatform.artifacts.files import read_json
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData, stored_clips
from serplatform.ensembles.build import build_ensemble
from serplatform.errors import ArtifactError, BadInputError
from serplatform.prediction.export import export
from serplatform.prediction.open import open_system
from serplatform.prediction.predict import predict
from serplatform.prediction.predictor import Predictor
from serplatform.prediction.recordings import find_recordings
from serplatform.prediction.rows import PredictionTally
from serplatform.protocols.base import Fold
from serplatform.protocols.plan import read_plan
from serplatform.run_directory import RunDirectory
from serplatform.seeding import derive_seed
from serplatform.training.all_rows import AllRowsTrainer, Course, plan_of_all_rows
from serplatform.training.bundle import load_model, stored_config
from serplatform.training.loop import FoldTrainer
from tests.support.audio_run import AudioRun, make_audio_run

TRIALS = (
    ("lda", {"model.shrinkage": 0.3}),
    ("csa", {"training.max_epochs": 3, "model.channels": 4, "training.batch_size": 8}),
    ("functionals_mlp", {"training.max_epochs": 2, "model.hidden_dim": 4}),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    return make_audio_run(tmp_path_factory.mktemp("refit"), trials=TRIALS)


@pytest.fixture(scope="module")
def bundle(made: AudioRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    build_ensemble([made.run], folder / "ens", combiner="mean")
    export(folder / "ens", folder / "bundle", refit=True)
    return folder / "bundle"


def test_lda_is_scikit_learns_on_all_rows(made, bundle):
    (place,) = bundle.glob("models/*trial-00000/all-rows")
    loaded = load_model(place)
    dataset = Dataset.open(made.dataset)
    rows = np.arange(len(dataset))
    clips = loaded.pipeline.apply(stored_clips(dataset, [rows]))
    raw = loaded.pipeline.unnormalized(stored_clips(dataset, [rows]))
    pooled = np.concatenate([raw.frames(row, None) for row in rows]).astype(np.float64)
    moments = loaded.pipeline.normalization
    np.testing.assert_allclose(moments.mean, pooled.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(moments.std, pooled.std(axis=0), rtol=1e-9)
    vectors = loaded.model.vectors(clips.collate(rows))
    emotions = dataset.utterances.column("emotion").to_pylist()
    labels = [loaded.classes.index(emotion) for emotion in emotions]
    by_hand = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3).fit(vectors, labels)
    theirs, ours = by_hand.decision_function(vectors), loaded.model.scores(vectors).numpy()
    np.testing.assert_allclose(
        ours - ours[:, :1], theirs - theirs[:, :1], rtol=1e-9, atol=1e-9 * np.abs(theirs).max()
    )


def test_a_network_is_that_of_a_training_of_the_median_of_the_best_epochs(made, bundle):
    (place,) = bundle.glob("models/*trial-00001/all-rows")
    run = RunDirectory(made.run)
    files = [run.model_directory(1, fold) / "config.json" for fold in range(2)]
    best = [read_json(file)["metrics"]["epoch"] for file in files]
    about = read_json(bundle / "bundle.json")["description"]["refit"]["members"]
    (told,) = [member for member in about if member["member"].endswith("trial-00001")]
    assert told == {**told, "epochs": max(best), "best_epochs": best}  # of two, the later

    config = stored_config(read_json(files[0]), files[0])
    dataset = Dataset.open(made.dataset)
    everything = Fold(train=tuple(sorted(dataset.utterance_ids)), dev=(), test=())
    plan = dataclasses.replace(read_plan(run.folds_file), folds=(everything,))
    data = FoldData(dataset, plan, 0, config.data)

    class Unjudged(FoldTrainer):
        NEEDED_PARTS = ("train",)

        def _judge(self, epoch, rate):
            self.epoch = self.best_epoch = epoch
            return {}, None

    by_hand = Unjudged(config, data, seed=derive_seed(1, "all rows"))
    for _ in range(max(best)):
        by_hand.run_epoch()
    for name, values in load_model(place).model.state_dict().items():
        assert torch.equal(values, by_hand.model.state_dict()[name])


def test_every_member_is_one_model_that_all_folds_share(made, bundle):
    content = read_json(bundle / "bundle.json")
    places = [m["directory"] for fold in content["folds"] for m in fold["members"]]
    assert len(places) == 6
    assert len(set(places)) == 3
    system = open_system(bundle)
    assert system.num_models == 3
    assert "they are combined with each fold's weights" in system.describe()
    sources = find_recordings([str(made.audio)])[0]
    rows = list(predict(Predictor(system), sources, PredictionTally()))
    names = ("trial-00000", "trial-00001", "trial-00002")
    solo = []
    for number in range(3):
        export(made.run, bundle.parent / names[number], trial=number, refit=True)
        own = Predictor(open_system(bundle.parent / names[number]))
        solo.append([r.posteriors for r in predict(own, sources, PredictionTally())])
    np.testing.assert_allclose([r.posteriors for r in rows], np.mean(solo, axis=0), atol=1e-9)


def test_it_is_said_that_this_model_was_not_tested_and_what_its_twin_reached(made, tmp_path):
    run = sp.load(made.run)
    twin = run.export(tmp_path / "a", trial=1)
    refitted = run.export(tmp_path / "b", trial=1, refit=True)
    uar = twin.info["metrics"]["uar"]
    assert refitted.info["metrics"]["uar"] == uar
    assert refitted.info["refit"]["rows"] == 24
    assert refitted.info["refit"]["speakers"] == 4
    reached = f"{100 * uar['value']:.1f} % ({100 * uar['low']:.1f}–{100 * uar['high']:.1f})"
    assert f"not tested; its cross-validated twin: test UAR {reached}" in repr(refitted)
    card = (tmp_path / "b" / "README.md").read_text()
    assert "**Not tested:** this very model was not tested: it was trained once on all 24" in card
    assert f"a pooled test UAR of {reached}." in card
    assert "## Test metrics of its cross-validated twin" in card
    assert "refit" not in twin.info
    assert "ot tested" not in (tmp_path / "a" / "README.md").read_text()


def test_the_dataset_must_be_there_and_be_that_of_the_run(made, tmp_path):
    copied = Path(shutil.copytree(made.run, tmp_path / "run"))
    file = copied / "run.json"
    description = read_json(file)
    description.pop("sha256", None)
    description["dataset"]["path"] = str(tmp_path / "gone")
    file.write_text(json.dumps(description))
    with pytest.raises(BadInputError, match=r"--refit trains on the dataset of .*--data"):
        export(copied, tmp_path / "b", refit=True)
    export(copied, tmp_path / "b", trial=0, refit=True, data=made.dataset)
    description["dataset"]["fingerprint"] = "0" * 64
    file.write_text(json.dumps(description))
    with pytest.raises(ArtifactError, match=r"is not the dataset of .*fingerprint"):
        export(copied, tmp_path / "c", refit=True, data=made.dataset)
    with pytest.raises(BadInputError, match="--data is for --refit"):
        export(copied, tmp_path / "c", data=made.dataset)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "run"]


def test_nothing_is_trained_where_an_encoder_cannot_be_packed(made, tmp_path, capsys):
    with pytest.raises(BadInputError, match="--with-encoder: no model of"):
        export(made.run, tmp_path / "b", refit=True, with_encoder=True)
    assert "Training" not in capsys.readouterr().err


def test_a_plateau_and_an_average_follow_what_most_folds_did():
    entry = {"train_loss": 1.0, "dev": {}}
    history = [
        {**entry, "fold": fold, "epoch": epoch, "learning_rate": rate}
        for fold, rates in enumerate([(0.1, 0.1, 0.1), (0.1, 0.01), (0.1, 0.01, 0.001)])
        for epoch, rate in enumerate(rates, start=1)
    ]
    metrics = [{"epoch": 3, "averaged_epochs": 2}, {"epoch": 1}, {"epoch": 2, "averaged_epochs": 2}]
    course = Course.of_folds(metrics, history)
    assert course == Course(best_epochs=(3, 1, 2), epochs=2, rates=(0.1, 0.01), averaged=True)


@pytest.mark.parametrize("averaged", [False, True])
def test_the_rates_of_a_plateau_are_followed_and_the_last_epochs_averaged(made, averaged):
    run = RunDirectory(made.run)
    file = run.model_directory(1, 0) / "config.json"
    config = stored_config(read_json(file), file)
    training = dataclasses.replace(config.training, scheduler="plateau", swa_epochs=2)
    config = dataclasses.replace(config, training=training)
    plan = plan_of_all_rows(read_plan(run.folds_file))
    data = FoldData(Dataset.open(made.dataset), plan, 0, config.data)
    course = Course(best_epochs=(3,), epochs=3, rates=(1e-3, 5e-4, 2e-4), averaged=averaged)
    trainer = AllRowsTrainer(config, data, course, seed=0, device="cpu")
    states, rates = [], []
    while not trainer.finished:
        rates.append(trainer.run_epoch().learning_rate)
        states.append({n: p.detach().clone() for n, p in trainer.model.named_parameters()})
    assert rates[1:] == [5e-4, 2e-4]
    for name, last in states[-1].items():
        expected = (states[1][name] + last) / 2 if averaged else last
        torch.testing.assert_close(trainer._best_weights[name], expected)
