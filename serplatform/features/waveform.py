"""The samples themselves, for models that begin with a speech encoder of their own."""

from __future__ import annotations

from typing import ClassVar

from serplatform.arrays import FloatArray
from serplatform.features.base import FEATURES, SAMPLING_RATE, FeatureExtractor


@FEATURES.register("waveform")
class Waveform(FeatureExtractor):
    """A frame is a sample: (S, 1), exactly as it was read.

    Samples are stored as float32, 64 kB a second: float16 would round 16-bit audio at every level
    above 1/16 of full scale.

    Example:
        >>> import numpy as np
        >>> Waveform().extract(np.array([0.5, -0.25], dtype=np.float32)).tolist()
        [[0.5], [-0.25]]
    """

    dim = 1
    frame_shift = 1.0 / SAMPLING_RATE
    frame_length = 1.0 / SAMPLING_RATE
    unit: ClassVar[str] = "sample (full scale 1)"

    def extract(self, samples: FloatArray) -> FloatArray:
        return samples.reshape(-1, 1).copy()

    def spec(self) -> dict[str, object]:
        return {"kind": "waveform", "sampling_rate": SAMPLING_RATE}
