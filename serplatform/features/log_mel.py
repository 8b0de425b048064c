"""Log mel spectra: 23, 40 and 64 bands, 25 ms windows every 10 ms."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.config import setting
from serplatform.features.base import FEATURES, SAMPLING_RATE, FeatureExtractor
from serplatform.features.clip import Clip
from serplatform.features.mel_filters import mel_filters

#: smallest mel power; the noise of 16-bit quantization lies at about 4e-10. Digital zeros
#: become log(1e-10) = -23.03, two to three nepers below the noise of a quiet room.
FLOOR = 1e-10


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogMelConfig:
    """Parameters under librosa's names; lengths in samples at 16 kHz, frequencies in hertz."""

    n_mels: int = setting(23, "number of bands", low=1, high=128)
    n_fft: int = setting(512, "length of the Fourier transform, in samples", low=2)
    win_length: int = setting(400, "window, in samples (25 ms)", low=2)
    hop_length: int = setting(160, "step, in samples (10 ms)", low=1)
    fmin: float = setting(0.0, "lower end of the first band, in hertz", low=0.0)
    fmax: float = setting(8000.0, "upper end of the last band, in hertz", high=SAMPLING_RATE / 2)
    floor: float = setting(FLOOR, "smallest mel power", low=0.0)


class LogMel(FeatureExtractor):
    """Natural logarithm of mel powers, floored.

    The values are ``librosa.feature.melspectrogram(center=False, power=2.0)`` with librosa's
    default filters (Slaney's scale and normalization) and a Hann window, then
    ``log(max(power, floor))``. Full scale is 1: a sine of amplitude 1 reaches about 5.8.

    Shapes: S samples, T frames, D = n_mels.

    Args:
        name: of the preset.
        config: see :class:`LogMelConfig`.

    Example:
        >>> log_mel_23().extract(np.zeros(16_000, dtype=np.float32))[0, :2].round(2)
        array([-23.03, -23.03], dtype=float32)
    """

    unit: ClassVar[str] = "natural log of mel power (full scale 1)"

    def __init__(self, name: str, config: LogMelConfig) -> None:
        self.name = name
        self.config = config
        self.dim = config.n_mels
        self.frame_shift = config.hop_length / SAMPLING_RATE
        self.frame_length = config.win_length / SAMPLING_RATE

    def extract(self, samples: FloatArray) -> FloatArray:
        """(S,) samples to (T, D) log mel powers; see the base class."""
        return self.extract_clip(Clip(samples))

    def extract_clip(self, clip: Clip) -> FloatArray:
        """The same, sharing the power spectrum with other features of the clip."""
        c = self.config
        power = clip.power_spectrum(n_fft=c.n_fft, win_length=c.win_length, hop_length=c.hop_length)
        mel = power @ mel_filters(n_fft=c.n_fft, n_mels=c.n_mels, fmin=c.fmin, fmax=c.fmax)
        np.maximum(mel, np.float32(c.floor), out=mel)
        return np.log(mel, out=mel)

    def spec(self) -> dict[str, Any]:
        """Everything that determines the values."""
        return {
            "kind": "log_mel",
            "sampling_rate": SAMPLING_RATE,
            **dataclasses.asdict(self.config),
            "window": "hann",
            "center": False,
            "mel_scale": "slaney",
            "norm": "slaney",
            "log": "natural",
        }

    def gain_offset(self, gain_db: float) -> FloatArray:
        """A gain adds the same to each band; the floor is not taken into account."""
        return np.full(self.dim, gain_db * np.log(10.0) / 10.0, dtype=np.float32)


@FEATURES.register("log_mel_23", default=True)
def log_mel_23() -> LogMel:
    """23 bands: the input of BLSTMATT, CSA and MOMA."""
    return LogMel("log_mel_23", LogMelConfig(n_mels=23))


@FEATURES.register("log_mel_40", default=True)
def log_mel_40() -> LogMel:
    """40 bands: the input of FG-CME."""
    return LogMel("log_mel_40", LogMelConfig(n_mels=40))


@FEATURES.register("log_mel_64")
def log_mel_64() -> LogMel:
    """64 bands: a finer view for convolutional systems."""
    return LogMel("log_mel_64", LogMelConfig(n_mels=64))
