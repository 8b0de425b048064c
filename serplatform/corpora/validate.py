"""Rules that every manifest must meet; what breaks one is left out with its reason."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from serplatform.artifacts.dataset import NO_SPEAKER
from serplatform.corpora.base import Manifest, RejectedUtterance, Utterance
from serplatform.errors import BadInputError
from serplatform.labels import (
    canonical_emotion,
    is_known,
    is_missing,
    nearest_alias,
    plain_label,
)

#: utterances that a label foreign to the vocabulary needs to count as a class of its own
MIN_FOREIGN = 5


def validate(
    manifest: Manifest,
    label_map: Mapping[str, str] | None = None,
    *,
    speakers_differ: bool = False,
) -> Manifest:
    """Keep the utterances that meet the rules; reject the others, each with its reason.

    An id is unique and not empty; a speaker is named, unless nowhere; a span is not empty; a
    label is there, and belongs to the vocabulary or is used by at least :data:`MIN_FOREIGN`
    utterances. Labels are brought to the vocabulary here.

    Args:
        manifest: what a corpus lists.
        label_map: other names for labels as the corpus writes them, e.g. ``{"angy": "angry"}``;
            an empty name leaves the label out, its own name keeps it apart from its aliases.
        speakers_differ: names of speakers that differ only in case or zeros are different people.

    Raises:
        BadInputError: ``label_map`` names a label that is not there, or speakers may be the same.
    """
    labels = Counter(utterance.emotion for utterance in manifest.utterances)
    given = _given_names(labels, label_map or {})
    final = {raw: given.get(raw, canonical_emotion(raw)) for raw in labels}
    _check_numbers(labels, given)
    foreign = _unknown_label_reasons(labels, final, given)
    speakers = Counter(
        unicodedata.normalize("NFC", u.speaker_id)
        for u in manifest.utterances
        if not is_missing(u.speaker_id)
    )
    if not speakers_differ:
        _check_speakers(speakers)
    kept: dict[str, Utterance] = {}
    rejections = list(manifest.rejections)
    for utterance in manifest.utterances:
        speaker = unicodedata.normalize("NFC", utterance.speaker_id) if speakers else NO_SPEAKER
        read = dataclasses.replace(utterance, emotion=final[utterance.emotion], speaker_id=speaker)
        unnamed = is_missing(read.emotion) and utterance.emotion not in given
        reason = _reason_against(read, kept.get(read.utterance_id), bool(speakers), unnamed)
        if utterance.emotion in given and not read.emotion:
            reason = f"label '{utterance.emotion}' is left out (--map)"
        reason = reason or foreign.get(utterance.emotion)
        if reason is None:
            kept[read.utterance_id] = read
        else:
            rejections.append(RejectedUtterance(read.utterance_id, str(read.path), reason))
    notes = [*manifest.notes, *_label_notes(labels, final, given)]
    if not speakers and manifest.utterances:
        notes.append(
            "no speaker is named: nothing can be speaker-independent, and every number will be "
            "said to be so"
        )
    return dataclasses.replace(
        manifest,
        utterances=tuple(kept.values()),
        rejections=tuple(rejections),
        notes=(*notes, *_foreign_notes(tuple(kept.values()))),
        listed=manifest.listed or len(manifest.utterances) + len(manifest.rejections),
    )


def _given_names(labels: Mapping[str, int], label_map: Mapping[str, str]) -> dict[str, str]:
    """Label as the corpus writes it → the name that ``--map`` gives it, "" for none.

    ``--map`` names a label as it stands in the corpus, or else by its name in the vocabulary; a
    label's own name keeps it apart.
    """
    own = {plain_label(a) for a, name in label_map.items() if plain_label(a) == plain_label(name)}
    exact: dict[str, str] = {}
    others: dict[str, str] = {}
    unused = []
    for asked, name in label_map.items():
        plain = plain_label(name)
        named = plain if plain in own else "" if is_missing(name) else canonical_emotion(name)
        found = [raw for raw in labels if plain_label(raw) == plain_label(asked)]
        of_name = [raw for raw in labels if canonical_emotion(raw) == plain_label(asked)]
        (exact if found else others).update(dict.fromkeys(found or of_name, named))
        unused += [] if found or of_name else [asked]
    if unused:
        raise BadInputError(
            f"no utterance is labelled {', '.join(map(repr, unused))}; "
            f"the labels are: {', '.join(sorted(labels))}"
        )
    return others | exact


def _check_numbers(labels: Mapping[str, int], given: Mapping[str, str]) -> None:
    """Stop where every label is a number and nothing says what the numbers stand for."""
    there = sorted((raw for raw in labels if not is_missing(raw)), key=lambda raw: (len(raw), raw))
    if there and not given and all(re.fullmatch(r"\d+(\.0+)?", raw) for raw in there):
        shown = ", ".join(there[:8]) + (" …" if len(there) > 8 else "")
        raise BadInputError(
            f"the labels are numbers ({shown}), and nothing says what they stand for; say --map "
            f"{there[0]}=EMOTION for each of them, or --map {there[0]}={there[0]} to keep numbers"
        )


def _check_speakers(speakers: Mapping[str, int]) -> None:
    """Stop where names differ only in case, blanks, hyphens, leading zeros, or a ``.0``.

    Between digits a hyphen or a blank tells names apart: ``1-12`` is not ``11-2``.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(speakers):
        name_alone = re.sub(r"^(\d+)\.0+$", r"\1", unicodedata.normalize("NFKC", name))
        plain = re.sub(r"(?<!\d)_|_(?!\d)", "", plain_label(name_alone).casefold())
        groups[re.sub(r"(?<!\d)0+(?=\d)", "", plain)].append(name)
    errors = [
        " = ".join(f"'{name}' ({speakers[name]})" for name in names)
        for names in groups.values()
        if len(names) > 1
    ]
    if errors:
        raise BadInputError(
            "speakers whose names differ only in upper and lower case, zeros, blanks or hyphens "
            "may be the same person, whose speech would be trained and tested on; write each in "
            "one way, or "
            "say --speakers-differ where they are different people:",
            errors,
        )


