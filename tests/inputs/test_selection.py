"""Features side by side."""

import json

import numpy as np
import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData, stored_clips
from serplatform.errors import BadInputError
from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.inputs.config import DataConfig, feature_parts
from serplatform.inputs.new_audio import ExtractedClip, FramesInMemory, new_audio
from serplatform.inputs.pipeline import InputPipeline
from serplatform.inputs.selection import (
    AveragedFrames,
    FrameSelection,
    common_shift,
    join_frames,
    spec_parts,
)
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset
from serplatform.training.trial_config import resolve


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    features = {"log_mel_23": 23, "mfcc_40": 40}
    return Dataset.open(make_dataset(path, num_speakers=3, per_speaker=4, features=features))


def test_frames_stand_side_by_side(dataset):
    name = "log_mel_23+mfcc_40"
    assert dataset.feature_info(name).dim == 63
    selection = FrameSelection(feature=name, spec={}, frame_shift=0.01, trim=False)
    clips = selection.apply(stored_clips(dataset, []))
    assert clips.dim == 63
    for row in range(len(dataset)):
        first, second = dataset.frames("log_mel_23", row), dataset.frames("mfcc_40", row)
        count = min(len(first), len(second))
        assert clips.num_frames[row] == dataset.num_frames(name)[row] == count
        np.testing.assert_array_equal(clips.frames(row, None)[:, :23], first[:count])
        np.testing.assert_array_equal(clips.frames(row, None)[:, 23:], second[:count])
        np.testing.assert_array_equal(dataset.frames(name, row), clips.frames(row, None))


def test_a_fold_reads_them_as_one_feature(dataset):
    plan = make_plan(dataset.utterances, "speaker-kfold:3", seed=0, classes=dataset.classes)
    data = FoldData(dataset, plan, 0, DataConfig(feature="mfcc_40+log_mel_23"))
    single = FoldData(dataset, plan, 0, DataConfig(feature="log_mel_23"))
    rows = data.rows("dev")
    assert data.input_spec.feature_dim == 63
    np.testing.assert_allclose(
        data.collate(rows).frames[..., 40:], single.collate(rows).frames, atol=1e-6
    )
    settings = data.preprocessing()
    assert list(spec_parts(settings["feature"], settings["spec"])) == ["mfcc_40", "log_mel_23"]


def test_the_shortest_feature_ends_a_clip():
    frames = {"a": np.ones((5, 2), np.float32), "b": np.zeros((3, 1), np.float32)}
    assert join_frames([frames["a"], frames["b"]]).tolist() == [[1, 1, 0]] * 3
    assert join_frames([frames["a"]]) is frames["a"]


@pytest.mark.parametrize("name", ["a+", "+a", "a++b", "a+a"])
def test_names_must_be_there_and_differ(name):
    with pytest.raises(BadInputError, match="must be different, and none empty"):
        feature_parts(name)


def test_the_longest_frame_shift_is_that_of_all():
    assert common_shift({"a": 0.01, "b": 0.01}) == (0.01, {})
    assert common_shift({"a": 0.01, "b": 0.02, "c": 0.016}) == (0.02, {"a": 0.01, "c": 0.016})
    assert common_shift({"a": WHOLE_UTTERANCE, "b": WHOLE_UTTERANCE}) == (WHOLE_UTTERANCE, {})
    with pytest.raises(BadInputError, match=r"^b cannot be joined with a: one vector an utterance"):
        common_shift({"a": 0.01, "b": WHOLE_UTTERANCE})


def naive_average(frames, shift, longest):
    """Frames to means by the rule's own words, frame by frame."""
    middles = (np.arange(len(frames)) + 0.5) * shift
    owner = [int(middle / longest + 1e-9) for middle in middles]
    owned = [frames[np.array(owner) == k] for k in range(owner[-1] + 1)]
    return np.array([part.astype(np.float64).mean(axis=0) for part in owned])


