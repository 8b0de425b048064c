"""openSMILE's functionals, one vector an utterance: ComParE 2016 and eGeMAPS v02.

Shapes: S samples, T = 1 frame, D functionals.
"""

from __future__ import annotations

from typing import ClassVar

from serplatform.features.base import FEATURES, WHOLE_UTTERANCE
from serplatform.features.opensmile_base import OpenSmile


class OpenSmileFunctionals(OpenSmile):
    """Functionals of low-level descriptors over the whole utterance."""

    unit: ClassVar[str] = "openSMILE functionals, each in its own unit"
    level: ClassVar[str] = "Functionals"
    kind: ClassVar[str] = "opensmile_functionals"
    shortest: ClassVar[float] = 0.5
    frame_shift = WHOLE_UTTERANCE
    frame_length = WHOLE_UTTERANCE


@FEATURES.register("compare_2016")
def compare_2016() -> OpenSmileFunctionals:
    """ComParE 2016: 6,373 functionals of 65 descriptors and their deltas."""
    return OpenSmileFunctionals("compare_2016", "ComParE_2016", 6373)


@FEATURES.register("egemaps_v02")
def egemaps_v02() -> OpenSmileFunctionals:
    """eGeMAPS v02: 88 functionals of 25 descriptors."""
    return OpenSmileFunctionals("egemaps_v02", "eGeMAPSv02", 88)
