"""The built-in descriptors on signals whose values are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import resample_poly

from serplatform.arrays import FloatArray
from serplatform.features.base import FEATURES, WHOLE_UTTERANCE
from serplatform.features.descriptors import (
    DELTA_FUNCTIONALS,
    FUNCTIONALS,
    OF_SPEECH,
    OF_VOICE,
    TEMPORAL,
)

RATE = 16_000
NAMES = (*OF_VOICE, *OF_SPEECH)


def seconds(length: float) -> npt.NDArray[np.float64]:
    return np.arange(round(length * RATE)) / RATE


def tone(pitch: float, length: float = 1.0, harmonics: int = 12) -> npt.NDArray[np.float64]:
    time = seconds(length)
    wave = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, harmonics + 1))
    return 0.1 * np.asarray(wave)


def noise(length: float = 1.0, level: float = 0.1) -> npt.NDArray[np.float64]:
    return level * np.random.default_rng(0).normal(size=round(length * RATE))


def pulses(periods: npt.NDArray[np.float64], heights: npt.NDArray[np.float64]) -> FloatArray:
    """Damped pulses at places between samples, low enough to be sampled faithfully."""
    starts = np.concatenate([[0.02], 0.02 + np.cumsum(periods)])[: len(heights)]
    time = seconds(float(starts[-1]) + 0.05)
    wave = np.zeros(len(time))
    for start, height in zip(starts, heights, strict=True):
        wave += height * np.exp(-0.5 * ((time - start) / 0.0004) ** 2)
    return (0.3 * wave).astype(np.float32)


def frames(wave: npt.NDArray[np.floating]) -> dict[str, FloatArray]:
    """Each descriptor's values, without the frames at the ends."""
    table = FEATURES.make("descriptors_lld").extract(np.asarray(wave, np.float32))[3:-3]
    assert np.isfinite(table).all()
    return dict(zip(NAMES, table.T, strict=True))


