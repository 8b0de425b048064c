"""The protocol of CREMA-D: five blocks of consecutive actors."""

from __future__ import annotations

from typing import ClassVar

from serplatform.protocols.base import PROTOCOLS
from serplatform.protocols.generic import SelectionScheme, fixed_speaker_tests, with_dev_speakers
from serplatform.protocols.selection import Parts, Selection

#: actor to fold: 1001 to 1018, 1019 to 1036, …, 1073 to 1091
_FOLD_OF = {actor: min((actor - 1001) // 18, 4) for actor in range(1001, 1092)}


@PROTOCOLS.register("cremad-speaker-5fold")
class CremadSpeaker5Fold(SelectionScheme):
    """Five blocks of actors test; a fifth of the other actors is dev, balanced by gender."""

    description: ClassVar[str] = "CREMA-D, five blocks of consecutive actors"
    speaker_independent: ClassVar[bool] = True
    example_speakers: ClassVar[tuple[str, ...]] = tuple(f"{a}" for a in range(1001, 1092, 6))

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        known = "CREMA-D's actors 1001 to 1091"
        return with_dev_speakers(selection, fixed_speaker_tests(selection, _FOLD_OF, known, notes))
