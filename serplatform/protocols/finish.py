"""Turn parts into a plan: refuse what cannot be trained, and note what a reader must know."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from serplatform.arrays import IntArray
from serplatform.errors import BadInputError
from serplatform.protocols.base import PARTS, Fold, FoldPlan
from serplatform.protocols.selection import Selection

_FEW_SPEAKERS = 3


@dataclasses.dataclass(frozen=True)
class Parts:
    """One fold as positions in a selection."""

    train: IntArray
    dev: IntArray
    test: IntArray


def finish(
    selection: Selection,
    folds: Sequence[Parts],
    *,
    speaker_independent: bool,
    notes: Sequence[str] = (),
) -> FoldPlan:
    """Build the plan; ``notes`` are those of the protocol itself.

    Raises:
        BadInputError: a part is empty, or a class of a speaker-independent protocol has a
            single speaker, who would have to be trained and tested at once.
    """
    errors = [
        f"fold {number}: the {part} part is empty"
        for number, fold in enumerate(folds)
        for part in PARTS
        if len(getattr(fold, part)) == 0
    ]
    if speaker_independent:
        errors += _single_speaker_errors(selection, folds)
    if errors:
        raise BadInputError(
            f"protocol '{selection.protocol}' cannot be used on this dataset "
            "(leave the class out, or use a random protocol such as 'random-kfold:5'):",
            errors,
        )
    said = [] if speaker_independent else _sharing_notes(selection, folds)
    said += [*notes, *selection.notes]
    if speaker_independent:
        tied = selection.tied_speakers()
        said += [f"Speakers who share recordings are kept in one part: {tied}."] if tied else []
        said += _dev_speaker_notes(selection, folds)
    said += _missing_class_notes(selection, folds)
    ids = np.array(selection.utterance_ids, dtype=object)
    return FoldPlan(
        protocol=selection.protocol,
        speaker_independent=speaker_independent,
        classes=selection.classes,
        label_map=dict(selection.label_map),
        folds=tuple(
            Fold(**{part: tuple(sorted(ids[getattr(fold, part)])) for part in PARTS})
            for fold in folds
        ),
        seed=selection.seed,
        notes=tuple(said),
    )


def _single_speaker_errors(selection: Selection, folds: Sequence[Parts]) -> list[str]:
    """Classes with one speaker, where a fold would need that speaker on both sides."""
    errors = []
    speakers = np.array(selection.speakers, dtype=object)
    for index, name in enumerate(selection.classes):
        having = sorted(set(speakers[selection.labels == index]))
        lost = any(
            not (selection.labels[fold.train] == index).any()
            and (selection.labels[fold.test] == index).any()
            for fold in folds
        )
        if len(having) == 1 and lost:
            errors.append(
                f"class '{name}' has a single speaker, '{having[0]}', who cannot be in train and "
                "test at once"
            )
    return errors


def _sharing_notes(selection: Selection, folds: Sequence[Parts]) -> list[str]:
    """Say how many test speakers are also trained on."""
    shared = tested = 0
    for fold in folds:
        trained = {selection.speakers[i] for i in fold.train}
        test = {selection.speakers[i] for i in fold.test}
        shared += len(test & trained)
        tested += len(test)
    if not shared:
        return []
    return [
        f"SPEAKERS ARE SHARED: {shared / tested:.0%} of the test speakers (mean over "
        f"{len(folds)} fold(s)) are also in the training part, so the results do not hold for new "
        "speakers."
    ]


def _dev_speaker_notes(selection: Selection, folds: Sequence[Parts]) -> list[str]:
    """Warn of dev parts with few speakers."""
    counts = [len({selection.speakers[i] for i in fold.dev}) for fold in folds]
    few = [str(number) for number, count in enumerate(counts) if count < _FEW_SPEAKERS]
    if not few:
        return []
    return [
        f"Few dev speakers: {min(counts)} to {max(counts)} per fold (fewer than {_FEW_SPEAKERS} in "
        f"{_folds(few)}); the choice between trials is noisy."
    ]


def _missing_class_notes(selection: Selection, folds: Sequence[Parts]) -> list[str]:
    """Say which classes are missing from which parts."""
    notes = []
    for part in PARTS:
        for index, name in enumerate(selection.classes):
            without = [
                str(number)
                for number, fold in enumerate(folds)
                if not (selection.labels[getattr(fold, part)] == index).any()
            ]
            if without:
                lost = ", and cannot be recognised there" if part == "train" else ""
                notes.append(
                    f"Class '{name}' is missing from the {part} part of {_folds(without)}{lost}."
                )
    return notes


def _folds(numbers: Sequence[str]) -> str:
    return f"fold{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
