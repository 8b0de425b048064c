"""openSMILE's feature sets ComParE 2016 and eGeMAPS v02: functionals and descriptors.

The package ``opensmile`` (``pip install 'serplatform[opensmile]'``) has a licence that allows
research and not products; it is not installed with the platform.

Shapes: S samples, T frames (1 of functionals), D values.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.errors import BadInputError
from serplatform.features.base import FEATURES, SAMPLING_RATE, WHOLE_UTTERANCE, FeatureExtractor

#: largest value that is kept; what is larger or not finite says nothing a model could use
LIMIT = 1e9


class OpenSmile(FeatureExtractor):
    """One of openSMILE's feature sets on one of its levels; a value that is not finite becomes 0.

    Eyben, Wöllmer and Schuller, "openSMILE: the Munich Versatile and Fast Open-Source Audio
    Feature Extractor", ACM Multimedia 2010. The first use raises a BadInputError where the package
    ``opensmile`` is not installed. ``level`` is a name of ``opensmile.FeatureLevel``, ``shortest``
    the seconds that openSMILE needs: shorter clips are padded with silence.
    """

    level: ClassVar[str]
    kind: ClassVar[str]
    shortest: ClassVar[float]

    def __init__(self, name: str, feature_set: str, dim: int) -> None:
        self.name = name
        self.feature_set = feature_set
        self.dim = dim

    def extract(self, samples: FloatArray) -> FloatArray:
        shortest = round(self.shortest * SAMPLING_RATE)
        if len(samples) < shortest:
            samples = np.pad(samples, (0, shortest - len(samples)))
        values = smile(self.feature_set, self.level)(samples, SAMPLING_RATE)
        values = values.reshape(self.dim, -1).T  # openSMILE has (1, D, T)
        values = np.nan_to_num(values, nan=0.0, posinf=LIMIT, neginf=-LIMIT)
        return np.ascontiguousarray(np.clip(values, -LIMIT, LIMIT), dtype=np.float32)

    def spec(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "sampling_rate": SAMPLING_RATE,
            "feature_set": self.feature_set,
            "opensmile": str(_package().__version__),
            "short_clip_padded_to_seconds": self.shortest,
        }


class OpenSmileFunctionals(OpenSmile):
    """Functionals of low-level descriptors over the whole utterance: one vector."""

    unit: ClassVar[str] = "openSMILE functionals, each in its own unit"
    level: ClassVar[str] = "Functionals"
    kind: ClassVar[str] = "opensmile_functionals"
    shortest: ClassVar[float] = 0.5
    frame_shift = WHOLE_UTTERANCE
    frame_length = WHOLE_UTTERANCE


class OpenSmileDescriptors(OpenSmile):
    """Descriptors every 10 ms, smoothed over three frames; those of voice are 0 without voice.

    Pitch, voicing, jitter, shimmer, loudness and spectral shape.
    """

    unit: ClassVar[str] = "openSMILE descriptors, each in its own unit"
    level: ClassVar[str] = "LowLevelDescriptors"
    kind: ClassVar[str] = "opensmile_descriptors"
    #: of the longest window, that of pitch, there must be one
    shortest: ClassVar[float] = 0.1
    frame_shift = 0.01
    frame_length = 0.06


@functools.cache
def smile(feature_set: str, level: str) -> Any:
    """A started openSMILE, once a process, by names of its ``FeatureSet`` and ``FeatureLevel``."""
    package = _package()
    return package.Smile(
        feature_set=package.FeatureSet[feature_set],
        feature_level=package.FeatureLevel[level],
        num_workers=1,
    )


def _package() -> Any:
    try:
        import opensmile
    except ImportError:
        raise BadInputError(
            "features compare_2016… and egemaps_v02… need the package opensmile, which is not "
            "installed (its licence allows research only); pip install 'serplatform[opensmile]'"
        ) from None
    return opensmile


@FEATURES.register("compare_2016")
def compare_2016() -> OpenSmileFunctionals:
    """ComParE 2016: 6,373 functionals of 65 descriptors and their deltas."""
    return OpenSmileFunctionals("compare_2016", "ComParE_2016", 6373)


@FEATURES.register("egemaps_v02")
def egemaps_v02() -> OpenSmileFunctionals:
    """eGeMAPS v02: 88 functionals of 25 descriptors."""
    return OpenSmileFunctionals("egemaps_v02", "eGeMAPSv02", 88)


@FEATURES.register("compare_2016_lld")
def compare_2016_lld() -> OpenSmileDescriptors:
    """ComParE 2016: 65 descriptors every 10 ms, without their deltas."""
    return OpenSmileDescriptors("compare_2016_lld", "ComParE_2016", 65)


@FEATURES.register("egemaps_v02_lld")
def egemaps_v02_lld() -> OpenSmileDescriptors:
    """eGeMAPS v02: 25 descriptors every 10 ms."""
    return OpenSmileDescriptors("egemaps_v02_lld", "eGeMAPSv02", 25)
