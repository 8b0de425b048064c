"""openSMILE's functionals, one vector an utterance: ComParE 2016 and eGeMAPS v02.

They need the package ``opensmile`` (``pip install 'serplatform[opensmile]'``), whose licence
allows research and not products; it is not installed with the platform.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np

from serplatform.errors import BadInputError
from serplatform.features.base import (
    FEATURES,
    SAMPLING_RATE,
    WHOLE_UTTERANCE,
    FeatureExtractor,
    FloatArray,
)

#: largest value that is kept; what is larger or not finite says nothing a model could use
LIMIT = 1e9
#: shortest audio that openSMILE sums up, in seconds; shorter clips are padded with silence
SHORTEST = 0.5


class OpenSmileFunctionals(FeatureExtractor):
    """Functionals of low-level descriptors over the whole utterance, by openSMILE.

    Eyben, Wöllmer and Schuller, "openSMILE: the Munich Versatile and Fast Open-Source Audio
    Feature Extractor", ACM Multimedia 2010. A value that is not finite becomes 0.

    Shapes: S samples, T = 1 frame, D functionals.

    Args:
        name: of the preset.
        feature_set: its name in ``opensmile.FeatureSet``.
        dim: D.

    Raises:
        BadInputError: at the first use, where ``opensmile`` is not installed.
    """

    unit: ClassVar[str] = "openSMILE functionals, each in its own unit"

    def __init__(self, name: str, feature_set: str, dim: int) -> None:
        self.name = name
        self.feature_set = feature_set
        self.dim = dim
        self.frame_shift = WHOLE_UTTERANCE
        self.frame_length = WHOLE_UTTERANCE

    def extract(self, samples: FloatArray) -> FloatArray:
        """(S,) samples to (1, D) functionals; see the base class."""
        shortest = round(SHORTEST * SAMPLING_RATE)
        if len(samples) < shortest:
            samples = np.pad(samples, (0, shortest - len(samples)))
        values = smile(self.feature_set, "Functionals")(samples, SAMPLING_RATE).reshape(1, -1)
        values = np.nan_to_num(values, nan=0.0, posinf=LIMIT, neginf=-LIMIT)
        return np.clip(values, -LIMIT, LIMIT).astype(np.float32)

    def spec(self) -> dict[str, Any]:
        """Everything that determines the values."""
        return {
            "kind": "opensmile_functionals",
            "sampling_rate": SAMPLING_RATE,
            "feature_set": self.feature_set,
            "opensmile": opensmile_version(),
            "short_clip_padded_to_seconds": SHORTEST,
        }


@functools.cache
def smile(feature_set: str, level: str) -> Any:
    """A started openSMILE, once a process.

    Args:
        feature_set: its name in ``opensmile.FeatureSet``.
        level: its name in ``opensmile.FeatureLevel``.

    Raises:
        BadInputError: the package is not installed.
    """
    package = _package()
    return package.Smile(
        feature_set=package.FeatureSet[feature_set],
        feature_level=package.FeatureLevel[level],
        num_workers=1,
    )


def opensmile_version() -> str:
    """Version of the package.

    Raises:
        BadInputError: it is not installed.
    """
    return str(_package().__version__)


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
