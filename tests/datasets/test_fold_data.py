"""A fold's batches: normalization by hand, exact padding, augmentation that is reproducible."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch

from serplatform.datasets.dataset import Dataset
from serplatform.datasets.fold_data import FoldData
from serplatform.errors import BadInputError, LeakError
from serplatform.features.base import FEATURES
from serplatform.inputs.config import DataConfig
from serplatform.inputs.new_audio import ExtractedClip, new_audio
from serplatform.inputs.normalization import STD_FLOOR
from serplatform.inputs.pipeline import InputPipeline
from serplatform.inputs.selection import trim_bounds
from serplatform.protocols.plan import make_plan
from serplatform.testing.synthetic import make_dataset

NAME = "log_mel_23"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    return Dataset.open(
        make_dataset(path, num_speakers=6, per_speaker=8, features={NAME: 23, "other": 7})
    )


@pytest.fixture(scope="module")
def plan(dataset):
    return make_plan(dataset.utterances, "speaker-kfold:3", seed=1, classes=dataset.classes)


def fold_data(dataset, plan, fold=0, **config):
    return FoldData(dataset, plan, fold, DataConfig(**config))


def all_rows(data):
    return np.concatenate([data.rows(part) for part in ("train", "dev", "test")])


def unpad(batch):
    return [f[:n].numpy() for f, n in zip(batch.frames, batch.lengths, strict=True)]


def test_parts_carry_ids_speakers_labels_and_lengths(dataset, plan):
    data = fold_data(dataset, plan)
    emotions = dataset.utterances["emotion"].to_pylist()
    for part in ("train", "dev", "test"):
        rows = data.rows(part)
        assert set(data.utterance_ids(part)) == set(getattr(plan.folds[0], part))
        assert [data.classes[k] for k in data.labels(part)] == [emotions[r] for r in rows]
        assert data.lengths(part).tolist() == [len(dataset.frames(NAME, r)) for r in rows]
        assert data.speaker_ids(part) == [i[:5] for i in data.utterance_ids(part)]
        assert data.class_counts(part).sum() == len(rows)
    assert data.input_spec.feature_dim == 23
    assert data.input_spec.num_classes == 4
    assert sorted(all_rows(data)) == list(range(48))


def test_padding_is_zero_and_frames_are_the_utterances_own(dataset, plan):
    data = fold_data(dataset, plan, normalization="none")
    rows = np.array([40, 3, 11])
    batch = data.collate(rows)
    assert batch.frames.shape == (3, int(data._length[rows].max()), 23)
    for row, frames, padded in zip(rows, unpad(batch), batch.frames, strict=True):
        np.testing.assert_array_equal(frames, dataset.frames(NAME, row))
        assert not padded[len(frames) :].any()
    assert batch.rows.tolist() == [40, 3, 11]
    assert batch.labels.tolist() == [data._labels[r] for r in rows]


def test_batch_does_not_change_the_mapped_frames(dataset, plan):
    before = dataset.frames(NAME, 0).copy()
    batch = fold_data(dataset, plan, normalization="none").collate(np.array([0]))
    batch.frames.mul_(0)
    np.testing.assert_array_equal(dataset.frames(NAME, 0), before)


def test_frames_of_a_small_dataset_are_made_once_unless_they_change(dataset, plan, monkeypatch):
    kept = fold_data(dataset, plan, noise=0.5)
    monkeypatch.setattr("serplatform.datasets.fold_data.KEPT_BYTES", 0)
    made = fold_data(dataset, plan, noise=0.5)
    rows = all_rows(kept)[:3]
    first = kept.collate(rows).frames
    assert torch.equal(first, made.collate(rows).frames)
    assert torch.equal(kept.collate(rows, augment=3).frames, made.collate(rows, augment=3).frames)
    assert torch.equal(kept.collate(rows).frames, first)  # noise was added to no kept frame
    row = int(rows[0])
    assert kept._clips.frames(row, None) is kept._clips.frames(row, None)
    assert made._clips.frames(row, None) is not made._clips.frames(row, None)


def test_training_normalization_is_the_z_score_of_training_frames_alone(dataset, plan):
    data = fold_data(dataset, plan)
    train = np.concatenate([dataset.frames(NAME, r) for r in data.rows("train")]).astype(float)
    for row, frames in zip(all_rows(data), unpad(data.collate(all_rows(data))), strict=True):
        expected = (dataset.frames(NAME, row) - train.mean(axis=0)) / train.std(axis=0)
        np.testing.assert_allclose(frames, expected, atol=2e-6)  # float32 of values near 3
    assert data.notes == ()


def test_training_statistics_do_not_see_dev_or_test(dataset, plan):
    """Folds with other training rows have other statistics, same rows the same."""
    first = fold_data(dataset, plan, 0).preprocessing()
    second = fold_data(dataset, plan, 1).preprocessing()
    assert first["mean"] != second["mean"]
    swapped = dataclasses.replace(plan.folds[0], dev=plan.folds[0].test, test=plan.folds[0].dev)
    other = dataclasses.replace(plan, folds=(swapped,))
    assert fold_data(dataset, other).preprocessing() == first


def test_speaker_normalization_is_the_z_score_within_each_speaker_and_is_noted(dataset, plan):
    data = fold_data(dataset, plan, normalization="speaker")
    frames = dict(zip(all_rows(data), unpad(data.collate(all_rows(data))), strict=True))
    speakers = dataset.utterances["speaker_id"].to_pylist()
    for speaker in set(speakers):
        rows = [r for r in frames if speakers[r] == speaker]
        raw = np.concatenate([dataset.frames(NAME, r) for r in rows]).astype(float)
        expected = (dataset.frames(NAME, rows[0]) - raw.mean(axis=0)) / raw.std(axis=0)
        np.testing.assert_allclose(frames[rows[0]], expected, atol=2e-6)
    assert "unlabelled" in data.notes[0]


def test_utterance_normalization_is_the_z_score_within_each_utterance(dataset, plan):
    data = fold_data(dataset, plan, normalization="utterance")
    for frames in unpad(data.collate(all_rows(data))):
        np.testing.assert_allclose(frames.mean(axis=0), 0.0, atol=1e-5)
        np.testing.assert_allclose(frames.std(axis=0), 1.0, atol=1e-5)


def test_pooled_moments_equal_those_of_the_concatenation(dataset):
    data = fold_data(dataset, make_plan(dataset.utterances, "speaker-kfold:3", seed=1))
    first = np.arange(len(dataset)) % 5
    clips = dataclasses.replace(
        data._clips,
        first=first,
        last=data._clips.last - 2,
        frames=lambda row, key: dataset.frames(NAME, row)[first[row] : -2],
        identity="cut",
    )
    rows = np.array([3, 30, 12])
    moments = clips.moments()
    (mean,), (std,) = (pooled := moments.pool(rows)).mean, pooled.std
    one, two = moments.pool(rows[:1]), moments.pool(rows[1:])
    for values, same in ((mean, one.joined(two).mean[0]), (std, one.joined(two).std[0])):
        np.testing.assert_allclose(values, same, rtol=1e-12)
    plain = np.concatenate([dataset.frames(NAME, r)[first[r] : -2] for r in rows]).astype(float)
    np.testing.assert_allclose(mean, plain.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, plain.std(axis=0), rtol=1e-12)


def test_constant_utterance_stays_finite(tmp_path):
    """Digital silence: its own deviation is zero, so the floor from training frames holds."""
    from serplatform.artifacts.files import file_sha256, read_json, write_json
    from serplatform.testing.synthetic import write_shard

    path = make_dataset(tmp_path / "set", num_speakers=3, per_speaker=4, num_shards=1)
    dataset = Dataset.open(path)
    values = [dataset.frames(NAME, row).ravel().copy() for row in range(12)]
    values[5][:] = -23.0
    file = path / f"{NAME}-00000.arrow"
    write_shard(file, dataset.utterance_ids, values)
    meta = read_json(path / "dataset.json")
    meta["features"][NAME]["shards"][0].update(sha256=file_sha256(file), bytes=file.stat().st_size)
    write_json(path / "dataset.json", meta)
    dataset = Dataset.open(path)
    plan = make_plan(dataset.utterances, "loso")
    data = fold_data(dataset, plan, normalization="utterance")
    frames = data.collate(np.array([5])).frames.numpy()
    np.testing.assert_array_equal(frames, 0.0)
    floor = np.array(data.preprocessing()["deviation_floor"])
    np.testing.assert_allclose(floor, STD_FLOOR * np.array(data.preprocessing()["deviation"]))
    assert (floor > 0).all()


def test_trimming_keeps_the_speech(dataset, plan):
    data = fold_data(dataset, plan, trim=True, normalization="none")
    table = dataset.utterances
    for row in (0, 17):
        first = int(np.floor(round(table["speech_start"][row].as_py() / 0.01, 6)))
        last = int(np.ceil(round(table["speech_end"][row].as_py() / 0.01, 6)))
        (frames,) = unpad(data.collate(np.array([row])))
        np.testing.assert_array_equal(frames, dataset.frames(NAME, row)[first:last])
    assert (data.lengths("train") < fold_data(dataset, plan).lengths("train")).all()


@pytest.mark.parametrize(
    ("start", "end", "total", "expected"),
    [
        (0.5, 1.0, 200, (50, 100)),
        (0.0, 0.0, 200, (0, 20)),  # no speech found: the shortest stretch
        (1.99, 2.0, 200, (180, 200)),
        (1.0, 1.1, 200, (95, 115)),
        (0.0, 9.0, 200, (0, 200)),  # bounds beyond the last frame
        (5.0, 9.0, 200, (180, 200)),
        (0.0, 0.1, 7, (0, 7)),  # shorter than the shortest stretch
        (0.29, 0.58, 100, (29, 58)),  # 0.29 / 0.01 is just below 29 in binary
    ],
)
def test_trim_bounds(start, end, total, expected):
    first, last = trim_bounds([start], [end], [total], 0.01)
    assert (int(first[0]), int(last[0])) == expected


def test_trim_bounds_are_valid_everywhere():
    rng = np.random.default_rng(0)
    total = rng.integers(1, 300, 2000)
    start = rng.uniform(0, 3.5, 2000)
    first, last = trim_bounds(start, start + rng.uniform(0, 2, 2000), total, 0.01)
    assert (first >= 0).all()
    assert (last <= total).all()
    assert (last - first >= np.minimum(20, total)).all()


@pytest.mark.parametrize(
    "normalization", ["none", "train", "speaker", "speaker_shrunk", "utterance"]
)
@pytest.mark.parametrize("trim", [False, True])
def test_new_audio_is_prepared_as_the_batches_were(dataset, plan, normalization, trim):
    data = fold_data(dataset, plan, normalization=normalization, trim=trim)
    pipeline = InputPipeline.load(json.loads(json.dumps(data.preprocessing())))
    table = dataset.utterances
    rows = np.flatnonzero(np.array(dataset.speaker_ids) == data.speaker_ids("test")[0])
    clips = [
        ExtractedClip(
            frames={NAME: dataset.frames(NAME, row)},
            speech=(table["speech_start"][row].as_py(), table["speech_end"][row].as_py()),
        )
        for row in rows.tolist()
    ]
    new = pipeline.apply(new_audio(clips)).collate(np.arange(len(rows)))
    for found, seen in zip(unpad(new), unpad(data.collate(rows)), strict=True):
        np.testing.assert_allclose(found, seen, atol=2e-6)
    assert pipeline.describe() == data.preprocessing()


def test_new_audio_of_another_shape_is_refused(dataset, plan):
    clip = ExtractedClip(frames={NAME: np.zeros((5, 7), np.float32)}, speech=(0.0, 0.1))
    pipeline = fold_data(dataset, plan, normalization="none").pipeline
    with pytest.raises(ValueError, match=r"trained on \(T, 23\)"):
        pipeline.apply(new_audio([clip]))


AUGMENTED = {"time_masks": 2, "frequency_masks": 1, "speed": 0.2, "gain_db": 6.0}


def test_augmentation_does_not_depend_on_the_batch(dataset, plan):
    data = fold_data(dataset, plan, **AUGMENTED)
    rows = data.rows("train")
    together = dict(zip(rows, unpad(data.collate(rows, augment=11)), strict=True))
    for row in rows[::-1]:
        (alone,) = unpad(data.collate(np.array([row]), augment=11))
        np.testing.assert_array_equal(alone, together[row])


def test_augmentation_changes_with_the_key_and_is_off_without_one(dataset, plan):
    data = fold_data(dataset, plan, **AUGMENTED)
    row = data.rows("train")[:1]
    plain = data.collate(row).frames.numpy()
    np.testing.assert_array_equal(plain, fold_data(dataset, plan).collate(row).frames.numpy())
    first, second = (data.collate(row, augment=key).frames.numpy() for key in (1, 2))
    assert first.shape != plain.shape or not np.allclose(first, plain)
    assert first.shape != second.shape or not np.allclose(first, second)


def test_generator_gives_one_key_a_batch(dataset, plan):
    data = fold_data(dataset, plan, **AUGMENTED)
    rows = data.rows("train")[:4]
    one, two = (data.collate(rows, augment=np.random.default_rng(5)).frames for _ in range(2))
    np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_gain_moves_log_mel_by_the_same_in_every_band(dataset, plan):
    data = fold_data(dataset, plan, gain_db=10.0, normalization="none")
    plain = fold_data(dataset, plan, normalization="none")
    moved = []
    for row in data.rows("train"):
        change = (
            data.collate(np.array([row]), augment=3).frames - plain.collate(np.array([row])).frames
        )
        change = change.numpy()
        np.testing.assert_allclose(change, change.flat[0], atol=1e-4)
        moved.append(change.mean() * 10.0 / np.log(10.0))  # nepers of power to decibels
    assert -10.0 <= min(moved) < -5.0
    assert 5.0 < max(moved) <= 10.0


def test_gain_on_a_feature_that_it_does_not_shift_is_refused(dataset, plan):
    assert "other" not in FEATURES.names()
    with pytest.raises(BadInputError, match=r"data.gain_db = 3.0: .*'other'"):
        fold_data(dataset, plan, feature="other", gain_db=3.0)


def test_masks_are_zero_after_normalization(dataset, plan):
    data = fold_data(dataset, plan, time_masks=1, time_mask_frames=15)
    plain = fold_data(dataset, plan)
    widths = []
    for key, row in itertools.product(range(3), data.rows("train")):
        (changed,) = unpad(data.collate(np.array([row]), augment=key))
        (whole,) = unpad(plain.collate(np.array([row])))
        masked = (changed == 0).all(axis=1)
        np.testing.assert_array_equal(changed[~masked], whole[~masked])
        assert np.abs(np.diff(masked.astype(int))).sum() <= 2  # one stretch
        widths.append(masked.sum())
    assert min(widths) == 0
    assert max(widths) == 15


def test_masks_without_normalization_take_the_training_mean(dataset, plan):
    data = fold_data(dataset, plan, frequency_masks=1, frequency_mask_bins=4, normalization="none")
    mean = np.float32(data.preprocessing()["mean"])
    seen = 0
    for row in data.rows("train"):
        (changed,) = unpad(data.collate(np.array([row]), augment=9))
        masked = (changed != dataset.frames(NAME, row)).any(axis=0)
        np.testing.assert_array_equal(
            changed[:, masked], np.broadcast_to(mean, changed.shape)[:, masked]
        )
        seen = max(seen, int(masked.sum()))
    assert seen == 4


def test_speed_keeps_the_ends_and_changes_the_length_within_its_range(dataset, plan):
    data = fold_data(dataset, plan, speed=0.2, normalization="none")
    ratios = []
    for row in data.rows("train"):
        (changed,) = unpad(data.collate(np.array([row]), augment=2))
        whole = dataset.frames(NAME, row)
        np.testing.assert_allclose(changed[[0, -1]], whole[[0, -1]], rtol=1e-6)
        ratios.append(len(whole) / len(changed))
    assert 0.79 < min(ratios) < 0.9
    assert 1.1 < max(ratios) < 1.21


def test_plan_of_another_dataset_is_refused(dataset, plan):
    fold = dataclasses.replace(plan.folds[0], dev=("foreign_1", *plan.folds[0].dev))
    with pytest.raises(BadInputError, match=r"names 1 utterances .*\n.*foreign_1"):
        fold_data(dataset, dataclasses.replace(plan, folds=(fold,)))


def test_utterance_in_two_parts_is_refused(dataset, plan):
    name = plan.folds[0].test[0]
    fold = dataclasses.replace(plan.folds[0], dev=(name, *plan.folds[0].dev))
    with pytest.raises(LeakError, match=name):
        fold_data(dataset, dataclasses.replace(plan, folds=(fold,)))


def test_label_outside_the_plan_is_refused_if_a_part_names_it(dataset, plan):
    less = dataclasses.replace(
        plan,
        classes=plan.classes[:-1],
        label_map={k: v for k, v in plan.label_map.items() if v != plan.classes[-1]},
    )
    with pytest.raises(
        BadInputError, match=rf"label is none of its classes.*\n.*{plan.classes[-1]}"
    ):
        fold_data(dataset, less)


def test_fold_out_of_range_is_refused(dataset, plan):
    with pytest.raises(BadInputError, match="has folds 0 to 2; there is no fold 3"):
        fold_data(dataset, plan, 3)
    with pytest.raises(ValueError, match="part 'validation'"):
        fold_data(dataset, plan).rows("validation")
