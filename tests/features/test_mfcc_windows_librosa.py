"""Window means of librosa's default MFCCs."""

import warnings

import librosa
import numpy as np
import pytest

from serplatform.features.base import FEATURES

RATE = 16_000


def speech(seconds, seed=0):
    rng = np.random.default_rng(seed)
    signal = 0.1 * rng.standard_normal(round(seconds * RATE))
    signal[: RATE // 2] = 0.0  # digital silence, as RAVDESS has it
    return signal.astype(np.float32)


def test_each_window_is_the_mean_of_librosas_own_coefficients():
    signal = speech(4.6)
    found = FEATURES.get("mfcc_40_window_librosa")().extract(signal)
    expected = [
        librosa.feature.mfcc(y=signal[s * RATE : (s + 2) * RATE], sr=RATE, n_mfcc=40).mean(axis=1)
        for s in range(3)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_windows_are_those_of_the_other_preset():
    for seconds in (0.6, 2.0, 2.9, 3.0, 5.25):
        signal = speech(seconds)
        one, other = (FEATURES.get(name)() for name in ("mfcc_40_window", "mfcc_40_window_librosa"))
        assert one.extract(signal).shape == other.extract(signal).shape
        assert (one.frame_shift, one.frame_length) == (other.frame_shift, other.frame_length)


@pytest.mark.parametrize(("end", "seconds"), [("_1s", 1.0), ("_500ms", 0.5)])
def test_shorter_windows_are_those_of_a_clip_cut_there(end, seconds):
    signal, hop = speech(2.6), round(seconds / 2 * RATE)
    for name in ("mfcc_40_window", "mfcc_40_window_librosa"):
        whole, shorter = FEATURES.get(name)(), FEATURES.get(f"{name}{end}")()
        assert (shorter.frame_length, shorter.frame_shift) == (seconds, seconds / 2)
        starts = range(0, len(signal) - 2 * hop + 1, hop)
        expected = [whole.extract(signal[s : s + 2 * hop])[0] for s in starts]
        np.testing.assert_allclose(shorter.extract(signal), expected, rtol=1e-4, atol=1e-3)


def test_a_clip_shorter_than_a_transform_gives_one_window_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = FEATURES.get("mfcc_40_window_librosa")().extract(speech(0.05))
    assert found.shape == (1, 40)
    assert np.isfinite(found).all()


def test_a_gain_moves_the_first_coefficient_as_it_says():
    feature = FEATURES.get("mfcc_40_window_librosa")()
    signal = np.random.default_rng(1).standard_normal(3 * RATE).astype(np.float32) * 0.1
    moved = feature.extract(2 * signal) - feature.extract(signal)
    expected = np.tile(feature.gain_offset(20 * np.log10(2)), (2, 1))
    np.testing.assert_allclose(moved, expected, atol=1e-2)
