"""Noise on training frames: its size, its place, and what it depends on."""

import numpy as np
import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.inputs.config import DataConfig
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset
from serplatform.training.trial_config import resolve


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    return Dataset.open(make_dataset(path, num_speakers=6, per_speaker=8))


@pytest.fixture(scope="module")
def make(dataset):
    plan = make_plan(dataset.utterances, "speaker-kfold:3", seed=1, classes=dataset.classes)
    return lambda **config: FoldData(dataset, plan, 0, DataConfig(**config))


def unpad(batch):
    pairs = zip(batch.frames, batch.lengths, strict=True)
    return np.concatenate([f[:n].numpy() for f, n in pairs])


@pytest.mark.parametrize("normalization", ["none", "train", "speaker"])
def test_it_has_the_deviation_asked_for_in_every_dimension(make, normalization):
    data = make(noise=0.5, normalization=normalization)
    rows = data.rows("train")
    added = unpad(data.collate(rows, augment=7)) - unpad(data.collate(rows))
    scale = np.array(data.preprocessing()["deviation"]) if normalization == "none" else 1.0
    added = added / scale
    assert added.std(axis=0) == pytest.approx(np.full(23, 0.5), rel=0.1)
    assert np.abs(added.mean(axis=0)).max() < 0.05
    assert abs(np.corrcoef(added[:, 0], added[:, 1])[0, 1]) < 0.1
    assert abs(np.corrcoef(added[1:, 0], added[:-1, 0])[0, 1]) < 0.1


def test_padding_stays_zero_and_evaluation_is_left_alone(make):
    data, plain = make(noise=0.5), make()
    rows = data.rows("train")
    batch = data.collate(rows, augment=7)
    for frames, length in zip(batch.frames, batch.lengths, strict=True):
        assert (frames[length:] == 0).all()
    assert data.config.augments
    assert (data.collate(rows).frames == plain.collate(rows).frames).all()
    assert data.preprocessing() == plain.preprocessing()


def test_it_depends_on_the_key_and_the_row_alone(make):
    data = make(noise=0.3)
    rows = data.rows("train")[:6]
    together = data.collate(rows, augment=5)
    for position, row in enumerate(rows):
        alone = data.collate(np.array([row]), augment=5)
        length = int(alone.lengths[0])
        assert (together.frames[position, :length] == alone.frames[0]).all()
    assert (data.collate(rows, augment=6).frames != together.frames).any()


def test_other_changes_are_the_same_with_and_without_it(make):
    changed = {"time_masks": 2, "frequency_masks": 1, "speed": 0.2}
    noisy, clean, seen = make(noise=0.4, **changed), make(**changed), 0
    for row in noisy.rows("train")[:10]:
        a = noisy.collate(np.array([row]), augment=2).frames[0].numpy()
        b = clean.collate(np.array([row]), augment=2).frames[0].numpy()
        assert a.shape == b.shape
        masked = b == 0
        seen += int(masked.sum())
        assert (a[masked] == 0).all()  # what is masked is not noisy
    assert seen > 100


@pytest.mark.parametrize("layout", ["vector", "sequence"])
def test_functionals_can_have_it(make, layout):
    resolve("functionals_mlp", {"data.pooling": "time", "data.noise": 0.1}, "here")
    data = make(pooling="time", pooling_segments=2, pooling_layout=layout, noise=0.1)
    rows = data.rows("train")
    added = unpad(data.collate(rows, augment=1)) - unpad(data.collate(rows))
    assert added.std() == pytest.approx(0.1, rel=0.05)