def is_text(path: Path) -> bool:
    """Whether a path is text; bytes that are not UTF-8 cannot be written into a dataset."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason_against(
    utterance: Utterance, kept: Utterance | None, speakers: bool, unnamed: bool
) -> str | None:
    if not utterance.utterance_id:
        return "has no utterance id"
    if not is_text(utterance.path):
        return "its path is not UTF-8 text; rename the folder or file"
    if kept is not None:
        return "duplicate utterance id; the first one is kept" + _otherwise(utterance, kept)
    if unnamed and not plain_label(utterance.emotion):
        return "has no label"
    if unnamed:
        word = utterance.emotion
        remedy = f"if that is a class, say --map {shlex.quote(f'{word}=neutral')}, or ={word}"
        return f"has no label ('{word}'); {remedy}"
    if speakers and is_missing(utterance.speaker_id):
        return "has no speaker, where others have one; name it, or give no speakers at all"
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


def _unknown_label_reasons(
    labels: Mapping[str, int], final: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """Labels that are neither of the vocabulary nor used often enough to be a class, and why."""
    counts: Counter[str] = Counter()
    for raw, number in labels.items():
        counts[final[raw]] += number
    own = [name for name, number in counts.items() if number >= MIN_FOREIGN]
    errors: dict[str, str] = {}
    for raw, name in final.items():
        if is_known(name) or is_missing(name) or raw in given or counts[name] >= MIN_FOREIGN:
            continue
        near = nearest_alias(name, own)
        if near is not None:
            errors[raw] = f"unknown label '{raw}'; if it means '{near}', say --map " + shlex.quote(
                f"{raw}={near}"
            )
        else:
            errors[raw] = (
                f"unknown label '{raw}', used {counts[name]} time(s): a label outside the "
                f"vocabulary needs {MIN_FOREIGN} utterances to be a class; rename it by --map "
                + shlex.quote(f"{raw}=EMOTION")
            )
    return errors


def _label_notes(
    labels: Mapping[str, int], final: Mapping[str, str], given: Mapping[str, str]
) -> Iterator[str]:
    """What became of each label, and labels of different words that became one class."""
    mapped = [
        (f"{raw} → {final[raw]} " if final[raw] else f"{raw} left out ")
        + f"({number}{', --map' if raw in given else ''})"
        for raw, number in sorted(labels.items())
        if (raw in given or not is_missing(raw)) and final[raw] != raw
    ]
    if mapped:
        yield f"labels mapped: {', '.join(mapped)}"
    words: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for raw in sorted(labels):
        if raw not in given and not is_missing(raw):
            # "anger" and "angry" are one word, "joy" and "happy" are two
            words[final[raw]][plain_label(raw)[:3]].append(raw)
    for name, merged in words.items():
        if len(merged) > 1:
            counts = (
                f"'{raws[0]}' ({sum(map(labels.__getitem__, raws))})" for raws in merged.values()
            )
            apart = next(raws[0] for stem, raws in merged.items() if stem != name[:3])
            yield (
                f"{' and '.join(counts)} are one class here, '{name}'; to keep '{apart}' apart, "
                "say --map " + shlex.quote(f"{apart}={apart}")
            )


def _foreign_notes(utterances: Sequence[Utterance]) -> Iterator[str]:
    counts = Counter(u.emotion for u in utterances if not is_known(u.emotion))
    if counts:
        listed = ", ".join(f"{label} ({count})" for label, count in sorted(counts.items()))
        yield (
            f"labels outside the vocabulary, kept as classes of their own: {listed}; "
            f"to compare with other corpora, say --map {shlex.quote(f'{min(counts)}=EMOTION')}"
        )
    for label in sorted(counts):
        if near := nearest_alias(label):
            yield (
                f"class '{label}' may be a slip of '{near}'; if it is, say --map "
                + shlex.quote(f"{label}={near}")
            )


def class_notes(utterances: Sequence[Utterance]) -> list[str]:
    """Sentences on classes that a speaker-independent protocol cannot train and test on."""
    speakers: dict[str, set[str]] = defaultdict(set)
    for utterance in utterances:
        speakers[utterance.emotion].add(utterance.speaker_id)
    everyone = set().union(*speakers.values()) if speakers else set()
    if everyone == {NO_SPEAKER}:
        return []  # which has been said
    if len(everyone) < 2:
        return ["one speaker only: no protocol on this dataset can be speaker-independent"]
    notes = []
    if 10 * len(everyone) >= 9 * len(utterances) and len(everyone) > len(speakers):
        notes.append(
            f"{len(everyone)} speakers for {len(utterances)} utterances: the speakers seem to be "
            "names of clips, and then no protocol on this dataset is speaker-independent"
        )
    elif sum(map(len, speakers.values())) == len(everyone):
        notes.append(
            "every speaker has one class only: who speaks tells the class, so that no number can "
            "show that emotions are recognised"
        )
        if len(everyone) == len(speakers):
            return notes
    return notes + [
        f"class '{emotion}' has one speaker only ({next(iter(who))}): it cannot be in the training "
        "and test parts of a speaker-independent fold"
        for emotion, who in sorted(speakers.items())
        if len(who) == 1
    ]


def column_notes(utterances: Sequence[Utterance]) -> list[str]:
    """A sentence on each column of folds or parts that some utterances lack."""
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
