"""The protocol of CREMA-D: five blocks of consecutive actors."""

from __future__ import annotations

import re
from typing import ClassVar

import pyarrow as pa

from serplatform.errors import BadInputError
from serplatform.protocols.base import PROTOCOLS, FoldPlan, SplitScheme
from serplatform.protocols.finish import finish
from serplatform.protocols.generic import fixed_speaker_tests, refuse_argument, with_dev_speakers
from serplatform.protocols.selection import select

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
class CremadSpeaker5Fold(SplitScheme):
    """Five blocks of actors test; a fifth of the other actors is dev, balanced by gender."""

    name: ClassVar[str] = "cremad-speaker-5fold"
    description: ClassVar[str] = "CREMA-D, five blocks of consecutive actors"
    speaker_independent: ClassVar[bool] = True
    example_speakers: ClassVar[tuple[str, ...]] = tuple(f"{a}" for a in range(1001, 1092, 6))

    def plan(self, utterances: pa.Table, *, argument: str | None, seed: int) -> FoldPlan:
        refuse_argument(self.name, argument)
        selection = select(utterances, protocol=self.name)
        tests = fixed_speaker_tests(
            selection, actor_block, count=len(ACTOR_BLOCKS), protocol=self.name
        )
        notes = []
        if len(tests) < len(ACTOR_BLOCKS):
            notes.append(
                f"Only {len(tests)} of {len(ACTOR_BLOCKS)} folds: the dataset lacks the other "
                "actors."
            )
        folds = with_dev_speakers(selection, tests, protocol=self.name, seed=seed)
        return finish(
            selection,
            folds,
            protocol=self.name,
            speaker_independent=True,
            seed=seed,
            notes=notes,
        )
