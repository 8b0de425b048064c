"""Log mel spectra: 23, 40 and 64 bands, 25 ms windows every 10 ms."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.features.base import FEATURES
from serplatform.features.clip import Clip
from serplatform.features.mel import MelConfig, MelFeature


class LogMel(MelFeature):
    """Natural logarithm of mel powers: ``log(max(power, floor))``; D = n_mels.

    Full scale is 1: a sine of amplitude 1 reaches about 5.8.

    Example:
        >>> log_mel_23().extract(np.zeros(16_000, dtype=np.float32))[0, :2].round(2)
        array([-23.03, -23.03], dtype=float32)
    """

    unit: ClassVar[str] = "natural log of mel power (full scale 1)"

    def __init__(self, name: str, config: MelConfig) -> None:
        super().__init__(name, config, config.n_mels)

    def extract_clip(self, clip: Clip) -> FloatArray:
        mel = self.mel_powers(clip)
        return np.log(mel, out=mel)

    def spec(self) -> dict[str, object]:
        return {"kind": "log_mel", **super().spec(), "log": "natural"}

    def gain_offset(self, gain_db: float) -> FloatArray:
        """A gain adds the same to each band; the floor is not taken into account."""
        return np.full(self.dim, gain_db * np.log(10.0) / 10.0, dtype=np.float32)


@FEATURES.register("log_mel_23", default=True)
def log_mel_23() -> LogMel:
    """23 bands: the input of BLSTMATT, CSA and MOMA."""
    return LogMel("log_mel_23", MelConfig(n_mels=23))


@FEATURES.register("log_mel_40", default=True)
def log_mel_40() -> LogMel:
    """40 bands: the input of FG-CME."""
    return LogMel("log_mel_40", MelConfig(n_mels=40))


@FEATURES.register("log_mel_64")
def log_mel_64() -> LogMel:
    """64 bands: a finer view for convolutional systems."""
    return LogMel("log_mel_64", MelConfig(n_mels=64))
