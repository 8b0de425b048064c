"""Training clips at further speeds: added to a dataset, normalized as they are, drawn by a key."""

from __future__ import annotations

import numpy as np
import pytest

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.distributed import extraction
from serplatform.distributed import prepare as prepare_module
from serplatform.distributed.extraction import run_shard
from serplatform.distributed.prepare import prepare
from serplatform.errors import BadInputError
from serplatform.inputs.config import DataConfig
from serplatform.protocols.plan import make_plan

NAME = "log_mel_23"


def demo(path, features, speeds=()):
    options = {"utterances": 24, "speakers": 3}
    return prepare("demo", None, path, features=features, speeds=speeds, options=options)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A dataset to which two speeds of one of its features were added later."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(prepare_module, "connect", lambda **_: None)
        patched.setattr(extraction, "_run", lambda tasks, workers: map(run_shard, tasks))
        folder = tmp_path_factory.mktemp("speeds")
        demo(folder / "later", [NAME, "mfcc_40"])
        later = demo(folder / "later", [NAME], [1.1, 0.9])
        once = demo(folder / "once", [NAME, "mfcc_40", f"{NAME}~1.1", f"{NAME}~0.9"])
        again = demo(folder / "later", [NAME], [0.9])
    return later, once, again


@pytest.fixture(scope="module")
def dataset(prepared):
    return Dataset.open(prepared[0].path)


@pytest.fixture(scope="module")
def plan(dataset):
    return make_plan(dataset.utterances, "speaker-kfold:3", seed=1, classes=dataset.classes)


def test_speeds_are_added_to_a_dataset_and_are_no_features_of_their_own(prepared, dataset):
    later, once, again = prepared
    assert later.added_to == (NAME, "mfcc_40")
    assert again.reused
    assert list(later.meta["features"]) == [NAME, "mfcc_40", f"{NAME}~1.1", f"{NAME}~0.9"]
    assert later.meta["fingerprint"] == once.meta["fingerprint"]
    assert dataset.check() == []
    assert dataset.feature_names == (NAME, "mfcc_40")
    assert dataset.speeds(NAME) == (0.9, 1.1)
    assert dataset.speeds(f"{NAME}+mfcc_40") == dataset.speeds("mfcc_40") == ()
    ratio = dataset.num_frames(f"{NAME}~0.9") / dataset.num_frames(NAME)
    np.testing.assert_allclose(ratio, 1 / 0.9, atol=0.02)


def test_bad_requests_are_one_sentence(dataset, plan):
    with pytest.raises(BadInputError, match=r"'log_mel_23\+mfcc_40' at none.*--speeds 0.9,1.1"):
        FoldData(dataset, plan, 0, DataConfig(feature=f"{NAME}+mfcc_40", speeds=True))
    with pytest.raises(ValueError, match=r"name 'log_mel_23', and set data.speeds = true"):
        DataConfig(feature=f"{NAME}~0.9")


@pytest.mark.parametrize("normalization", ["train", "speaker", "utterance"])
def test_copies_are_normalized_as_their_clips(dataset, plan, normalization):
    config = DataConfig(normalization=normalization, speeds=True)
    data = FoldData(dataset, plan, 0, config)
    off = FoldData(dataset, plan, 0, DataConfig(normalization=normalization))
    rows = data.rows("train")
    assert data.speeds == (1.0, 0.9, 1.1)
    assert data.preprocessing() == off.preprocessing()
    assert "Trained on clips at speeds 0.9, 1, 1.1" in " ".join(data.notes)
    np.testing.assert_array_equal(data.collate(rows).frames, off.collate(rows).frames)
    row = int(rows[0])
    speaker = dataset.speaker_ids[row]
    same = [r for r, name in enumerate(dataset.speaker_ids) if name == speaker]
    of = {"train": (NAME, rows), "speaker": (NAME, same), "utterance": (f"{NAME}~0.9", [row])}
    name, among = of[normalization]
    frames = np.concatenate([dataset.frames(name, int(r)) for r in among]).astype(np.float64)
    expected = (dataset.frames(f"{NAME}~0.9", row) - frames.mean(axis=0)) / frames.std(axis=0)
    batch = data.collate(np.array([row]), speed=0.9)
    np.testing.assert_allclose(batch.frames[0], expected, atol=2e-4)
    assert batch.labels.tolist() == data.labels("train")[:1].tolist()


def test_an_epoch_takes_each_utterance_at_one_speed_in_whatever_batch(dataset, plan):
    data = FoldData(dataset, plan, 0, DataConfig(speeds=True, trim=True))
    rows = data.rows("train")
    together = data.collate(rows, augment=4)
    taken = set()
    for place, row in enumerate(rows):
        alone = data.collate(rows[place : place + 1], augment=4)
        length = int(alone.lengths[0])
        assert length == together.lengths[place]
        np.testing.assert_array_equal(alone.frames[0], together.frames[place, :length])
        at = {s: data.collate(np.array([row]), speed=s) for s in data.speeds}
        found = [s for s, batch in at.items() if np.array_equal(batch.frames, alone.frames)]
        assert len(found) == 1
        taken.update(found)
        seconds = [int(batch.lengths[0]) * speed for speed, batch in at.items()]
        assert max(seconds) - min(seconds) < 4  # of the same speech, in frames
    assert taken == set(data.speeds)
    assert not np.array_equal(data.collate(rows, augment=5).lengths, together.lengths)


@pytest.mark.parametrize("pooling", ["none", "words"])
def test_words_and_functionals_follow_the_speed(dataset, plan, pooling):
    config = DataConfig(words=pooling == "none", pooling=pooling, speeds=True)
    data = FoldData(dataset, plan, 0, config)
    rows = data.rows("train")[:4]
    plain, slow = data.collate(rows), data.collate(rows, speed=0.9)
    drawn = data.collate(rows, augment=3)
    if pooling == "none":
        np.testing.assert_allclose(slow.word_spans * 0.9, plain.word_spans, atol=2)
        assert (drawn.word_spans.amax(dim=(1, 2)) <= drawn.lengths).all()
    else:
        step = data.pipeline.steps[0]
        mean, std = data.pipeline.normalization.mean, data.pipeline.normalization.std
        durations = slice(-1, None)  # of the last segment
        seconds = [b.frames.numpy()[:, 0] * std + mean for b in (plain, slow)]
        assert step.words is not None
        slower, usual = seconds[1][:, durations], seconds[0][:, durations]
        np.testing.assert_allclose(slower * 0.9, usual, atol=0.03)
        assert drawn.frames.shape == plain.frames.shape
