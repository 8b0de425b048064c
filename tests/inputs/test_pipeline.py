"""The chain of steps: lazy on memory maps, the same after it is stored, open to further steps."""

import dataclasses
import json

import numpy as np
import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.inputs import pipeline as pipeline_module
from serplatform.inputs.clips import Step
from serplatform.inputs.config import DataConfig
from serplatform.inputs.new_audio import ExtractedClip, new_audio
from serplatform.inputs.pipeline import STEPS, InputPipeline
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset

NAME = "log_mel_23"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    return Dataset.open(make_dataset(path, num_speakers=6, per_speaker=4))


@pytest.fixture(scope="module")
def plan(dataset):
    return make_plan(dataset.utterances, "speaker-kfold:3", seed=1, classes=dataset.classes)


@dataclasses.dataclass(frozen=True)
class EveryOther(Step):
    """Keeps every nth dimension: a step as another package would write it."""

    stride: int

    @classmethod
    def fit(cls, config, clips, train_rows):
        return cls(2)

    @classmethod
    def load(cls, stored):
        return cls(stored["stride"]) if "stride" in stored else None

    def describe(self):
        return {"stride": self.stride}

    def apply(self, clips):
        kept = len(range(0, clips.dim, self.stride))
        return clips.changed(lambda frames, row, key: frames[:, :: self.stride], self, kept)


def test_a_further_step_is_fitted_stored_and_applied_to_new_audio(dataset, plan, monkeypatch):
    before = FoldData(dataset, plan, 0, DataConfig())
    monkeypatch.setattr(pipeline_module, "STEPS", (EveryOther, *STEPS))
    data = FoldData(dataset, plan, 0, DataConfig())
    assert data.input_spec.feature_dim == 12
    row = data.rows("train")[:1]
    batch = data.collate(row)
    np.testing.assert_array_equal(batch.frames, before.collate(row).frames[..., ::2])
    stored = json.loads(json.dumps(data.preprocessing()))
    loaded = InputPipeline.load(stored)
    assert loaded.describe() == stored
    clip = ExtractedClip(frames={NAME: dataset.frames(NAME, int(row[0]))}, speech=(0.0, 1.0))
    new = loaded.apply(new_audio([clip])).collate(np.array([0]))
    np.testing.assert_array_equal(new.frames, batch.frames)


def test_models_of_frames_without_more_keep_the_keys_of_earlier_versions(dataset, plan):
    assert list(FoldData(dataset, plan, 0, DataConfig()).preprocessing()) == [
        "feature",
        "spec",
        "dim",
        "frame_shift",
        "trim",
        "normalization",
        "mean",
        "deviation",
        "deviation_floor",
    ]


def test_frames_are_views_of_the_memory_map_until_a_step_changes_them(dataset, plan):
    data = FoldData(dataset, plan, 0, DataConfig(normalization="none", trim=True))
    mapped = dataset.mapped(NAME)
    for row in range(len(dataset)):
        frames = data._clips.frames(row, None)
        assert np.shares_memory(frames, mapped.values[mapped.shard[row]])
