"""Protocols of IEMOCAP: by session, of its improvised part, and the random ones of two papers.

Under the session protocols the dev part is the session after the test session, cyclically
(one man and one woman): a training speaker's partner is never a dev speaker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from serplatform.errors import BadInputError
from serplatform.protocols.base import PROTOCOLS
from serplatform.protocols.generic import FixedRandomFolds, SelectionScheme, last_number, rotate
from serplatform.protocols.selection import Parts, Selection, column

_FOUR = {name: name for name in ("neutral", "happy", "sad", "angry")}
#: excited counts as happy: 5,531 utterances in the complete corpus
FOUR_MERGED = {**_FOUR, "excited": "happy"}
#: 7,487 utterances in the complete corpus; CAN's Section 4.1 counts 7,486
SEVEN = {name: name for name in (*_FOUR, "excited", "frustrated", "surprised")}


class _SessionScheme(SelectionScheme):
    """Whole sessions test; the session after it, cyclically, is dev."""

    speaker_independent: ClassVar[bool] = True
    label_map: ClassVar[Mapping[str, str] | None] = FOUR_MERGED
    #: keep only utterances of improvised dialogs
    improvised: ClassVar[bool] = False
    #: only this session tests
    only: ClassVar[int | None] = None

    def keep(self, utterances: pa.Table) -> list[bool] | None:
        if not self.improvised:
            return None
        return ["impro" in name for name in column(utterances, "utterance_id")]

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        sessions = np.array([last_number(session) for session in selection.sessions], np.int64)
        for number, session in zip(sessions, selection.sessions, strict=True):
            if not 1 <= number <= 5:
                raise BadInputError(
                    f"protocol '{self.name}': session '{session}' is none of IEMOCAP's sessions 1 "
                    "to 5; for another corpus use 'speaker-kfold:K'"
                )
        numbers = sorted(set(sessions.tolist()))
        if len(numbers) < 3:
            raise BadInputError(
                f"protocol '{self.name}' needs at least three sessions (train, dev, test), and the "
                f"dataset has {len(numbers)}; prepare the whole corpus"
            )
        folds = rotate(selection, [np.flatnonzero(sessions == number) for number in numbers])
        notes.append("The dev part of each fold is the session after the test session, cyclically.")
        if self.only is None:
            if len(numbers) < 5:
                notes.append(
                    f"Only {len(numbers)} of 5 folds: the dataset lacks the other sessions."
                )
            return folds
        if self.only not in numbers:
            raise BadInputError(
                f"protocol '{self.name}' tests session {self.only}, and the dataset has only "
                f"sessions {', '.join(map(str, numbers))}; prepare the whole corpus"
            )
        return [folds[numbers.index(self.only)]]


@PROTOCOLS.register("iem4-session5")
class Iem4Session5(_SessionScheme):
    """Session 5 tests, session 1 selects, 2 to 4 train.

    Jalal, Milner and Hain (2020) train on sessions 1 to 4 and name no dev part.
    """

    description: ClassVar[str] = "IEMOCAP, four classes, session 5 tests"
    only: ClassVar[int | None] = 5


@PROTOCOLS.register("iem4-session-5fold")
class Iem4Session5Fold(_SessionScheme):
    """Leave one session out, four classes, excited merged into happy.

    Likely, not proven, the folds of Li et al., "Learning Fine-Grained Cross Modality Excitement for
    Speech Emotion Recognition", 2020: their program has them, their text says five-fold.
    """

    description: ClassVar[str] = "IEMOCAP, four classes, leave one session out"


@PROTOCOLS.register("iemocap-improvised-5fold")
class IemocapImprovised5Fold(_SessionScheme):
    """Leave one session out; improvised dialogs, four classes without excited (2,280)."""

    description: ClassVar[str] = "IEMOCAP improvised, four classes, leave one session out"
    label_map: ClassVar[Mapping[str, str] | None] = _FOUR
    improvised: ClassVar[bool] = True


@PROTOCOLS.register("iem4-random-5fold")
class Iem4Random5Fold(FixedRandomFolds):
    """Five stratified random folds, four classes.

    Li et al. (2020, Section 4.1) say only five-fold; their program leaves a session out, so that
    their numbers stand beside ``iem4-session-5fold``.
    """

    description: ClassVar[str] = "IEMOCAP, four classes, five random folds"
    label_map: ClassVar[Mapping[str, str] | None] = FOUR_MERGED
    num_folds: ClassVar[int] = 5


@PROTOCOLS.register("iem7-random-10fold")
class Iem7Random10Fold(FixedRandomFolds):
    """Ten random folds of 8:1:1, seven classes: Lee, Yoon and Jung 2020, Section 4.1.

    The paper does not say how it drew them.
    The paper cuts the audio by the release's forced alignment, which two utterances lack; so
    they are left out, and its 7,486 are reached if one of the two is excited.
    """

    description: ClassVar[str] = "IEMOCAP, seven classes, ten random folds of 8:1:1"
    label_map: ClassVar[Mapping[str, str] | None] = SEVEN
    num_folds: ClassVar[int] = 10

    def keep(self, utterances: pa.Table) -> list[bool]:
        return [value != "no" for value in column(utterances, "forced_alignment")]
