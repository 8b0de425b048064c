"""Features against librosa, and how they behave on silence, short clips and gains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft

from serplatform.arrays import FloatArray
from serplatform.errors import BadInputError
from serplatform.features.base import FEATURES
from serplatform.features.clip import Clip, num_frames, power_spectrum
from serplatform.features.mel import MelConfig, mel_filters
from serplatform.features.mfcc import MfccConfig

PRESETS = ("log_mel_23", "log_mel_40", "mfcc_40", "mfcc_40_hamming", "mfcc_40_window")


@pytest.fixture(scope="module")
def samples() -> FloatArray:
    """2.5 s of a gliding tone in noise, with digital zeros at its start."""
    rng = np.random.default_rng(0)
    time = np.arange(40_000) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * (150 + 900 * time) * time)
    signal = tone + 0.003 * rng.standard_normal(len(time))
    signal[:3_000] = 0.0
    return signal.astype(np.float32)


def librosa_mel(samples: FloatArray, n_mels: int, window: str = "hann") -> npt.NDArray[np.float64]:
    """librosa centres a 400-sample window within 512 samples: pad by (512 - 400) / 2."""
    librosa = pytest.importorskip("librosa")
    mel = librosa.feature.melspectrogram(
        y=np.pad(samples, 56).astype(np.float64),
        sr=16_000,
        n_fft=512,
        win_length=400,
        hop_length=160,
        window=window,
        center=False,
        n_mels=n_mels,
    )
    return mel.T.astype(np.float64)


def hertz_of_mel(mel: float) -> float:
    """Slaney's scale: 200/3 Hz a mel up to 1 kHz, then 27 equal steps to a factor of 6.4."""
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


@pytest.mark.parametrize("n_mels", [1, 23, 40, 64, 128])
def test_mel_filters_are_slaneys_triangles(n_mels: int) -> None:
    low, high = 15 * 20.0 / 1000, 15 + 27 * np.log(7.6) / np.log(6.4)  # 20 and 7600 Hz
    edges = [hertz_of_mel(low + (high - low) * i / (n_mels + 1)) for i in range(n_mels + 2)]
    expected = np.zeros((257, n_mels))
    for k in range(257):
        for m in range(n_mels):
            left, centre, right = edges[m : m + 3]
            f = 16_000 * k / 512
            height = min((f - left) / (centre - left), (right - f) / (right - centre))
            expected[k, m] = max(0.0, height) * 2 / (right - left)
    filters = mel_filters(n_fft=512, n_mels=n_mels, fmin=20.0, fmax=7600.0)
    assert filters.flags.writeable is False
    np.testing.assert_allclose(filters, expected, atol=1e-8)  # float32 rounding


