"""Mel-frequency cepstral coefficients: 40, 25 ms windows every 10 ms."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import scipy.fft

from serplatform.arrays import FloatArray
from serplatform.config import setting
from serplatform.features.base import FEATURES, SAMPLING_RATE, FeatureExtractor
from serplatform.features.clip import Clip
from serplatform.features.log_mel import FLOOR
from serplatform.features.mel_filters import mel_filters


@dataclasses.dataclass(frozen=True, kw_only=True)
class MfccConfig:
    """Parameters under librosa's names; lengths in samples at 16 kHz, frequencies in hertz.

    64 bands, because librosa's 128 are narrower than the bins of a 512-point transform.
    """

    n_mfcc: int = setting(40, "number of coefficients", low=1, high=128)
    n_mels: int = setting(64, "number of bands", low=1, high=128)
    n_fft: int = setting(512, "length of the Fourier transform, in samples", low=2)
    win_length: int = setting(400, "window, in samples (25 ms)", low=2)
    hop_length: int = setting(160, "step, in samples (10 ms)", low=1)
    fmin: float = setting(0.0, "lower end of the first band, in hertz", low=0.0)
    fmax: float = setting(8000.0, "upper end of the last band, in hertz", high=SAMPLING_RATE / 2)
    floor: float = setting(FLOOR, "smallest mel power (librosa's amin)", low=0.0)

    def __post_init__(self) -> None:
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc = {self.n_mfcc} must not exceed n_mels = {self.n_mels}")


class Mfcc(FeatureExtractor):
    """Orthonormal cosine transform (type II) of mel powers in decibels.

    The values are ``librosa.feature.mfcc`` of ``librosa.power_to_db(mel, ref=1.0,
    amin=floor, top_db=None)``: decibels relative to power 1, not cut at 80 dB below the
    loudest frame, so that a frame's value does not depend on the rest of its clip.

    Shapes: S samples, T frames, D = n_mfcc.

    Args:
        name: of the preset.
        config: see :class:`MfccConfig`.

    Example:
        >>> mfcc_40().extract(np.zeros(16_000, dtype=np.float32))[0, :2].round(1)
        array([-800.,    0.], dtype=float32)
    """

    unit: ClassVar[str] = "decibels, orthonormal cosine transform (full scale 1)"

    def __init__(self, name: str, config: MfccConfig) -> None:
        self.name = name
        self.config = config
        self.dim = config.n_mfcc
        self.frame_shift = config.hop_length / SAMPLING_RATE
        self.frame_length = config.win_length / SAMPLING_RATE

    def extract(self, samples: FloatArray) -> FloatArray:
        """(S,) samples to (T, D) coefficients; see the base class."""
        return self.extract_clip(Clip(samples))

    def extract_clip(self, clip: Clip) -> FloatArray:
        """The same, sharing the power spectrum with other features of the clip."""
        return clip.shared(self.config, lambda: self._compute(clip))

    def _compute(self, clip: Clip) -> FloatArray:
        c = self.config
        power = clip.power_spectrum(n_fft=c.n_fft, win_length=c.win_length, hop_length=c.hop_length)
        mel = power @ mel_filters(n_fft=c.n_fft, n_mels=c.n_mels, fmin=c.fmin, fmax=c.fmax)
        np.maximum(mel, np.float32(c.floor), out=mel)
        level_db = np.log10(mel, out=mel)
        level_db *= np.float32(10.0)
        coefficients = scipy.fft.dct(level_db, type=2, axis=1, norm="ortho")
        return np.ascontiguousarray(coefficients[:, : c.n_mfcc])

    def spec(self) -> dict[str, Any]:
        """Everything that determines the values."""
        return {
            "kind": "mfcc",
            "sampling_rate": SAMPLING_RATE,
            **dataclasses.asdict(self.config),
            "window": "hann",
            "center": False,
            "mel_scale": "slaney",
            "norm": "slaney",
            "log": "decibel",
            "ref": 1.0,
            "top_db": None,
            "dct": "II, orthonormal",
        }

    def gain_offset(self, gain_db: float) -> FloatArray:
        """A gain moves the first coefficient only; the floor is not taken into account."""
        offset = np.zeros(self.dim, dtype=np.float32)
        offset[0] = gain_db * np.sqrt(self.config.n_mels)
        return offset


@FEATURES.register("mfcc_40", default=True)
def mfcc_40() -> Mfcc:
    """40 coefficients a frame: the input of CAN."""
    return Mfcc("mfcc_40", MfccConfig())