@pytest.mark.parametrize("longest", [0.01, 0.0125, 0.016, 0.02, 0.03, 0.25, 3.0])
@pytest.mark.parametrize("count", [1, 2, 3, 50, 77])
def test_finer_frames_are_averaged_by_their_middles(count, longest):
    frames = np.random.default_rng(count).standard_normal((count, 3)).astype(np.float32)
    averaged = AveragedFrames(FramesInMemory([frames]), longest / 0.01)
    wanted = naive_average(frames, 0.01, longest)
    assert averaged.num_frames.tolist() == [len(wanted)]
    found = averaged.frames(0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    for first in range(len(wanted) + 1):  # any stretch is a stretch of the whole
        np.testing.assert_array_equal(averaged.frames(0, first, len(wanted)), found[first:])


@pytest.fixture(scope="module")
def two_shifts(tmp_path_factory):
    path = tmp_path_factory.mktemp("shifts") / "set"
    features = {"log_mel_23": 23, "pretrained:fake@1": (30, 0.02, 0.025)}
    return Dataset.open(make_dataset(path, num_speakers=3, per_speaker=4, features=features))


@pytest.mark.parametrize("trim", [False, True])
def test_features_of_two_shifts_are_joined_and_said(two_shifts, trim):
    plan = make_plan(two_shifts.utterances, "speaker-kfold:3", seed=0, classes=two_shifts.classes)
    name = "pretrained:/models/fake@1+log_mel_23"
    config = DataConfig(feature=name, trim=trim, normalization="none")
    data = FoldData(two_shifts, plan, 0, config)
    assert data.info.frame_shift == 0.02
    assert "Frames of log_mel_23 (0.01 s) are averaged to the longest frame shift, 0.02 s." in (
        data.notes
    )
    row = int(data.rows("dev")[0])
    frames = data.collate(np.array([row])).frames[0].numpy()
    mel = naive_average(two_shifts.frames("log_mel_23", row), 0.01, 0.02)
    encoded = two_shifts.frames("pretrained:fake@1", row)
    first, last = (int(bound[0]) for bound in data.kept(np.array([row])))
    assert (last - first < min(len(mel), len(encoded))) == trim
    np.testing.assert_allclose(frames[:, :30], encoded[first:last], atol=1e-6)
    np.testing.assert_allclose(frames[:, 30:], mel[first:last], atol=1e-5)
    np.testing.assert_array_equal(two_shifts.frames(name, row)[first:last], frames)

    stored = json.loads(json.dumps(data.preprocessing()))
    assert stored["resampled"] == {"log_mel_23": 0.01}
    clip = ExtractedClip(
        frames={part: two_shifts.frames(part, row) for part in data.parts},
        speech=tuple(
            two_shifts.utterances.column(column)[row].as_py()
            for column in ("speech_start", "speech_end")
        ),
    )
    again = InputPipeline.load(stored).apply(new_audio([clip])).collate(np.array([0]))
    np.testing.assert_array_equal(again.frames[0].numpy(), frames)


def test_equal_shifts_are_stored_as_before(dataset):
    selection = dataset.feature_info("log_mel_23+mfcc_40").selection(trim=True)
    assert set(selection.describe()) == {"feature", "spec", "frame_shift", "trim"}
    assert selection.notes == ()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("pretrained:/m/w@2,1", ("pretrained:w@2", "pretrained:w@1")),
        ("log_mel_40 + pretrained:w@1:pooled", ("log_mel_40", "pretrained:w@1:pooled")),
    ],
)
def test_layers_are_features_of_their_own(name, parts):
    assert feature_parts(name) == parts
    assert feature_parts(DataConfig(feature=name).feature) == parts


@pytest.mark.parametrize("name", ["pretrained:w@1,2+pretrained:/m/w@2", "pretrained:w@1+"])
def test_a_layer_stands_once(name):
    with pytest.raises(BadInputError, match="must be different, and none empty"):
        feature_parts(name)


def test_a_malformed_name_is_a_fault_of_the_configuration():
    with pytest.raises(BadInputError, match="feature 'pretrained:w': must be FAMILY"):
        resolve("csa", {"data.feature": "pretrained:w"}, "test")
    with pytest.raises(BadInputError, match="name them here, as in pretrained:w@1,2,3"):
        feature_parts("pretrained:/m/w@all")


def test_what_is_lacking_is_named(dataset):
    assert dataset.lacking("mfcc_40+log_mel_23") == []
    assert dataset.lacking("mfcc_40+log_mel_64") == ["log_mel_64"]
    with pytest.raises(BadInputError, match="log_mel_64"):
        dataset.frames("mfcc_40+log_mel_64", 0)