@pytest.mark.parametrize(("fmin", "fmax"), [(0.0, 8000.0), (20.0, 7600.0), (1000.0, 4000.0)])
def test_mel_filters_are_librosas_byte_for_byte(fmin: float, fmax: float) -> None:
    from librosa.filters import mel

    for n_fft, n_mels in ((512, 23), (512, 40), (1024, 64)):
        theirs = mel(sr=16_000, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
        ours = mel_filters(n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
        assert ours.T.tobytes() == theirs.tobytes()


def test_filters_of_the_presets_all_contain_a_frequency_bin() -> None:
    for n_mels in (23, 40, 64):
        assert (mel_filters(n_fft=512, n_mels=n_mels, fmin=0.0, fmax=8000.0).sum(axis=0) > 0).all()


@pytest.mark.parametrize("n_mels", [23, 40])
def test_log_mel_is_librosas(samples: FloatArray, n_mels: int) -> None:
    expected = np.log(np.maximum(librosa_mel(samples, n_mels), 1e-10))
    frames = FEATURES.get(f"log_mel_{n_mels}")().extract(samples)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, expected, atol=2e-3)  # float32 transform against float64


@pytest.mark.parametrize(("name", "window"), [("mfcc_40", "hann"), ("mfcc_40_hamming", "hamming")])
def test_mfcc_is_librosas(samples: FloatArray, name: str, window: str) -> None:
    librosa = pytest.importorskip("librosa")
    mel = librosa_mel(samples, 64, window)
    level_db = librosa.power_to_db(mel.T, ref=1.0, amin=1e-10, top_db=None)
    expected = librosa.feature.mfcc(S=level_db, n_mfcc=40).T
    frames = FEATURES.get(name)().extract(samples)
    np.testing.assert_allclose(frames, expected, atol=2e-2)  # decibels


def test_windows_of_one_clip_are_kept_apart(samples: FloatArray) -> None:
    clip = Clip(samples)
    for name in ("mfcc_40", "mfcc_40_hamming", "mfcc_40"):
        feature = FEATURES.get(name)()
        np.testing.assert_array_equal(feature.extract_clip(clip), feature.extract(samples))


def test_power_spectrum_is_the_transform_written_out(samples: FloatArray) -> None:
    power = power_spectrum(samples[4_000:5_000], n_fft=512, win_length=400, hop_length=160)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    time = np.arange(400)
    assert power.shape == (4, 257)
    for frame, bin_ in [(0, 0), (1, 7), (3, 40), (2, 256)]:
        piece = samples[4_000 + frame * 160 :][:400].astype(np.float64) * window
        value = abs((piece * np.exp(-2j * np.pi * bin_ * time / 512)).sum()) ** 2
        assert power[frame, bin_] == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_long_clip_in_blocks_equals_its_parts() -> None:
    noise = np.random.default_rng(1).standard_normal(160 * 2_500).astype(np.float32)
    whole = power_spectrum(noise, n_fft=512, win_length=400, hop_length=160)
    late = power_spectrum(noise[160 * 2_040 :], n_fft=512, win_length=400, hop_length=160)
    np.testing.assert_allclose(whole[2_040:], late, rtol=1e-5, atol=1e-5)


def test_window_means_are_the_means_of_the_frames_within(samples: FloatArray) -> None:
    long = np.concatenate([samples, samples])  # 5 s: windows at 0, 1, 2 and 3 s
    frames = FEATURES.get("mfcc_40")().extract(long).astype(np.float64)
    windows = FEATURES.get("mfcc_40_window")().extract(long)
    assert windows.shape == (4, 40)
    for window in range(4):
        inside = [
            t
            for t in range(len(frames))
            if 100 * window <= t and t * 160 + 400 <= 16_000 * (window + 2)
        ]
        np.testing.assert_allclose(
            windows[window], frames[inside].mean(axis=0), rtol=1e-4, atol=1e-3
        )


@pytest.mark.parametrize(
    ("seconds", "windows"), [(0.03, 1), (1.99, 1), (2.0, 1), (2.99, 1), (3.0, 2), (3.999, 2)]
)
def test_partial_windows_are_ignored_and_no_clip_is_lost(seconds: float, windows: int) -> None:
    clip = np.ones(round(seconds * 16_000), dtype=np.float32)
    assert len(FEATURES.get("mfcc_40_window")().extract(clip)) == windows


def test_short_clip_gives_the_mean_of_its_frames(samples: FloatArray) -> None:
    short = samples[3_000:20_000]
    frames = FEATURES.get("mfcc_40")().extract(short)
    window = FEATURES.get("mfcc_40_window")().extract(short)
    np.testing.assert_allclose(window[0], frames.mean(axis=0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", PRESETS)
def test_digital_silence_is_finite_and_at_the_floor(name: str) -> None:
    frames = FEATURES.get(name)().extract(np.zeros(8_000, dtype=np.float32))
    if name.startswith("log_mel"):
        np.testing.assert_allclose(frames, np.log(1e-10), rtol=1e-6)
    else:
        np.testing.assert_allclose(frames[:, 0], -100 * np.sqrt(64), rtol=1e-5)
        np.testing.assert_allclose(frames[:, 1:], 0.0, atol=1e-3)


@pytest.mark.parametrize("name", PRESETS)
def test_clip_shorter_than_a_window_gives_one_frame(name: str) -> None:
    frames = FEATURES.get(name)().extract(np.full(3, 0.5, dtype=np.float32))
    assert frames.shape == (1, FEATURES.get(name)().dim)
    assert np.isfinite(frames).all()


@pytest.mark.parametrize("name", PRESETS)
def test_sharing_a_clip_changes_nothing(name: str, samples: FloatArray) -> None:
    clip = Clip(samples)
    for other in PRESETS:
        FEATURES.get(other)().extract_clip(clip)
    shared = FEATURES.get(name)().extract_clip(clip)
    np.testing.assert_array_equal(shared, FEATURES.get(name)().extract(samples))


@pytest.mark.parametrize("name", PRESETS)
def test_gain_adds_its_offset(name: str, samples: FloatArray) -> None:
    extractor = FEATURES.get(name)()
    loud = samples[4_000:]  # above the floor
    louder = extractor.extract((loud * 10 ** (6 / 20)).astype(np.float32))
    np.testing.assert_allclose(
        louder, extractor.extract(loud) + extractor.gain_offset(6.0), atol=5e-2
    )


@pytest.mark.parametrize("name", PRESETS)
def test_extractor_says_what_it_is(name: str) -> None:
    extractor = FEATURES.get(name)()
    assert extractor.name == name
    assert extractor.spec()["sampling_rate"] == 16_000
    assert extractor.spec()["floor"] == 1e-10
    expected = (1.0, 2.0) if name == "mfcc_40_window" else (0.01, 0.025)
    assert (extractor.frame_shift, extractor.frame_length) == expected


def test_dct_is_orthonormal() -> None:
    matrix = scipy.fft.dct(np.eye(64), type=2, axis=1, norm="ortho")
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(64), atol=1e-12)


def test_num_frames_counts_whole_windows() -> None:
    assert [num_frames(n, win_length=400, hop_length=160) for n in (0, 399, 400, 559, 560)] == [
        1, 1, 1, 1, 2,
    ]  # fmt: skip


def test_unknown_feature_is_named_with_the_nearest() -> None:
    with pytest.raises(BadInputError, match="Did you mean 'log_mel_23'"):
        FEATURES.get("log_mel23")


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="n_mfcc = 40 must not exceed n_mels = 20"):
        MfccConfig(n_mels=20)
    assert MelConfig().floor == 1e-10
