"""The protocol of CREMA-D: five blocks of consecutive actors."""

from __future__ import annotations

import re
from typing import ClassVar

from serplatform.errors import BadInputError
from serplatform.protocols.base import PROTOCOLS
from serplatform.protocols.finish import Parts
from serplatform.protocols.generic import SelectionScheme, fixed_speaker_tests, with_dev_speakers
from serplatform.protocols.selection import Selection

#: first and last test actor of each fold
ACTOR_BLOCKS = ((1001, 1018), (1019, 1036), (1037, 1054), (1055, 1072), (1073, 1091))


def actor_block(speaker: str) -> int:
    """Fold that tests a speaker such as ``1001``.

    Raises:
        BadInputError: the name ends in no number from 1001 to 1091.

    Example:
        >>> actor_block("1018"), actor_block("1019"), actor_block("actor_1091")
        (0, 1, 4)
    """
    number = re.search(r"(\d+)$", speaker)
    for block, (first, last) in enumerate(ACTOR_BLOCKS):
        if number is not None and first <= int(number[1]) <= last:
            return block
    raise BadInputError(
        f"protocol 'cremad-speaker-5fold': speaker '{speaker}' is none of CREMA-D's actors 1001 to "
        "1091; for another corpus use 'speaker-kfold:K'"
    )


@PROTOCOLS.register("cremad-speaker-5fold")
class CremadSpeaker5Fold(SelectionScheme):
    """Five blocks of actors test; a fifth of the other actors is dev, balanced by gender."""

    name: ClassVar[str] = "cremad-speaker-5fold"
    description: ClassVar[str] = "CREMA-D, five blocks of consecutive actors"
    speaker_independent: ClassVar[bool] = True
    example_speakers: ClassVar[tuple[str, ...]] = tuple(f"{a}" for a in range(1001, 1092, 6))

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        """See the base class."""
        tests = fixed_speaker_tests(selection, actor_block, len(ACTOR_BLOCKS), notes)
        return with_dev_speakers(selection, tests)
