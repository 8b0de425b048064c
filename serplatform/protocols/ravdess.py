"""Protocols of RAVDESS: EmoBox's six actor folds, and the random ones of two papers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from serplatform.protocols.base import PROTOCOLS
from serplatform.protocols.generic import (
    FixedRandomFolds,
    SelectionScheme,
    fixed_speaker_tests,
    rotate,
    with_random_dev,
)
from serplatform.protocols.partition import assign_stratified
from serplatform.protocols.selection import Parts, Selection

#: test actors of each fold: Ma et al., "EmoBox: Multilingual Multi-corpus Speech Emotion
#: Recognition Toolkit and Benchmark", Interspeech 2024
ACTOR_FOLDS = (
    (1, 11, 20, 21),
    (4, 10, 12, 14),
    (8, 9, 19, 23),
    (3, 5, 7, 24),
    (2, 15, 16, 18),
    (6, 13, 17, 22),
)

_FOLD_OF = {actor: fold for fold, actors in enumerate(ACTOR_FOLDS) for actor in actors}


@PROTOCOLS.register("ravdess-speaker-6fold")
class RavdessSpeaker6Fold(SelectionScheme):
    """EmoBox's six folds of four actors; dev is the next fold's four actors, cyclically.

    So each actor tests once and selects once, and 16 actors train.
    """

    description: ClassVar[str] = "RAVDESS, six folds of four actors (EmoBox); dev: the next fold's"
    speaker_independent: ClassVar[bool] = True
    example_speakers: ClassVar[tuple[str, ...]] = tuple(f"actor_{a:02d}" for a in range(1, 25))

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        notes.append("The dev part of each fold is the test part of the next one.")
        tests = fixed_speaker_tests(selection, _FOLD_OF, "RAVDESS's actors 1 to 24", notes)
        return rotate(selection, tests)


@PROTOCOLS.register("ravdess-random-80-20")
class RavdessRandom8020(SelectionScheme):
    """One stratified random fold: 20 % test, 10 % dev, 70 % train.

    Baruah and Banerjee, "Speech Emotion Recognition via Generation using an Attention-based
    Variational Recurrent Neural Network", Interspeech 2022, Section 3.1, which names 80 % train
    and 20 % test, not how they were drawn, and no dev part.
    """

    description: ClassVar[str] = "RAVDESS, 8 classes, stratified random 80 % / 20 %"
    speaker_independent: ClassVar[bool] = False

    def folds(self, selection: Selection, count: int, notes: list[str]) -> list[Parts]:
        part = assign_stratified(
            selection.groups, selection.labels, (0.8, 0.2), selection.rng("folds")
        )
        return with_random_dev(selection, [np.flatnonzero(part == 1)])


@PROTOCOLS.register("ravdess-random-5fold-4class")
class RavdessRandom5Fold4Class(FixedRandomFolds):
    """Five stratified random folds of four classes (672 clips).

    Li et al., "Learning Fine-Grained Cross Modality Excitement for Speech Emotion Recognition",
    2020, Section 4.1, which says only five-fold.
    """

    description: ClassVar[str] = "RAVDESS, angry, happy, neutral, sad; five random folds"
    label_map: ClassVar[Mapping[str, str] | None] = {
        name: name for name in ("angry", "happy", "neutral", "sad")
    }
    num_folds: ClassVar[int] = 5
