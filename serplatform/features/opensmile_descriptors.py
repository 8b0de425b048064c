"""openSMILE's low-level descriptors, one vector every 10 ms: ComParE 2016 and eGeMAPS v02.

Pitch, voicing, jitter, shimmer, loudness and spectral shape beside mel bands, for models of
frames and for functionals of segments. They need ``opensmile``, as the functionals do
(:mod:`serplatform.features.opensmile_functionals`).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from serplatform.features.base import FEATURES, SAMPLING_RATE, FeatureExtractor, FloatArray
from serplatform.features.opensmile_functionals import LIMIT, opensmile_version, smile

#: shortest audio with a frame of the longest window, in seconds; shorter clips are padded
SHORTEST = 0.1


class OpenSmileDescriptors(FeatureExtractor):
    """Low-level descriptors, smoothed over three frames, by openSMILE.

    Eyben, Wöllmer and Schuller, "openSMILE: the Munich Versatile and Fast Open-Source Audio
    Feature Extractor", ACM Multimedia 2010. A value that is not finite becomes 0; descriptors
    of voice are 0 where there is none.

    Shapes: S samples, T frames, D descriptors.

    Args:
        name: of the preset.
        feature_set: its name in ``opensmile.FeatureSet``.
        dim: D.

    Raises:
        BadInputError: at the first use, where ``opensmile`` is not installed.
    """

    unit: ClassVar[str] = "openSMILE descriptors, each in its own unit"
    frame_shift = 0.01
    #: of the longest window, that of pitch
    frame_length = 0.06

    def __init__(self, name: str, feature_set: str, dim: int) -> None:
        self.name = name
        self.feature_set = feature_set
        self.dim = dim

    def extract(self, samples: FloatArray) -> FloatArray:
        """(S,) samples to (T, D) descriptors; see the base class."""
        shortest = round(SHORTEST * SAMPLING_RATE)
        if len(samples) < shortest:
            samples = np.pad(samples, (0, shortest - len(samples)))
        values = smile(self.feature_set, "LowLevelDescriptors")(samples, SAMPLING_RATE)
        values = values.reshape(self.dim, -1).T  # openSMILE has (1, D, T)
        values = np.nan_to_num(values, nan=0.0, posinf=LIMIT, neginf=-LIMIT)
        return np.ascontiguousarray(np.clip(values, -LIMIT, LIMIT), dtype=np.float32)

    def spec(self) -> dict[str, Any]:
        """Everything that determines the values."""
        return {
            "kind": "opensmile_descriptors",
            "sampling_rate": SAMPLING_RATE,
            "feature_set": self.feature_set,
            "opensmile": opensmile_version(),
            "short_clip_padded_to_seconds": SHORTEST,
        }


@FEATURES.register("compare_2016_lld")
def compare_2016_lld() -> OpenSmileDescriptors:
    """ComParE 2016: 65 descriptors every 10 ms, without their deltas."""
    return OpenSmileDescriptors("compare_2016_lld", "ComParE_2016", 65)


@FEATURES.register("egemaps_v02_lld")
def egemaps_v02_lld() -> OpenSmileDescriptors:
    """eGeMAPS v02: 25 descriptors every 10 ms."""
    return OpenSmileDescriptors("egemaps_v02_lld", "eGeMAPSv02", 25)
