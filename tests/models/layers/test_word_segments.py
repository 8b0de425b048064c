"""Frames of words: where they lie, how they are pooled, and how words are grouped."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serplatform.models.base import InputSpec
from serplatform.models.can import WordSegmentEncoder, group_bounds
from serplatform.models.layers.words import WordSegments, batch_words, pool_words
from tests.support.odd_words import ODD_FRAMES, ODD_LENGTHS, odd_words_batch
from tests.support.plain_loops import array, bilstm

SPEC = InputSpec(feature_dim=3, num_classes=4, vocabulary_size=9)


@pytest.fixture
def batch():
    return odd_words_batch(SPEC)


@pytest.fixture
def segments(batch):
    return WordSegments.of(batch_words(batch), batch.lengths, batch.frames.shape[1])


def test_every_word_has_frames_of_its_own_utterance(batch, segments):
    longest, most = batch.frames.shape[1], batch.word_ids.shape[1]
    found = zip(
        segments.place.tolist(), segments.start.tolist(), segments.length.tolist(), strict=True
    )
    expected = [
        (row * most + place, row * longest + first, last - first)
        for row, frames in enumerate(ODD_FRAMES)
        for place, (first, last) in enumerate(frames)
    ]
    assert list(found) == expected
    for (_, start, length), row in zip(
        expected, [row for row, frames in enumerate(ODD_FRAMES) for _ in frames], strict=True
    ):
        assert start + length <= row * longest + ODD_LENGTHS[row]


def test_frames_of_words_lie_one_behind_the_other(batch, segments):
    pieces = [
        batch.frames[row, first:last]
        for row, frames in enumerate(ODD_FRAMES)
        for first, last in frames
    ]
    assert torch.equal(segments.frames(batch.frames), torch.cat(pieces))


def test_vectors_come_back_to_their_words(segments):
    vectors = torch.arange(1.0, 11.0).unsqueeze(1)
    spread = segments.spread(vectors).squeeze(2)
    assert spread.tolist() == [
        [1.0, 2.0, 3.0, 4.0],
        [5.0, 0.0, 0.0, 0.0],
        [6.0, 0.0, 0.0, 0.0],
        [7.0, 8.0, 0.0, 0.0],
        [9.0, 10.0, 0.0, 0.0],
    ]


def test_maximum_of_negative_frames_is_negative(batch, segments):
    """Frames of other words do not count as zeros."""
    negative = -1.0 - batch.frames.abs()
    pooled = pool_words(negative, segments, "max")
    words = batch_words(batch)
    assert (pooled[words.valid] <= -1.0).all()
    assert not pooled[~words.valid].any()


def test_gradient_of_pooling_reaches_the_frames_of_words_only(batch, segments):
    frames = batch.frames.requires_grad_()
    pool_words(frames, segments, "mean_max").sum().backward()
    reached = frames.grad.abs().sum(dim=2) > 0
    expected = torch.zeros_like(reached)
    for row, words in enumerate(ODD_FRAMES):
        for first, last in words:
            expected[row, first:last] = True
    assert torch.equal(reached, expected)


def test_encoder_equals_plain_loops_whatever_the_groups(batch, segments):
    torch.manual_seed(0)
    encoder = WordSegmentEncoder(input_dim=3, hidden_dim=4).double()
    encoded = encoder(batch.frames, segments)
    for row, frames in enumerate(ODD_FRAMES):
        for place, (first, last) in enumerate(frames):
            outputs = bilstm(array(batch.frames[row, first:last]), encoder.encoder.lstm)
            np.testing.assert_allclose(array(encoded[row, place]), outputs.mean(axis=0), atol=1e-12)
        assert not encoded[row, len(frames) :].any()


@given(st.lists(st.integers(1, 700), min_size=1, max_size=80))
def test_less_than_half_of_what_is_encoded_is_padding(lengths):
    lengths = sorted(lengths, reverse=True)
    bounds = group_bounds(lengths)
    assert bounds[0] == 0
    assert bounds[-1] == len(lengths)
    assert bounds == sorted(set(bounds))
    assert len(bounds) - 1 <= 10, "no more groups than doublings of a length"
    padded = sum(lengths[a] * (b - a) for a, b in itertools.pairwise(bounds))
    assert padded < 2 * sum(lengths)
