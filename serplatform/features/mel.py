"""Mel powers of a clip, which log mel spectra and cepstral coefficients are made of.

Shapes: S samples, T frames, F frequency bins.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar, Literal

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.config import setting
from serplatform.features.base import SAMPLING_RATE, ClipFeature
from serplatform.features.clip import Clip

#: smallest mel power; the noise of 16-bit quantization lies at about 4e-10. Digital zeros
#: become log(1e-10) = -23.03, two to three nepers below the noise of a quiet room.
FLOOR = 1e-10


@dataclasses.dataclass(frozen=True, kw_only=True)
class MelConfig:
    """Parameters under librosa's names; lengths in samples at 16 kHz, frequencies in hertz."""

    n_mels: int = setting(23, "number of bands", low=1, high=128)
    n_fft: int = setting(512, "length of the Fourier transform, in samples", low=2)
    win_length: int = setting(400, "window, in samples (25 ms)", low=2)
    hop_length: int = setting(160, "step, in samples (10 ms)", low=1)
    window: Literal["hann", "hamming"] = setting("hann", "shape of the window, periodic")
    fmin: float = setting(0.0, "lower end of the first band, in hertz", low=0.0)
    fmax: float = setting(8000.0, "upper end of the last band, in hertz", high=SAMPLING_RATE / 2)
    floor: float = setting(FLOOR, "smallest mel power (librosa's amin)", low=0.0)


class MelFeature(ClipFeature):
    """A feature of ``dim`` values that is computed from floored mel powers, frame by frame.

    The powers are ``librosa.feature.melspectrogram(center=False, power=2.0)`` with librosa's
    default filters (Slaney's scale and normalization) and the window of the configuration.
    """

    local: ClassVar[bool] = True

    def __init__(self, name: str, config: MelConfig, dim: int) -> None:
        self.name = name
        self.config = config
        self.dim = dim
        self.frame_shift = config.hop_length / SAMPLING_RATE
        self.frame_length = config.win_length / SAMPLING_RATE

    def mel_powers(self, clip: Clip) -> FloatArray:
        """(T, n_mels), at least ``floor``; the power spectrum is shared with other features."""
        c = self.config
        power = clip.power_spectrum(
            n_fft=c.n_fft, win_length=c.win_length, hop_length=c.hop_length, window=c.window
        )
        mel = power @ mel_filters(n_fft=c.n_fft, n_mels=c.n_mels, fmin=c.fmin, fmax=c.fmax)
        return np.maximum(mel, np.float32(c.floor), out=mel)

    def spec(self) -> dict[str, object]:
        return {
            "sampling_rate": SAMPLING_RATE,
            **dataclasses.asdict(self.config),
            "center": False,
            "mel_scale": "slaney",
            "norm": "slaney",
        }


@functools.lru_cache(maxsize=16)
def mel_filters(*, n_fft: int, n_mels: int, fmin: float, fmax: float) -> FloatArray:
    """``librosa.filters.mel`` at ``SAMPLING_RATE``, transposed: filters of equal area.

    Slaney, "Auditory Toolbox", Interval Research technical report 1998-010: linear below
    1 kHz, logarithmic above. ``fmin`` and ``fmax`` in hertz. The same bytes as librosa's, whose
    import takes a second of processor time.

    Returns:
        (n_fft // 2 + 1, n_mels), float32, read-only: ``power @ filters`` are mel powers.
    """
    linear, step = 200.0 / 3, np.log(6.4) / 27.0  # hertz a mel below 1 kHz, nepers above
    knee = 1000.0 / linear
    first, last = (
        float(f / linear if f < 1000.0 else knee + np.log(f / 1000.0) / step) for f in (fmin, fmax)
    )
    mels = np.linspace(first, last, n_mels + 2)
    edges = linear * mels
    edges[mels >= knee] = 1000.0 * np.exp(step * (mels[mels >= knee] - knee))
    ramps = np.subtract.outer(edges, np.fft.rfftfreq(n_fft, 1.0 / SAMPLING_RATE))
    widths = np.diff(edges)[:, np.newaxis]
    triangles = np.minimum(-ramps[:-2] / widths[:-1], ramps[2:] / widths[1:])
    filters = np.maximum(0.0, triangles).astype(np.float32)
    filters *= (2.0 / (edges[2:] - edges[:-2]))[:, np.newaxis]
    result: FloatArray = np.ascontiguousarray(filters.T)
    result.setflags(write=False)
    return result
