"""Recordings in folders that are named by emotion: ``happy/1.wav``, ``anna/happy/1.wav``.

One level of the folders names the emotion; a level of train, dev and test gives the split, and one
further level, where there is one, the speaker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from serplatform.corpora.base import CORPORA, FormatCorpus, Manifest, RejectedUtterance, Utterance
from serplatform.corpora.paths import without_ending
from serplatform.corpora.place import Place
from serplatform.corpora.table_rows import SPLITS
from serplatform.errors import BadInputError
from serplatform.labels import canonical_emotion, is_known

_KNOWN = 0.5  # share of a level's names that are emotions, for the level to name them
_NEARLY_ALL = 0.9  # share of files whose names a suggested pattern must fit
_PARTS = {"train", "dev", "test", "eval"}


@CORPORA.register("folders")
class Folders(FormatCorpus):
    """Audio files in folders; the names of one level of folders are the classes.

    Args:
        speaker_from: regular expression that is searched in each file's path from the directory
            on; its first group (or all it finds) is the speaker. "": the remaining level of
            folders, where there is exactly one.
    """

    title = "Audio in folders named by emotion"
    obtain = "put recordings into EMOTION/, SPEAKER/EMOTION/ or EMOTION/SPEAKER/, as WAV, FLAC, …"
    sign = "folders named by emotion (happy/1.wav, or anna/happy/1.wav)"
    takes_any_file = True
    examples = ("anna/happy/1.wav", "anna/sad/1.wav", "ben/happy/1.flac")

    def __init__(self, *, speaker_from: str = "") -> None:
        try:
            self.speaker = re.compile(speaker_from) if speaker_from else None
        except re.error as error:
            raise BadInputError(
                f"--speaker-from '{speaker_from}': is no regular expression ({error})"
            ) from None

    @classmethod
    def recognise(cls, place: Place) -> str:
        """Where a level of folders has names of emotions."""
        levels = _levels(place.audio)
        at = _emotion_level(levels)
        if at is None or _known(levels[at]) < _KNOWN:
            return ""
        return f"{len(place.audio):,} audio files in folders named {_some(set(levels[at]))}"

    def scan(self, source: Path) -> Manifest:
        if not source.is_dir():
            raise BadInputError(f"{source}: no such directory; give the one that holds the folders")
        place = Place(source)
        depths = {len(file.parts) for file in place.audio}
        depth = max(depths, default=0)
        files = [file for file in place.audio if len(file.parts) == depth]
        levels = _levels(files)
        at = _emotion_level(levels)
        if at is None:
            raise BadInputError(
                f"{source}: holds {len(place.audio)} audio file(s) and no folders of them; put "
                "them into folders named by emotion (happy/1.wav, or anna/happy/1.wav)"
            )
        split = next((i for i, names in enumerate(levels) if i != at and _are_parts(names)), None)
        others = [i for i in range(len(levels)) if i not in (at, split) and len(set(levels[i])) > 1]
        speaker = others[0] if len(others) == 1 and self.speaker is None else None
        utterances = []
        rejections = [
            RejectedUtterance(
                file.stem,
                str(source / file),
                f"lies in {len(file.parts) - 1} folder(s), where others lie in {depth - 1}; its "
                "emotion is not told by them",
            )
            for file in place.audio
            if len(file.parts) != depth
        ]
        for row, file in enumerate(files):
            part = None if split is None else levels[split][row].lower()
            named = "" if speaker is None else levels[speaker][row]
            if self.speaker is not None:
                found = self.speaker.search(str(file)) or self.speaker.search(file.name)
                named = (found.group(1 if found.re.groups else 0) or "") if found else ""
            if self.speaker is not None and not named:
                reason = f"--speaker-from '{self.speaker.pattern}' finds no speaker in its path"
                rejections.append(RejectedUtterance(file.stem, str(source / file), reason))
                continue
            utterances.append(
                Utterance(
                    utterance_id=without_ending(file),
                    path=source / file,
                    speaker_id=named,
                    emotion=levels[at][row],
                    split=part and SPLITS.get(part, part),
                )
            )
        return Manifest(
            utterances=tuple(utterances),
            rejections=tuple(rejections),
            notes=tuple(self._notes(files, levels, at, split, speaker, others)),
        )

    def _notes(
        self,
        files: Sequence[PurePosixPath],
        levels: Sequence[Sequence[str]],
        at: int,
        split: int | None,
        speaker: int | None,
        others: Sequence[int],
    ) -> list[str]:
        meaning = {at: "emotion", split: "split", speaker: "speaker"}
        names = [meaning.get(i, "not used") for i in range(len(levels))]
        notes = [f"read as: {'/'.join([*(f'[{name}]' for name in names), 'file'])}"]
        if self.speaker is not None:
            notes.append(
                f"speakers are what '{self.speaker.pattern}' finds in paths such as {files[0]}, or "
                "else in the file's name"
            )
        elif speaker is not None:
            notes.append(
                f"speakers are the folders {_some(set(levels[speaker]))}; if these are no people, "
                "no number on this dataset is speaker-independent: say --speaker-from PATTERN"
            )
        elif len(others) > 1:
            notes.append("several levels of folders may name the speaker: say --speaker-from")
        else:
            notes.append(
                "where the files' names tell the speaker, say --speaker-from PATTERN"
                f"{_suggestion([file.name for file in files])}"
            )
        return notes


def _suggestion(names: Sequence[str]) -> str:
    """A pattern that finds in nearly every name what may be its speaker; empty without one.

    Example:
        >>> _suggestion(["p1_a.wav", "p1_b.wav", "p2_a.wav", "p2_b.wav"])
        ", such as '^([A-Za-z]*[0-9]+)[_-]', which finds p1, p2"
    """
    for pattern in ("^([A-Za-z]*[0-9]+)[_-]", "^([A-Za-z]+)[_-]"):
        found = [match[1] for name in names if (match := re.match(pattern, name))]
        if len(found) >= _NEARLY_ALL * len(names) and 1 < len(set(found)) <= len(found) / 2:
            return f", such as '{pattern}', which finds {_some(set(found))}"
    return ""


def _levels(files: Sequence[PurePosixPath]) -> list[list[str]]:
    """Names of the folders of each file, by level; of the files that lie deepest."""
    depth = max((len(file.parts) for file in files), default=1) - 1
    deep = [file.parts for file in files if len(file.parts) == depth + 1]
    return [[parts[level] for parts in deep] for level in range(depth)]


def _emotion_level(levels: Sequence[Sequence[str]]) -> int | None:
    """The level with the greatest share of emotions and several names, else the deepest."""
    several = [i for i, names in enumerate(levels) if len(set(names)) > 1]
    ranked = sorted(several, key=lambda i: (_known(levels[i]), i), reverse=True)
    return ranked[0] if ranked else None


def _known(names: Sequence[str]) -> float:
    different = set(names)
    return sum(is_known(canonical_emotion(name)) for name in different) / len(different)


def _are_parts(names: Sequence[str]) -> bool:
    found = {SPLITS.get(name.lower(), name.lower()) for name in names}
    return {"train", "test"} <= found <= _PARTS


def _some(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:4]) + (f" … ({len(listed)})" if len(listed) > 4 else "")