@pytest.mark.parametrize("pitch", [80.0, 120.0, 200.0, 317.0, 500.0])
def test_the_pitch_of_a_tone_is_found_within_one_percent(pitch: float) -> None:
    found = frames(tone(pitch, harmonics=int(4000 // pitch)))
    assert (found["f0"] > 0).all()
    assert 27.5 * 2 ** (found["f0"] / 12) == pytest.approx(pitch, rel=0.01)
    assert (found["voicing"] > 0.95).all()


def test_noise_has_no_voice() -> None:
    found = frames(noise())
    assert (found["f0"] > 0).mean() < 0.05
    assert found["voicing"].mean() < 0.4
    assert found["flatness"].mean() > frames(tone(200.0))["flatness"].mean() + 3


@pytest.mark.parametrize("ratio", [10.0, 20.0])
def test_harmonics_to_noise_are_what_was_mixed(ratio: float) -> None:
    clean = tone(200.0)
    mixed = clean + noise(level=float(clean.std()) * 10 ** (-ratio / 20))
    found = frames(mixed)["hnr"]
    assert float(np.median(found)) == pytest.approx(ratio, abs=2.0)


def test_jitter_and_shimmer_are_those_that_were_made() -> None:
    rng = np.random.default_rng(1)
    count = 150
    steady = frames(pulses(np.full(count, 0.008), np.ones(count)))
    assert float(steady["jitter"].mean()) < 0.003
    assert float(steady["shimmer"].mean()) < 0.02
    periods = 0.008 * (1 + 0.02 * rng.normal(size=count))
    jitter = float((np.abs(np.diff(periods)) / ((periods[1:] + periods[:-1]) / 2)).mean())
    found = frames(pulses(periods, np.ones(count)))["jitter"]
    assert float(found.mean()) == pytest.approx(jitter, rel=0.25)
    heights = 1 + 0.08 * rng.normal(size=count)
    shimmer = float((np.abs(np.diff(heights)) / ((heights[1:] + heights[:-1]) / 2)).mean())
    found = frames(pulses(np.full(count, 0.008), heights))["shimmer"]
    assert float(found.mean()) == pytest.approx(shimmer, rel=0.25)


def test_the_shape_of_a_spectrum_is_described() -> None:
    low, high = frames(tone(200.0, harmonics=4)), frames(tone(200.0, harmonics=35))
    for name in ("centroid", "spread", "rolloff_90", "sharpness", "band_1000"):
        assert high[name].mean() > low[name].mean(), name
    assert low["hammarberg"].mean() > high["hammarberg"].mean() > 0
    assert low["alpha_ratio"].mean() < high["alpha_ratio"].mean() < 0
    twice = frames(2 * tone(200.0))
    assert twice["level"].mean() - frames(tone(200.0))["level"].mean() == pytest.approx(
        20 * np.log10(2), abs=0.01
    )
    sine = frames(0.1 * np.sin(2 * np.pi * 1000 * seconds(1.0)))
    assert sine["centroid"].mean() == pytest.approx(1000, abs=20)
    white = frames(noise())
    assert white["rolloff_50"].mean() == pytest.approx(4000, rel=0.05)
    assert abs(float(white["slope_1000"].mean())) < 0.5


def test_functionals_are_those_of_the_frames_that_count() -> None:
    extractor = FEATURES.make("descriptors")
    assert extractor.frame_shift == WHOLE_UTTERANCE
    rising = np.sin(2 * np.pi * np.cumsum(np.linspace(150, 300, RATE)) / RATE)
    wave = np.concatenate([np.zeros(RATE // 2), 0.2 * rising, np.zeros(RATE // 2)])
    (vector,) = extractor.extract(wave.astype(np.float32))
    of_f0 = dict(zip(FUNCTIONALS, vector[:: len(OF_VOICE)][: len(FUNCTIONALS)], strict=True))
    octave = 12.0  # from 150 to 300 Hz
    assert of_f0["range_5_95"] == pytest.approx(0.9 * octave, abs=0.7)
    assert of_f0["rise"] == pytest.approx(octave, abs=1.0)
    temporal = dict(zip(TEMPORAL, vector[-len(TEMPORAL) :], strict=True))
    assert temporal["duration"] == pytest.approx(2.0, abs=0.03)
    assert temporal["speech_share"] == pytest.approx(0.5, abs=0.03)
    assert temporal["voiced_share"] > 0.95
    assert temporal["pauses_per_second"] == 0.0


def test_the_number_of_values_is_that_of_the_names() -> None:
    of_bands = (len(NAMES) + 40) * len(DELTA_FUNCTIONALS)
    assert FEATURES.make("descriptors").dim == len(NAMES) * len(FUNCTIONALS) + of_bands + 9


@pytest.mark.parametrize(
    "wave",
    [
        np.zeros(RATE),
        np.zeros(1),
        tone(200.0)[:800],
        np.sign(tone(200.0)),
        tone(200.0) + 0.5,
        noise(),
        1e-6 * noise(),
        np.concatenate([np.zeros(RATE // 2), tone(200.0)]),
        resample_poly(resample_poly(tone(200.0) + noise(level=0.01), 1, 2), 2, 1),
    ],
    ids=["silence", "sample", "50 ms", "clipped", "constant", "noise", "faint", "zeros", "phone"],
)
def test_every_clip_has_finite_values_and_always_the_same(wave: npt.NDArray[np.float64]) -> None:
    for name in ("descriptors", "descriptors_lld"):
        first, second = (FEATURES.make(name).extract(wave.astype(np.float32)) for _ in range(2))
        assert np.isfinite(first).all()
        assert first.tobytes() == second.tobytes()


def test_blocks_of_long_clips_meet_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = (tone(150.0) + noise(level=0.01)).astype(np.float32)
    whole = FEATURES.make("descriptors_lld").extract(wave)
    monkeypatch.setattr("serplatform.features.descriptors._BLOCK", 7)
    np.testing.assert_allclose(
        FEATURES.make("descriptors_lld").extract(wave), whole, rtol=1e-4, atol=1e-4
    )
