"""Length buckets: nothing lost, little padding, another order every epoch."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serplatform.datasets.batching import batches, padded_share

LENGTHS = st.lists(st.integers(1, 3000), max_size=300).map(lambda v: np.array(v, np.int64))


@given(
    lengths=LENGTHS,
    batch_size=st.none() | st.integers(1, 64),
    frames_per_batch=st.none() | st.integers(1, 20_000),
    seed=st.none() | st.integers(0, 1000),
)
def test_every_utterance_is_in_one_batch_within_the_limits(
    lengths, batch_size, frames_per_batch, seed
):
    if batch_size is None and frames_per_batch is None:
        frames_per_batch = 500
    rng = None if seed is None else np.random.default_rng(seed)
    cut = batches(lengths, batch_size=batch_size, frames_per_batch=frames_per_batch, rng=rng)
    positions = np.concatenate([np.zeros(0, np.int64), *cut])
    assert sorted(positions.tolist()) == list(range(len(lengths)))
    for batch in cut:
        assert len(batch) >= 1
        assert batch_size is None or len(batch) <= batch_size
        if frames_per_batch is not None and len(batch) > 1:
            assert lengths[batch].max() * len(batch) <= frames_per_batch


@given(lengths=LENGTHS.filter(len), batch_size=st.integers(2, 64), seed=st.integers(0, 99))
def test_remainder_never_makes_a_batch_of_one(lengths, batch_size, seed):
    cut = batches(lengths, batch_size=batch_size, rng=np.random.default_rng(seed))
    sizes = [len(batch) for batch in cut]
    assert len(cut) == -(-len(lengths) // batch_size)
    assert max(sizes) - min(sizes) <= 1


def test_same_generator_state_gives_the_same_batches_and_the_next_epoch_others():
    lengths = np.random.default_rng(1).integers(100, 500, 200)
    one, two = np.random.default_rng(7), np.random.default_rng(7)
    first = [b.tolist() for b in batches(lengths, batch_size=16, rng=one)]
    again = [b.tolist() for b in batches(lengths, batch_size=16, rng=two)]
    after = [b.tolist() for b in batches(lengths, batch_size=16, rng=one)]
    assert first == again
    assert first != after
    assert {frozenset(b) for b in first} != {frozenset(b) for b in after}


def test_evaluation_order_needs_no_generator_and_pads_least():
    lengths = np.array([3, 9, 4, 8, 5, 7])
    cut = batches(lengths, batch_size=2)
    assert [lengths[b].tolist() for b in cut] == [[9, 8], [7, 5], [4, 3]]
    assert padded_share(lengths, cut) == pytest.approx(4 / 40)


def test_padded_share_is_below_eight_percent_on_lengths_like_ravdess():
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.normal(368, 34, 960), 294, 527).astype(np.int64)
    assert padded_share(lengths, np.array_split(rng.permutation(960), 30)) > 0.15
    for _ in range(5):
        assert padded_share(lengths, batches(lengths, batch_size=32, rng=rng)) < 0.08


@pytest.mark.skipif("SERPLATFORM_RAVDESS" not in os.environ, reason="SERPLATFORM_RAVDESS not set")
def test_padded_share_is_below_eight_percent_on_ravdess():
    import soundfile

    root = Path(os.environ["SERPLATFORM_RAVDESS"])
    index = root / "index.csv"
    if index.is_file():
        with index.open(encoding="utf-8") as stream:
            seconds = [float(row["duration_s"]) for row in csv.DictReader(stream)]
    else:
        seconds = [soundfile.info(str(path)).duration for path in root.rglob("03-01-*.wav")]
    lengths = (np.array(seconds) / 0.01).astype(np.int64)
    cut = batches(lengths, batch_size=32, rng=np.random.default_rng(0))
    assert padded_share(lengths, cut) < 0.08


def test_no_utterance_makes_no_batch():
    assert batches(np.zeros(0, np.int64), batch_size=4) == []
    assert padded_share(np.zeros(0, np.int64), []) == 0.0


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"batch_size": None}, "give batch_size, frames_per_batch or both"),
        ({"batch_size": 0}, "batch_size = 0: must be at least 1"),
        ({"frames_per_batch": 0}, "frames_per_batch = 0"),
    ],
)
def test_limits_are_checked(limits, message):
    with pytest.raises(ValueError, match=message):
        batches(np.array([1, 2]), **limits)
