"""openSMILE's low-level descriptors, one vector every 10 ms: ComParE 2016 and eGeMAPS v02.

Pitch, voicing, jitter, shimmer, loudness and spectral shape beside mel bands, for models of
frames and for functionals of segments.

Shapes: S samples, T frames, D descriptors.
"""

from __future__ import annotations

from typing import ClassVar

from serplatform.features.base import FEATURES
from serplatform.features.opensmile_base import OpenSmile


class OpenSmileDescriptors(OpenSmile):
    """Descriptors, smoothed over three frames; those of voice are 0 where there is none."""

    unit: ClassVar[str] = "openSMILE descriptors, each in its own unit"
    level: ClassVar[str] = "LowLevelDescriptors"
    kind: ClassVar[str] = "opensmile_descriptors"
    #: of the longest window, that of pitch, there must be one
    shortest: ClassVar[float] = 0.1
    frame_shift = 0.01
    frame_length = 0.06


@FEATURES.register("compare_2016_lld")
def compare_2016_lld() -> OpenSmileDescriptors:
    """ComParE 2016: 65 descriptors every 10 ms, without their deltas."""
    return OpenSmileDescriptors("compare_2016_lld", "ComParE_2016", 65)


@FEATURES.register("egemaps_v02_lld")
def egemaps_v02_lld() -> OpenSmileDescriptors:
    """eGeMAPS v02: 25 descriptors every 10 ms."""
    return OpenSmileDescriptors("egemaps_v02_lld", "eGeMAPSv02", 25)
