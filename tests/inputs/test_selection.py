"""Features side by side."""

import numpy as np
import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData, stored_clips
from serplatform.errors import BadInputError
from serplatform.inputs.config import DataConfig, feature_parts
from serplatform.inputs.selection import (
    FrameSelection,
    common_shift,
    join_frames,
    spec_parts,
)
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset


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


def test_other_frame_shifts_are_refused():
    assert common_shift({"a": 0.01, "b": 0.01}) == 0.01
    with pytest.raises(BadInputError, match=r"a 0\.01 s, b 1 s"):
        common_shift({"a": 0.01, "b": 1.0})


def test_what_is_lacking_is_named(dataset):
    assert dataset.lacking("mfcc_40+log_mel_23") == []
    assert dataset.lacking("mfcc_40+log_mel_64") == ["log_mel_64"]
    with pytest.raises(BadInputError, match="log_mel_64"):
        dataset.frames("mfcc_40+log_mel_64", 0)
