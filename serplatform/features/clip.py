"""One clip's samples and what several features derive from them, computed once.

Shapes: S samples, T frames, F frequency bins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import scipy  # its parts are imported when they are used

from serplatform.arrays import FloatArray

#: frames transformed at a time, so that a long recording needs no more memory than a short one
_BLOCK_FRAMES = 2048
Window = Literal["hann", "hamming"]
#: middle between a window's ends and its centre, of 1
_MIDDLE: dict[Window, float] = {"hann": 0.5, "hamming": 0.54}


class Clip:
    """(S,) samples at ``features.base.SAMPLING_RATE``, and what features derive from them."""

    def __init__(self, samples: FloatArray) -> None:
        self.samples = np.ascontiguousarray(samples, dtype=np.float32)
        self._shared: dict[object, FloatArray] = {}
        self._played: dict[float, Clip] = {}

    def shared(self, key: object, compute: Callable[[], FloatArray]) -> FloatArray:
        """Return the array stored under ``key``, computing it on the first request."""
        if key not in self._shared:
            self._shared[key] = compute()
        return self._shared[key]

    def at_speed(self, speed: float) -> Clip:
        """The clip played ``speed`` times as fast, pitch and all; made once."""
        if speed not in self._played:
            import soxr

            played = soxr.resample(self.samples, speed, 1.0, quality="HQ")
            self._played[speed] = Clip(played)
        return self._played[speed]

    def power_spectrum(
        self, *, n_fft: int, win_length: int, hop_length: int, window: Window = "hann"
    ) -> FloatArray:
        """Squared magnitudes of the short-time Fourier transform; see :func:`power_spectrum`."""
        return self.shared(
            ("power", n_fft, win_length, hop_length, window),
            lambda: power_spectrum(
                self.samples,
                n_fft=n_fft,
                win_length=win_length,
                hop_length=hop_length,
                window=window,
            ),
        )


def num_frames(num_samples: int, *, win_length: int, hop_length: int) -> int:
    """Frames of a clip, at least 1: only whole windows count, nothing is padded or centred."""
    return 1 + max(0, num_samples - win_length) // hop_length


def power_spectrum(
    samples: FloatArray, *, n_fft: int, win_length: int, hop_length: int, window: Window = "hann"
) -> FloatArray:
    """Power of each frame and frequency, without scaling: frame t starts at t·hop_length.

    The window is periodic; frames lie wholly within the clip (librosa's ``center=False``). A clip
    shorter than one window is filled up with zeros. Lengths in samples.

    Returns:
        (T, F), float32, F = n_fft // 2 + 1.
    """
    if len(samples) < win_length:
        samples = np.pad(samples, (0, win_length - len(samples)))
    phase = 2.0 * np.pi * np.arange(win_length) / win_length
    middle = _MIDDLE[window]
    taper = (middle - (1.0 - middle) * np.cos(phase)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, win_length)[::hop_length]
    power = np.empty((len(frames), n_fft // 2 + 1), dtype=np.float32)
    for first in range(0, len(frames), _BLOCK_FRAMES):
        block = slice(first, first + _BLOCK_FRAMES)
        spectrum = scipy.fft.rfft(frames[block] * taper, n=n_fft, axis=1)
        power[block] = spectrum.real**2 + spectrum.imag**2
    return power
