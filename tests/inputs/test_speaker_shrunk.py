"""A speaker's statistics shrunk to those of training: by hand, drawn in training, stored."""

from __future__ import annotations

import json

import numpy as np
import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.inputs.config import DataConfig
from serplatform.inputs.normalization import FEWEST_DRAWN, VARIANCE_CLIPS
from serplatform.inputs.pipeline import InputPipeline
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset

NAME = "log_mel_23"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    return Dataset.open(make_dataset(path, num_speakers=6, per_speaker=9, features={NAME: 23}))


@pytest.fixture(scope="module")
def data(dataset):
    plan = make_plan(dataset.utterances, "speaker-kfold:3", seed=1, classes=dataset.classes)
    return FoldData(dataset, plan, 0, DataConfig(normalization="speaker_shrunk"))


def of_speakers(data, part):
    """Rows of each speaker of a part."""
    names = np.array(data.speaker_ids(part))
    return [data.rows(part)[names == name] for name in np.unique(names)]


def test_a_test_speakers_frames_are_those_of_the_formula(dataset, data):
    clips = {row: dataset.frames(NAME, row).astype(np.float64) for row in range(len(dataset))}
    means = {row: frames.mean(axis=0) for row, frames in clips.items()}
    train = np.concatenate([clips[row] for row in data.rows("train")])
    own = of_speakers(data, "train")
    squares = sum(
        ((means[r] - np.mean([means[q] for q in s], axis=0)) ** 2) for s in own for r in s
    )
    within = squares / sum(len(s) - 1 for s in own)
    of_speaker = np.array([np.mean([means[r] for r in s], axis=0) for s in own])
    between = of_speaker.var(axis=0, ddof=1) - within * np.mean([1 / len(s) for s in own])
    kappa = within / np.maximum(between, 1e-3 * within)
    inside = np.mean([np.concatenate([clips[r] for r in s]).var(axis=0, ddof=1) for s in own], 0)
    for rows in of_speakers(data, "test"):
        frames, n = np.concatenate([clips[row] for row in rows]), len(rows)
        mean = (n * frames.mean(axis=0) + kappa * train.mean(axis=0)) / (n + kappa)
        variance = (n * frames.var(axis=0) + VARIANCE_CLIPS * inside) / (n + VARIANCE_CLIPS)
        found = data.collate(rows[:1]).frames[0].numpy()
        np.testing.assert_allclose(
            found, (clips[rows[0]] - mean) / np.sqrt(variance), rtol=1e-3, atol=1e-4
        )


def test_training_rows_take_statistics_of_some_training_clips_of_their_speaker(data):
    shrinkage = data.pipeline.normalization.shrinkage
    train = of_speakers(data, "train")
    drawn = list(shrinkage.draws([*train, *of_speakers(data, "test")]))
    assert sorted(np.concatenate([rows for rows, _ in drawn])) == data.rows("train").tolist()
    for rows, chosen in drawn:
        (own,) = [speaker for speaker in train if np.isin(rows, speaker).all()]
        assert np.isin(chosen, own).all()
        assert FEWEST_DRAWN <= len(set(chosen)) == len(chosen) <= len(own)
    assert len({len(chosen) for _, chosen in drawn}) > 1
    assert {len(rows) for rows, _ in drawn} == {1}  # nine clips, sixteen draws


def test_stored_it_is_the_same_and_draws_nothing(dataset, data):
    stored = json.loads(json.dumps(data.preprocessing()))
    loaded = InputPipeline.load(stored).normalization
    of = data.pipeline.normalization
    np.testing.assert_array_equal(loaded.shrinkage.clips, of.shrinkage.clips)
    np.testing.assert_array_equal(loaded.shrinkage.variance, of.shrinkage.variance)
    assert list(loaded.shrinkage.draws(of_speakers(data, "train"))) == []
    assert loaded.describe() == of.describe()


def test_the_fewer_clips_the_nearer_to_training(data):
    of = data.pipeline.normalization
    clips = data.pipeline.unnormalized(data._clips.source)
    moments = clips.moments()
    speaker = of_speakers(data, "test")[0]
    few, all_clips = (moments.pool(rows) for rows in (speaker[:1], speaker))
    for pooled, others in ((few, 0), (all_clips, 0)):
        mean, _ = of.shrinkage(pooled, of.mean)
        assert (np.abs(mean - of.mean) < np.abs(pooled.mean - of.mean) + 1e-12).all(), others
    weight = [m.clips[0] / (m.clips[0] + of.shrinkage.clips) for m in (few, all_clips)]
    assert (weight[0] < weight[1]).all()


def test_one_training_speaker_says_nothing_of_how_speakers_differ(tmp_path):
    dataset = Dataset.open(make_dataset(tmp_path / "set", num_speakers=3, per_speaker=6))
    plan = make_plan(dataset.utterances, "speaker-kfold:3", classes=dataset.classes)
    feature = next(iter(dataset.meta["features"]))
    config = DataConfig(feature=feature, normalization="speaker_shrunk")
    data = FoldData(dataset, plan, 0, config)
    assert len(set(data.speaker_ids("train"))) == 1
    shrinkage = data.pipeline.normalization.shrinkage
    np.testing.assert_allclose(shrinkage.clips, 1000.0)
    assert np.isfinite(data.collate(data.rows("test")).frames.numpy()).all()


def test_what_it_reads_is_noted(data):
    assert any("shrunk to the training rows'" in note for note in data.notes)
