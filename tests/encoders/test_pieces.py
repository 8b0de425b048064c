"""Long clips in overlapping pieces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from serplatform.encoders.open import open_encoder
from serplatform.encoders.pieces import in_pieces, overlap_of
from tests.support.tiny_encoders import HOP, tiny_hubert, tiny_onnx, tiny_whisper

LENGTH, STEP = 60, 2


def numbered(piece):
    """Frame by frame: the first sample in it, and the distance to the nearer edge in frames."""
    frames = piece.reshape(-1, STEP)[:, 0]
    distance = np.minimum(np.arange(len(frames)), np.arange(len(frames))[::-1])
    return {4: np.stack([frames, distance], axis=1)}


@pytest.mark.parametrize("num_samples", [2, 60, 62, 110, 112, 240, 502, 1000])
def test_each_frame_is_taken_once_from_where_it_is_farthest_from_an_edge(num_samples):
    pieces = []

    def encode(piece):
        pieces.append((piece[0] // STEP, len(piece) // STEP))
        return numbered(piece)

    samples = np.arange(num_samples, dtype=np.float32)
    found = in_pieces(samples, encode, hop=STEP, length=LENGTH)[4]
    np.testing.assert_array_equal(found[:, 0], samples[::STEP])
    best = [
        max(min(t - a, a + n - 1 - t) for a, n in pieces if a <= t < a + n)
        for t in range(num_samples // STEP)
    ]
    assert np.abs(found[:, 1] - best).max() <= 1  # the middle between two frames
    assert all(n <= LENGTH // STEP for _, n in pieces)
    overlaps = [a + n - b for (a, n), (b, _) in itertools.pairwise(pieces)]
    assert all(overlap >= overlap_of(LENGTH, STEP) // STEP - 1 for overlap in overlaps)


@pytest.mark.parametrize("tiny", [tiny_whisper, tiny_hubert, tiny_onnx])
@pytest.mark.parametrize("extra", [0, 1, HOP - 1, HOP, 5000])
def test_pieces_give_as_many_frames_as_one_pass(tiny, extra, tmp_path, monkeypatch):
    encoder = open_encoder(str(tiny(tmp_path / "model.onnx")))
    samples = np.random.default_rng(3).normal(0, 0.1, 48_000 + extra).astype(np.float32)
    whole = encoder.hidden_states(samples, [1])[1]
    monkeypatch.setattr(encoder, "piece", 50 * HOP)
    assert encoder.hidden_states(samples, [1])[1].shape == whole.shape


def test_frames_of_pieces_are_near_those_of_one_pass(tmp_path, monkeypatch):
    """A convolution sees nothing beyond its window: it gives the same wherever it is cut."""
    encoder = open_encoder(str(tiny_onnx(tmp_path / "model.onnx")))
    samples = np.random.default_rng(3).normal(0, 0.1, 50_123).astype(np.float32)
    whole = encoder.hidden_states(samples, [0, 1])
    monkeypatch.setattr(encoder, "piece", 50 * HOP)
    pieces = encoder.hidden_states(samples, [0, 1])
    for layer in whole:
        np.testing.assert_allclose(pieces[layer], whole[layer], atol=1e-5)


def test_pieces_of_a_transformer_are_nearer_than_another_clip(tmp_path, monkeypatch):
    encoder = open_encoder(str(tiny_hubert(tmp_path / "model", feat_extract_norm="layer")))
    rng = np.random.default_rng(3)
    samples, other = rng.normal(0, 0.1, (2, 48_000)).astype(np.float32)
    whole, unlike = (encoder.hidden_states(s, [2])[2] for s in (samples, other))
    monkeypatch.setattr(encoder, "piece", 50 * HOP)
    cut = encoder.hidden_states(samples, [2])[2]
    assert np.abs(cut - whole).mean() < 0.1 * np.abs(unlike - whole).mean()
    assert encoder.spec()["pieces"] == {"samples": 50 * HOP, "overlap": 8 * HOP}


def test_whisper_takes_clips_beyond_its_positions(tmp_path):
    encoder = open_encoder(str(tiny_whisper(tmp_path / "model", max_positions=40)))
    samples = np.random.default_rng(3).normal(0, 0.1, 3 * 16_000).astype(np.float32)
    assert encoder.piece == 40 * HOP
    assert encoder.hidden_states(samples, [2])[2].shape[0] == 150
    assert open_encoder(str(tiny_whisper(tmp_path / "usual"))).piece == 30 * 16_000
