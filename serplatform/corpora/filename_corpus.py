"""Corpora whose file names say who speaks which emotion: a subclass is a declaration.

``emodb.py`` is the shortest example.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.audio import AUDIO_SUFFIXES, file_problem
from serplatform.corpora.base import Corpus, Manifest, RejectedUtterance, Utterance, first_of
from serplatform.corpora.place import Place
from serplatform.errors import BadInputError

_POINTER_BYTES = 1024  # git-lfs pointers are smaller, audio is not
_COPY = "another copy of"
_SHOWN = 24  # codes or speakers in a sentence

_MOST = 0.5  # share of audio files of which a directory is recognised

Codes = Mapping[str, str]


@functools.cache
def _whole(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:.*/)?(?P<name>{pattern})")


class FilenameCorpus(Corpus):
    """A corpus of one clip per file, named by codes.

    What is declared: ``pattern``, with the named groups ``emotion`` and ``speaker``, and what
    each code stands for. A clip with a code that is not declared is left out, and the reason names
    the code. Further copies of a clip, in other folders, are left out as well.

    Attributes:
        pattern: regular expression of a whole file name without its ending.
        in_folders: the pattern is one of the end of a path (``DC/a01``) instead of a name.
        emotions: code → name in the vocabulary (``labels.py``).
        speakers: code → ``female``, ``male``, or "" where it is not known.
        speaker_name: format of the speaker's id from the code.
        sentences: code of the group ``sentence`` → text that is spoken.
        columns: group → what is kept of it as a column: code → value, or the code where empty.
        folder: where there is a folder of this name, only that is read.
        num_clips: of the complete corpus; 0: not known.
        protocol_speakers: fewest speakers for which ``default_protocol`` is chosen.
        twin: why a file is left out whose recording is here under another name.
        examples: paths of the miniature copy; the first one is shown in errors.

    Raises:
        TypeError: the pattern of a subclass lacks the group ``emotion`` or ``speaker``.
    """

    pattern: ClassVar[str]
    in_folders: ClassVar[bool] = False
    emotions: ClassVar[Codes]
    speakers: ClassVar[Codes]
    speaker_name: ClassVar[str] = "{}"
    sentences: ClassVar[Codes] = {}
    columns: ClassVar[Mapping[str, Codes]] = {}
    folder: ClassVar[str] = ""
    num_clips: ClassVar[int] = 0
    protocol_speakers: ClassVar[int] = 3
    twin: ClassVar[str] = "the same recording as"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        lacking = {"emotion", "speaker"}.difference(
            re.compile(getattr(cls, "pattern", "")).groupindex
        )
        if lacking:
            raise TypeError(f"{cls.__name__}.pattern needs the named group '{min(lacking)}'")

    @classmethod
    def names(cls, stem: str, place: str) -> Codes | None:
        """Groups of a file's name, or of its path without ending; None where it is none of these.

        The group ``name`` is all that fits; groups that are absent are left out.
        """
        match = _whole(cls.pattern).fullmatch(place if cls.in_folders else stem)
        groups = match.groupdict() if match else {}
        return {g: code for g, code in groups.items() if code is not None} if match else None

    @classmethod
    def recognise(cls, place: Place) -> str:
        """Where most audio files are named as this corpus names them, with codes that it has."""
        fitting, corpus = [], cls()
        for path in place.audio:
            codes = cls.names(path.stem, path.with_suffix("").as_posix())
            if codes is not None and corpus.rejection_reason(codes) is None:
                fitting.append(path)
        if not fitting or len(fitting) < _MOST * len(place.audio):
            return ""
        every = len(fitting) == len(place.audio)
        of = "" if every else f" of {len(place.audio):,}"
        return f"{len(fitting):,}{of} audio files are named as its own are, such as {fitting[0]}"

    def rejection_reason(self, codes: Codes) -> str | None:
        """Why a file whose name fits the pattern is left out; None where it is kept."""
        columns = {group: known for group, known in self.columns.items() if known}
        named = {"speaker": self.speakers, "sentence": self.sentences, "emotion": self.emotions}
        for group, known in {**columns, **named}.items():
            if group in codes and known and codes[group] not in known:
                listed = list(known)
                choices = f"{listed[0]} to {listed[-1]}"
                choices = choices if len(listed) > _SHOWN else ", ".join(listed)
                label = "unknown label: " if group == "emotion" else ""
                return f"{label}{group} code {codes[group]} is none of {choices}"
        return None

    def recording(self, stem: str) -> str:
        """What two files of the same recording have in common; by default their names."""
        return stem

    def rank(self, path: Path) -> tuple[object, ...]:
        """Sorts files of one recording: the first is kept, audio in the outermost folder."""
        return path.stat().st_size < _POINTER_BYTES, len(path.parts), str(path)

    def speaker_facts(
        self, source: Path, here: set[str]
    ) -> tuple[dict[str, dict[str, str]], list[str]]:
        """What is known of each speaker, by code: ``gender`` and further columns; and notes."""
        return {code: {"gender": gender} for code, gender in self.speakers.items()}, []

    def notes(
        self, source: Path, utterances: Sequence[Utterance], rejections: Sequence[RejectedUtterance]
    ) -> list[str]:
        """Sentences on what this corpus alone can lack or hold."""
        return []

    def scan(self, source: Path) -> Manifest:
        short = self.title.partition(",")[0]
        if not source.is_dir():
            remedy = f" ('serplatform download {self.name} DIR' fetches it)" if self.archive else ""
            raise BadInputError(
                f"{source}: no such directory; give the one that holds {short}{remedy}"
            )
        within = source / self.folder if (source / self.folder).is_dir() else source
        rejections: list[RejectedUtterance] = []
        clips: dict[tuple[str, str], list[tuple[Path, str, Codes]]] = defaultdict(list)
        for path in sorted(within.rglob("*")):
            if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith("._"):
                continue
            place = path.relative_to(source).with_suffix("").as_posix()
            codes = self.names(path.stem, place)
            foreign = f"its name is not one of {short}"
            reason = foreign if codes is None else self.rejection_reason(codes)
            if codes is None or reason is not None:
                rejections.append(RejectedUtterance(path.stem, str(path), str(reason)))
            else:
                found = clips[codes["speaker"], self.recording(codes["name"])]
                found.append((path, codes["name"], codes))
        here = {speaker for speaker, _ in clips}
        facts, notes = self.speaker_facts(source, here)
        utterances = []
        pointers = copies = 0
        for _, files in sorted(clips.items()):
            files.sort(key=lambda file: self.rank(file[0]))
            path, stem, kept = files[0]
            reason = file_problem(path) if path.stat().st_size < _POINTER_BYTES else None
            if reason is not None and "git-lfs" in reason:
                pointers += 1
                rejections.append(RejectedUtterance(stem, str(path), reason))
            else:
                utterances.append(self._utterance(path, stem, kept, facts))
            for other, name, _ in files[1:]:
                copies += name == stem
                reason = _COPY if name == stem else self.twin
                reason = f"{reason} {path.relative_to(source).as_posix()}"
                rejections.append(RejectedUtterance(name, str(other), reason))
        if pointers and not utterances:
            raise BadInputError(
                f"{within}: its {pointers} clips are git-lfs pointers instead of audio; run "
                "'git lfs pull' where the corpus was cloned"
            )
        if not utterances:
            such = f", such as {self.examples[0]}," if self.examples else ""
            raise BadInputError(
                f"{source}: holds no {short} speech{such} among {len(rejections)} audio file(s)"
            )
        notes = [*self.notes(source, utterances, rejections), *notes]
        if pointers:
            notes.append(f"{pointers} clips are git-lfs pointers instead of audio: left out")
        if self.num_clips and len(utterances) != self.num_clips:
            absent = [code for code in self.speakers if code not in here]
            missing = f"; speakers {first_of(absent, _SHOWN)} are missing" if absent else ""
            notes.append(
                f"{len(utterances)} of the corpus's {self.num_clips} clips are here{missing}"
            )
        if copies:
            notes.append(f"{copies} further copies of clips in other folders are left out")
        return Manifest(
            utterances=tuple(utterances), rejections=tuple(rejections), notes=tuple(notes)
        )

    def suits_default(self, utterances: Sequence[Utterance]) -> bool:
        """Where enough speakers are there."""
        return len({u.speaker_id for u in utterances}) >= self.protocol_speakers

    def _utterance(
        self, path: Path, stem: str, codes: Codes, facts: Mapping[str, Mapping[str, str]]
    ) -> Utterance:
        speaker = dict(facts.get(codes["speaker"], {}))
        gender = speaker.pop("gender", "")
        kept = {
            group: known.get(codes[group], codes[group])
            for group, known in self.columns.items()
            if group in codes
        }
        return Utterance(
            utterance_id=stem,
            path=path,
            speaker_id=self.speaker_name.format(codes["speaker"]),
            emotion=self.emotions[codes["emotion"]],
            gender=gender or None,
            text=self.sentences.get(codes.get("sentence", "")),
            language=self.language,
            extra={**kept, **speaker},
        )
