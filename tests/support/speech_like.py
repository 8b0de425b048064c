"""Noise and pulses shaped like speech: syllables, formants that move, a pitch that moves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline


def speech_like(
    seconds: float, *, seed: int, take: int = 0, rate: int = 16_000
) -> npt.NDArray[np.float32]:
    """A voice that says nothing: harmonics under moving formants, four syllables a second.

    Args:
        seconds: of sound.
        seed: decides syllables and formants.
        take: decides the pitch, and the breath, of this repetition.
        rate: in hertz.

    Returns:
        (S,), with a peak of 0.3.
    """
    words, breath = np.random.default_rng(seed), np.random.default_rng([seed, take])
    count = round(seconds * rate)
    time = np.arange(count) / rate
    knots = np.linspace(0.0, seconds, max(4, round(8 * seconds)))

    def course(rng: np.random.Generator, low: float, high: float) -> npt.NDArray[np.float64]:
        values = CubicSpline(knots, rng.uniform(low, high, len(knots)))(time)
        return np.clip(values, low, high)

    loudness = course(words, 0.02, 1.0) ** 2
    formants = [course(words, low, high) for low, high in ((300, 800), (900, 2200), (2300, 3200))]
    pitch = course(breath, 90.0, 240.0)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = 0.02 * breath.standard_normal(count)
    for harmonic in range(1, 40):
        frequency = harmonic * pitch
        gain = sum(np.exp(-0.5 * ((frequency - f) / 120.0) ** 2) for f in formants)
        sound += (gain + 0.01) * np.cos(harmonic * phase)
    sound *= loudness
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)
