"""Rules that every manifest must meet; what breaks one is left out with its reason."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from serplatform.corpora.base import Manifest, Rejection, Utterance
from serplatform.errors import BadInputError
from serplatform.labels import canonical_emotion, is_known, is_missing, nearest_alias

#: utterances that a label foreign to the vocabulary needs to count as a class of its own
MIN_FOREIGN = 5


def validate(manifest: Manifest, label_map: Mapping[str, str] | None = None) -> Manifest:
    """Keep the utterances that meet the rules; reject the others, each with its reason.

    A file's name is UTF-8; an id is unique and not empty; a speaker is named; a span is not
    empty; a label is there, and belongs to the vocabulary or is used by at least
    :data:`MIN_FOREIGN` utterances and is no likely misspelling.

    Args:
        manifest: what a corpus lists.
        label_map: further names for labels, e.g. ``{"angy": "angry"}``; an empty name leaves
            the label out.

    Raises:
        BadInputError: ``label_map`` names a label that no utterance has.
    """
    names = {canonical_emotion(raw): name for raw, name in (label_map or {}).items()}
    labels = {utterance.emotion for utterance in manifest.utterances}
    unused = [raw for raw in label_map or {} if canonical_emotion(raw) not in labels]
    if unused:
        raise BadInputError(
            f"no utterance is labelled {', '.join(map(repr, unused))}; "
            f"the labels are: {', '.join(sorted(labels))}"
        )
    kept: list[Utterance] = []
    rejections = list(manifest.rejections)
    foreign = _foreign_faults(Counter(u.emotion for u in manifest.utterances), names)
    seen: dict[str, Utterance] = {}
    for utterance in manifest.utterances:
        emotion = utterance.emotion
        if emotion in names and not is_missing(names[emotion]):
            emotion = canonical_emotion(names[emotion])
        reason = _fault(utterance, seen.get(utterance.utterance_id))
        if reason is None and utterance.emotion in names and is_missing(names[utterance.emotion]):
            reason = f"label '{utterance.emotion}' is left out (--map)"
        reason = reason or foreign.get(emotion)
        if reason is not None:
            rejections.append(
                Rejection(
                    utterance_id=utterance.utterance_id, path=str(utterance.path), reason=reason
                )
            )
            continue
        seen[utterance.utterance_id] = utterance
        same = emotion == utterance.emotion
        kept.append(utterance if same else dataclasses.replace(utterance, emotion=emotion))
    return dataclasses.replace(
        manifest,
        utterances=tuple(kept),
        rejections=tuple(rejections),
        notes=(*manifest.notes, *_foreign_notes(kept)),
    )


def _fault(utterance: Utterance, kept: Utterance | None) -> str | None:
    names = f"{utterance.utterance_id}{utterance.path}{utterance.speaker_id}"
    if re.search("[\ud800-\udfff]", names):  # no table can hold it
        return "the name of its file or folder is not UTF-8; rename it"
    if not utterance.utterance_id:
        return "has no utterance id"
    if kept is not None:
        return "duplicate utterance id; the first one is kept" + _otherwise(utterance, kept)
    if is_missing(utterance.emotion):
        return f"has no label ('{utterance.emotion}')" if utterance.emotion else "has no label"
    if not utterance.speaker_id:
        return "has no speaker"
    start, end = utterance.start, utterance.end
    for name, value in (("start", start), ("end", end)):
        if value is not None and not math.isfinite(value):
            return f"{name} is not a finite number of seconds"
    if (start is not None and start < 0) or (end is not None and end <= (start or 0.0)):
        return f"its span from {start or 0:g} to {end} s is empty or negative"
    return None


def _otherwise(utterance: Utterance, kept: Utterance) -> str:
    """What a duplicate says that the utterance which is kept does not."""
    said = []
    if utterance.path != kept.path:
        said.append(f"that is another file, {kept.path.name}")
    if utterance.emotion != kept.emotion and not is_missing(utterance.emotion):
        said.append(f"it is '{kept.emotion}', where this is '{utterance.emotion}'")
    if utterance.speaker_id != kept.speaker_id and utterance.speaker_id:
        said.append(f"its speaker is {kept.speaker_id}, where this has {utterance.speaker_id}")
    return f" ({'; '.join(said)})" if said else ""


def _foreign_faults(counts: Counter[str], names: Mapping[str, str]) -> dict[str, str]:
    """Labels that are neither of the vocabulary nor fit to be a class, and why."""
    faults: dict[str, str] = {}
    for label, count in counts.items():
        if is_known(label) or is_missing(label) or label in names:
            continue
        near = nearest_alias(label)
        if near is not None:
            faults[label] = (
                f"unknown label '{label}'; if it means '{near}', say --map {label}={near}"
            )
        elif count < MIN_FOREIGN:
            faults[label] = (
                f"unknown label '{label}', used {count} time(s): a label outside the vocabulary "
                f"needs {MIN_FOREIGN} utterances to be a class; rename it by --map {label}=EMOTION"
            )
    return faults


def _foreign_notes(utterances: Sequence[Utterance]) -> list[str]:
    counts = Counter(u.emotion for u in utterances if not is_known(u.emotion))
    if not counts:
        return []
    listed = ", ".join(f"{label} ({count})" for label, count in sorted(counts.items()))
    return [f"labels outside the vocabulary, kept as classes of their own: {listed}"]


def class_notes(utterances: Sequence[Utterance]) -> list[str]:
    """Sentences on classes that a speaker-independent protocol cannot train and test on."""
    speakers: dict[str, set[str]] = defaultdict(set)
    for utterance in utterances:
        speakers[utterance.emotion].add(utterance.speaker_id)
    everyone = set().union(*speakers.values()) if speakers else set()
    if len(everyone) < 2:
        return ["one speaker only: no protocol on this dataset can be speaker-independent"]
    return [
        f"class '{emotion}' has one speaker only ({next(iter(who))}): it cannot be in the training "
        "and test parts of a speaker-independent fold"
        for emotion, who in sorted(speakers.items())
        if len(who) == 1
    ]


def column_notes(utterances: Sequence[Utterance]) -> list[str]:
    """A sentence on each column of folds or parts that some utterances lack.

    Example:
        >>> from pathlib import Path
        >>> one = Utterance(utterance_id="a", path=Path("a.wav"), speaker_id="s", emotion="sad")
        >>> column_notes([one, dataclasses.replace(one, fold="1")])[0][:39]
        "1 of 2 utterances have no 'fold', so th"
    """
    lacking = {
        "fold": sum(not utterance.fold for utterance in utterances),
        "split": sum(not utterance.split for utterance in utterances),
    }
    if 0 in lacking.values():
        return []
    return [
        f"{count} of {len(utterances)} utterances have no '{column}', so the column does not make "
        "the default protocol; fill it, or leave those rows out, to have it used"
        for column, count in lacking.items()
        if count < len(utterances)
    ]


def generic_protocol(utterances: Sequence[Utterance]) -> str:
    """The protocol for a corpus that has none of its own.

    Its own ``fold`` or ``split`` column where every row has one; else five folds of speakers,
    or leave-one-speaker-out below ten of them; else random folds.

    Example:
        >>> from pathlib import Path
        >>> one = Utterance(utterance_id="a", path=Path("a.wav"), speaker_id="s", emotion="sad")
        >>> generic_protocol([one])
        'random-kfold:5'
    """
    if utterances and (all(u.fold for u in utterances) or all(u.split for u in utterances)):
        return "column"
    speakers = {u.speaker_id for u in utterances}
    if len(speakers) >= 10:
        return "speaker-kfold:5"
    return "loso" if len(speakers) >= 3 else "random-kfold:5"
