"""Time derivatives of frames: the formula, another library, and the same for new audio."""

import dataclasses
import json

import librosa
import numpy as np
import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import BadInputError
from serplatform.inputs.augmentation import draw
from serplatform.inputs.config import DataConfig
from serplatform.inputs.deltas import append_deltas
from serplatform.inputs.new_audio import ExtractedClip, SpeakerMoments, new_audio
from serplatform.inputs.pipeline import InputPipeline
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset
from serplatform.training.trial_config import resolve

NAME = "log_mel_23"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    features = {NAME: 23, "mfcc_40": 40}
    return Dataset.open(make_dataset(path, num_speakers=6, per_speaker=6, features=features))


@pytest.fixture(scope="module")
def plan(dataset):
    return make_plan(dataset.utterances, "speaker-kfold:3", seed=1, classes=dataset.classes)


def by_hand(values):
    count = len(values)
    found = np.zeros((count, values.shape[1]))
    for t in range(count):
        for n in (1, 2):
            found[t] += n * (values[min(t + n, count - 1)] - values[max(t - n, 0)].astype(float))
    return found / 10


@pytest.mark.parametrize("count", [1, 2, 3, 5, 40])
def test_derivatives_are_the_regression_written_out(count):
    frames = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    got = append_deltas(frames, 2)
    np.testing.assert_array_equal(got[:, :3], frames)
    np.testing.assert_allclose(got[:, 3:6], by_hand(frames), atol=1e-6)
    np.testing.assert_allclose(got[:, 6:], by_hand(by_hand(frames)), atol=1e-6)
    np.testing.assert_array_equal(append_deltas(frames, 1), got[:, :6])
    assert append_deltas(frames, 0) is frames


def test_first_derivatives_are_librosas():
    frames = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    expected = librosa.feature.delta(frames, width=5, order=1, axis=0, mode="nearest")
    np.testing.assert_allclose(append_deltas(frames, 1)[:, 4:], expected, atol=1e-6)


def test_each_derivative_is_normalised_by_its_own_moments(dataset, plan):
    data = FoldData(dataset, plan, 0, DataConfig(deltas=2, trim=True))
    rows = data.rows("train")
    bounds = zip(rows, *data.kept(rows), strict=True)
    raw = np.concatenate([append_deltas(dataset.frames(NAME, r)[a:b], 2) for r, a, b in bounds])
    expected = (raw - raw.mean(0, dtype=float)) / raw.std(0, dtype=float)
    batch = data.collate(rows)
    got = np.concatenate([f[:n].numpy() for f, n in zip(batch.frames, batch.lengths, strict=True)])
    assert data.input_spec.feature_dim == got.shape[1] == 69
    np.testing.assert_allclose(got, expected, atol=2e-3)


def test_moments_are_kept_apart_from_those_without(dataset, plan):
    without = FoldData(dataset, plan, 0, DataConfig())
    with_deltas = FoldData(dataset, plan, 0, DataConfig(deltas=1))
    again = FoldData(dataset, plan, 0, DataConfig())
    mean = with_deltas.preprocessing()["mean"]
    assert mean[:23] == pytest.approx(without.preprocessing()["mean"])
    assert len(mean) == 46
    assert again.preprocessing() == without.preprocessing()
    assert "deltas" not in without.preprocessing()


@pytest.mark.parametrize("feature", [NAME, f"mfcc_40+{NAME}"])
@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("order", [1, 2])
def test_new_audio_gets_the_derivatives_of_training(dataset, plan, feature, trim, order):
    config = DataConfig(feature=feature, trim=trim, deltas=order)
    data = FoldData(dataset, plan, 0, dataclasses.replace(config, normalization="none"))
    pipeline = InputPipeline.load(json.loads(json.dumps(data.preprocessing())))
    table = dataset.utterances
    for row in data.rows("test")[:4].tolist():
        clip = ExtractedClip(
            frames={name: dataset.frames(name, row) for name in feature.split("+")},
            speech=(table["speech_start"][row].as_py(), table["speech_end"][row].as_py()),
        )
        frames = pipeline.unnormalized(new_audio([clip])).frames(0, None)
        np.testing.assert_array_equal(frames, data.collate(np.array([row])).frames[0].numpy())
    moments = SpeakerMoments()
    without = InputPipeline.load({**data.preprocessing(), "deltas": 0})
    moments.add(clip, [pipeline, pipeline, without])
    dims = sorted(found.mean.shape[1] for found in moments.found.values())
    assert dims == [pipeline.dim // (1 + order), pipeline.dim]  # equal pipelines are added once


def test_speed_and_gain_come_before_the_derivatives(dataset, plan):
    """Derivatives belong to the frames as they are heard, and a gain leaves them alone."""
    data = FoldData(
        dataset, plan, 0, DataConfig(deltas=2, speed=0.3, gain_db=9.0, normalization="none")
    )
    plain = FoldData(dataset, plan, 0, DataConfig(deltas=2, speed=0.3, normalization="none"))
    row = data.rows("train")[:1]
    for key in range(5):
        frames = data.collate(row, augment=key).frames[0].numpy()
        np.testing.assert_allclose(frames[:, 23:], append_deltas(frames[:, :23], 2)[:, 23:])
        quiet = plain.collate(row, augment=key).frames[0].numpy()
        np.testing.assert_allclose(frames[:, 23:], quiet[:, 23:], atol=1e-5)
        assert np.ptp(frames[:, :23] - quiet[:, :23]) < 1e-4
        assert np.abs(frames[:, :23] - quiet[:, :23]).max() > 1e-3


def test_a_masked_band_is_masked_with_its_derivatives(dataset, plan):
    config = DataConfig(deltas=2, frequency_masks=1, frequency_mask_bins=8)
    data = FoldData(dataset, plan, 0, config)
    widths = []
    for row in data.rows("train"):
        frames = data.collate(np.array([row]), augment=3).frames[0].numpy()
        masked = (frames == 0).all(axis=0).reshape(3, 23)
        assert (masked == masked[0]).all()
        assert draw(config, 3, int(row)).frequency_masks
        widths.append(int(masked[0].sum()))
    assert max(widths) > 4


@pytest.mark.parametrize(
    ("architecture", "values", "match"),
    [
        ("functionals_mlp", {"data.pooling": "time"}, "has derivatives of its own"),
        ("functionals_mlp", {"data.feature": "compare_2016"}, "compare_2016 is one frame"),
        ("functionals_mlp", {"data.feature": "egemaps_v02"}, "egemaps_v02 is one frame"),
    ],
)
def test_where_there_is_none_it_is_refused_before_training(architecture, values, match):
    with pytest.raises(BadInputError, match=match):
        resolve(architecture, {"data.deltas": 1, **values}, "here")
