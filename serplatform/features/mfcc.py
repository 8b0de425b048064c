"""Mel-frequency cepstral coefficients: 40, 25 ms windows every 10 ms."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import scipy  # its parts are imported when they are used

from serplatform.arrays import FloatArray
from serplatform.config import setting
from serplatform.features.base import FEATURES
from serplatform.features.clip import Clip
from serplatform.features.mel import MelConfig, MelFeature


@dataclasses.dataclass(frozen=True, kw_only=True)
class MfccConfig(MelConfig):
    """Parameters under librosa's names; lengths in samples at 16 kHz, frequencies in hertz.

    64 bands, because librosa's 128 are narrower than the bins of a 512-point transform.
    """

    n_mfcc: int = setting(40, "number of coefficients", low=1, high=128)
    n_mels: int = setting(64, "number of bands", low=1, high=128)

    def __post_init__(self) -> None:
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc = {self.n_mfcc} must not exceed n_mels = {self.n_mels}")


class Mfcc(MelFeature):
    """Orthonormal cosine transform (type II) of mel powers in decibels; D = n_mfcc.

    The values are ``librosa.feature.mfcc`` of ``librosa.power_to_db(mel, ref=1.0,
    amin=floor, top_db=None)``: decibels relative to power 1, not cut at 80 dB below the
    loudest frame, so that a frame's value does not depend on the rest of its clip.

    Example:
        >>> mfcc_40().extract(np.zeros(16_000, dtype=np.float32))[0, :2].round(1)
        array([-800.,    0.], dtype=float32)
    """

    unit: ClassVar[str] = "decibels, orthonormal cosine transform (full scale 1)"

    def __init__(self, name: str, config: MfccConfig) -> None:
        super().__init__(name, config, config.n_mfcc)

    def extract_clip(self, clip: Clip) -> FloatArray:
        """(T, D) coefficients, computed once a clip; see the base class."""
        return clip.shared(self.config, lambda: self._compute(clip))

    def _compute(self, clip: Clip) -> FloatArray:
        mel = self.mel_powers(clip)
        level_db = np.log10(mel, out=mel)
        level_db *= np.float32(10.0)
        coefficients = scipy.fft.dct(level_db, type=2, axis=1, norm="ortho")
        return np.ascontiguousarray(coefficients[:, : self.dim])

    def spec(self) -> dict[str, object]:
        return {
            "kind": "mfcc",
            **super().spec(),
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
    """40 coefficients per frame."""
    return Mfcc("mfcc_40", MfccConfig())


@FEATURES.register("mfcc_40_hamming")
def mfcc_40_hamming() -> Mfcc:
    """The same under a Hamming window, as CAN's section 4.2 has it."""
    return Mfcc("mfcc_40_hamming", MfccConfig(window="hamming"))
