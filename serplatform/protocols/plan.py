"""Make, check, write and read fold plans.

A fold file is JSON. Its hash covers what decides the numbers (protocol, classes, label map
and the ids of every part), not the notes or the seed: two plans with one hash are the same
experiment.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from serplatform.arrays import IntArray
from serplatform.artifacts.dataset import NO_SPEAKER
from serplatform.artifacts.files import SCHEMA_VERSION, read_json, write_json
from serplatform.artifacts.records import checked
from serplatform.artifacts.run import FoldFile
from serplatform.config import digest
from serplatform.errors import ArtifactError, BadInputError, LeakError
from serplatform.protocols.base import PARTS, PROTOCOLS, Fold, FoldPlan
from serplatform.protocols.selection import Parts, Selection, column, recording_groups

_MOST_ERRORS = 20
_FEW_SPEAKERS = 3


def make_plan(
    utterances: pa.Table, name: str, seed: int = 0, classes: Sequence[str] | None = None
) -> FoldPlan:
    """Make the folds of a protocol.

    Args:
        utterances: a dataset's table (``artifacts.UTTERANCE_SCHEMA``).
        name: a protocol, with its argument after a colon: ``speaker-kfold:5``.
        seed: decides every random choice.
        classes: the dataset's label order; classes of the plan follow it where they occur.

    Raises:
        BadInputError: the protocol is unknown, or the table lacks what it needs.
        LeakError: the protocol's fixed parts put one recording on two sides.
    """
    base, _, argument = name.partition(":")
    plan = PROTOCOLS.get(base)().plan(utterances, argument=argument or None, seed=seed)
    if classes is not None:
        order = {label: position for position, label in enumerate(classes)}
        kept = sorted(plan.classes, key=lambda label: order.get(label, len(order)))
        plan = dataclasses.replace(plan, classes=tuple(kept))
    check_plan(plan, utterances)
    return plan


def build_plan(
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
    said += [*notes, *_session_notes(selection, folds), *selection.notes]
    if speaker_independent:
        tied = selection.tied_speakers()
        if tied:
            said.append(
                f"Speakers who share recordings are kept in one part: {tied}. Intervals and "
                "p-values count them as one speaker."
            )
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
        speaker_units=selection.tied if speaker_independent else {},
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
    if set(selection.speakers) == {NO_SPEAKER}:
        return [
            "SPEAKERS ARE SHARED: no speaker is named, so the same people may be in the training "
            "and in the test part of a fold, and the results do not hold for new speakers."
        ]
    return [
        f"SPEAKERS ARE SHARED: {shared / tested:.0%} of the test speakers (mean over "
        f"{len(folds)} fold(s)) are also in the training part, so the results do not hold for new "
        "speakers."
    ]


def _session_notes(selection: Selection, folds: Sequence[Parts]) -> list[str]:
    """Say how many sessions have rows in train and in test of a fold."""
    sessions = np.array(selection.sessions, dtype=object)
    known = set(sessions) - {""}
    shared = {s for f in folds for s in {*sessions[f.train]} & {*sessions[f.test]}} & known
    if not shared:
        return []
    return [
        f"{len(shared)} of {len(known)} sessions are in train and in test of a fold (one room, one "
        "microphone, other voices in the background): 'session-kfold:K' keeps each in one part."
    ]


def _dev_speaker_notes(selection: Selection, folds: Sequence[Parts]) -> list[str]:
    """Warn of dev parts with few speakers."""
    counts = [len({selection.speakers[i] for i in fold.dev}) for fold in folds]
    few = [str(number) for number, count in enumerate(counts) if count < _FEW_SPEAKERS]
    if not few:
        return []
    low, high = min(counts), max(counts)
    span = f"{low}" if low == high else f"{low} to {high}"
    return [
        f"Few dev speakers: {span} per fold (fewer than {_FEW_SPEAKERS} in "
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


def check_plan(plan: FoldPlan, utterances: pa.Table) -> None:
    """Refuse a plan in which test information could reach a fit.

    Raises:
        LeakError: an utterance, an audio hash, a parent recording, a copy, an overlapping span
            or (where the plan is speaker-independent) a speaker is in two parts of a fold.
        BadInputError: a part is empty, or an id or its label does not fit the table.
    """
    ids = column(utterances, "utterance_id")
    row_of = {name: row for row, name in enumerate(ids)}
    num_rows = utterances.num_rows
    emotions = column(utterances, "emotion")
    labelled = np.array([emotion in plan.label_map for emotion in emotions], dtype=bool)
    named = {"speaker": "speaker_id"} if plan.speaker_independent else {}
    named |= {"audio hash": "audio_hash", "parent recording": "parent_id"}
    kinds = {kind: _coded(utterances, name) for kind, name in named.items()}
    groups = recording_groups(utterances)
    first = np.unique(groups, return_index=True)[1]
    eldest = [ids[row] for row in first]
    errors: list[str] = []
    leaks: list[str] = []
    for number, fold in enumerate(plan.folds):
        parts = {part: getattr(fold, part) for part in PARTS}
        rows: dict[str, IntArray] = {}
        for part, members in parts.items():
            if not members:
                errors.append(f"fold {number}: the {part} part is empty")
            # a name that is not in the table gets a row beyond its end
            numbered = (row_of.setdefault(name, len(row_of)) for name in members)
            listed = np.fromiter(numbered, np.int64, len(members))
            rows[part] = listed
            unknown = [members[i] for i in np.flatnonzero(listed >= num_rows)]
            errors += [f"fold {number}, {part}: '{n}' is not in the dataset" for n in unknown]
            wrong = [i for i in np.flatnonzero(listed < num_rows) if not labelled[listed[i]]]
            errors += [
                f"fold {number}, {part}: '{members[i]}' is labelled '{emotions[listed[i]]}', which "
                "is no label of the plan"
                for i in wrong
            ]
        leaks += _leaks(number, "utterance", parts, rows, np.arange(len(row_of)), list(row_of))
        leaks += [
            f"fold {number}, {part}: utterance '{name}' is listed twice"
            for part, members in parts.items()
            if len(np.unique(rows[part])) < len(members)
            for name, count in sorted(Counter(members).items())
            if count > 1
        ]
        found = [
            leak
            for kind, (codes, values) in kinds.items()
            for leak in _leaks(number, kind, parts, rows, codes, values)
        ]
        # what nothing else names: copies by their sound, a file and its segments, overlaps
        leaks += found or _leaks(number, "a copy or a part of", parts, rows, groups, eldest)
    if leaks:
        raise LeakError(
            f"protocol '{plan.protocol}': test information would leak into training "
            f"({len(leaks)} case(s)); correct the split so that each is in one part, leave one of "
            "the two out of the table, or use 'speaker-kfold:K' or 'random-kfold:K', which keep "
            "together what shares a recording:",
            leaks[:_MOST_ERRORS],
        )
    if errors:
        raise BadInputError(
            f"protocol '{plan.protocol}' does not fit the dataset ({len(errors)} error(s)); make "
            "the folds again from this dataset:",
            errors[:_MOST_ERRORS],
        )


def _coded(utterances: pa.Table, name: str) -> tuple[IntArray, list[str]]:
    """A text column as (N,) codes, -1 where it is empty, and the values they stand for."""
    places: dict[str, int] = {}
    texts = column(utterances, name)
    codes = np.array([places.setdefault(text, len(places)) for text in texts], np.int64)
    if "" in places:
        codes[codes == places[""]] = -1
    return codes, list(places)


def _leaks(
    fold: int,
    kind: str,
    parts: Mapping[str, Sequence[str]],
    rows: Mapping[str, IntArray],
    codes: IntArray,
    values: Sequence[str],
) -> list[str]:
    """Name every value that two parts hold, with an example from each.

    ``codes``: (N,) the value of each row of the table, -1 for none; rows beyond have none.
    """
    coded = {p: np.append(codes, -1)[np.minimum(r, len(codes))] for p, r in rows.items()}
    held = {}
    for part, found in coded.items():
        held[part] = np.zeros(len(values), dtype=bool)
        held[part][found[found >= 0]] = True
    leaks = []
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        shared = np.flatnonzero(held[one] & held[other]).tolist()
        for code in sorted(shared, key=lambda code: values[code]):
            example = ""
            if kind != "utterance":
                left, right = (
                    parts[part][int(np.flatnonzero(coded[part] == code)[-1])]
                    for part in (one, other)
                )
                example = f" (e.g. '{left}' and '{right}')"
            leaks.append(
                f"fold {fold}: {kind} '{values[code]}' is in {one} and in {other}{example}"
            )
    return leaks


def plan_hash(plan: FoldPlan) -> str:
    """SHA-256 (hex) of what decides the numbers: protocol, classes, label map, parts."""
    value: dict[str, object] = {**plan_to_json(plan)}
    return digest({key: value[key] for key in ("protocol", "classes", "label_map", "folds")})


def plan_to_json(plan: FoldPlan) -> FoldFile:
    """Plain values of a plan, for JSON."""
    found: FoldFile = {
        "schema_version": SCHEMA_VERSION,
        "protocol": plan.protocol,
        "speaker_independent": plan.speaker_independent,
        "classes": list(plan.classes),
        "label_map": dict(plan.label_map),
        "seed": plan.seed,
        "notes": list(plan.notes),
        "folds": [
            {"train": list(fold.train), "dev": list(fold.dev), "test": list(fold.test)}
            for fold in plan.folds
        ],
    }
    if plan.speaker_units:
        found["speaker_units"] = dict(plan.speaker_units)
    return found


def plan_from_json(value: object, where: str = "fold file") -> FoldPlan:
    """Rebuild a plan from :func:`plan_to_json`'s values; ``where`` names their source in errors.

    Raises:
        ArtifactError: another schema version, a missing key, or a hash that does not match.
    """
    stored = checked(FoldFile, value, where, "fold file", "make the folds again")
    plan = FoldPlan(
        protocol=stored["protocol"],
        speaker_independent=stored["speaker_independent"],
        classes=tuple(stored["classes"]),
        label_map=stored["label_map"],
        folds=tuple(
            Fold(train=tuple(fold["train"]), dev=tuple(fold["dev"]), test=tuple(fold["test"]))
            for fold in stored["folds"]
        ),
        seed=stored["seed"],
        notes=tuple(stored["notes"]),
        speaker_units=stored.get("speaker_units", {}),
    )
    found = plan_hash(plan)
    if stored.get("hash", found) != found:
        raise ArtifactError(
            f"{where}: its contents do not match the hash {stored['hash'][:12]}… written in "
            "it; it was altered, make the folds again"
        )
    return plan


def write_plan(path: str | Path, plan: FoldPlan) -> str:
    """Write a fold file atomically; return its hash."""
    write_json(path, {**plan_to_json(plan), "hash": plan_hash(plan)}, checksum=True)
    return plan_hash(plan)


def read_plan(path: str | Path) -> FoldPlan:
    """Read a fold file.

    Raises:
        ArtifactError: it is missing, damaged, altered or of another schema version.
    """
    return plan_from_json(read_json(path, "fold file"), str(path))
