"""CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from serplatform.corpora.audio import AUDIO_SUFFIXES, file_fault
from serplatform.corpora.base import CORPORA, Corpus, Manifest, Rejection, Utterance
from serplatform.corpora.validate import generic_protocol
from serplatform.errors import BadInputError

#: actor, sentence, emotion, level: ``1001_DFA_ANG_XX``; one file has a single X
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)")
_EMOTIONS = {
    "NEU": "neutral",
    "HAP": "happy",
    "SAD": "sad",
    "ANG": "angry",
    "FEA": "fearful",
    "DIS": "disgust",
}
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}
_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
_FIRST_ACTOR, _LAST_ACTOR = 1001, 1091
_CLIPS = 7442
_POINTER_BYTES = 1024  # git-lfs pointers are smaller, audio is not


@CORPORA.register("cremad")
class Cremad(Corpus):
    """Cao et al., IEEE Transactions on Affective Computing 5(4), 2014.

    File names carry everything but sex and age, which ``VideoDemographics.csv`` gives. Where
    there is a folder ``AudioWAV`` only that is read: ``AudioMP3`` holds the same clips.
    """

    name = "cremad"
    title = "CREMA-D"
    language = "en"
    licence = "Open Database License (ODbL) 1.0"
    size = "7,442 clips, 91 actors, 6 emotions, 5.3 h, 600 MB"
    obtain = "https://github.com/CheyneyComputerScience/CREMA-D (git lfs pull after cloning)"
    default_protocol = "cremad-speaker-5fold"
    classes = tuple(_EMOTIONS.values())

    def scan(self, source: Path) -> Manifest:
        """List the clips under a directory; see the base class."""
        if not source.is_dir():
            raise BadInputError(
                f"{source}: no such directory; give the one that holds CREMA-D's AudioWAV"
            )
        folder = source / "AudioWAV" if (source / "AudioWAV").is_dir() else source
        actors, notes = _demographics(source)
        utterances: dict[str, Utterance] = {}
        rejections: list[Rejection] = []
        pointers = 0
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith("._"):
                continue
            reason = _fault(path.stem)
            if reason is None and path.stat().st_size < _POINTER_BYTES:
                reason = file_fault(path)
                pointers += reason is not None and "git-lfs" in reason
            if reason is None and path.stem in utterances:
                kept = utterances[path.stem].path.relative_to(source).as_posix()
                reason = f"another copy of {kept}"
            if reason is None:
                utterances[path.stem] = _utterance(path, actors)
            else:
                rejections.append(Rejection(utterance_id=path.stem, path=str(path), reason=reason))
        if not utterances:
            if pointers:
                raise BadInputError(
                    f"{folder}: its {pointers} clips are git-lfs pointers instead of audio; run "
                    "'git lfs pull' where the corpus was cloned"
                )
            raise BadInputError(
                f"{source}: holds no CREMA-D speech, such as AudioWAV/1001_DFA_ANG_XX.wav, among "
                f"{len(rejections)} audio file(s)"
            )
        if pointers:
            notes.append(f"{pointers} clips are git-lfs pointers instead of audio: left out")
        if len(utterances) != _CLIPS:
            notes.append(f"{len(utterances)} of the corpus's {_CLIPS} clips are here")
        unknown = sorted({u.speaker_id for u in utterances.values()} - actors.keys())
        if actors and unknown:
            notes.append(f"VideoDemographics.csv lacks actors {', '.join(unknown)}")
        return Manifest(
            utterances=tuple(utterances.values()),
            rejections=tuple(rejections),
            notes=tuple(notes),
        )

    def choose_protocol(self, utterances: Sequence[Utterance]) -> str:
        """The five blocks of actors where each block has an actor."""
        blocks = {min((int(u.speaker_id) - _FIRST_ACTOR) // 18, 4) for u in utterances}
        return self.default_protocol if len(blocks) == 5 else generic_protocol(utterances)


def _fault(stem: str) -> str | None:
    match = _NAME.fullmatch(stem)
    if match is None:
        return "its name is not one of CREMA-D"
    actor, sentence, emotion, _ = match.groups()
    if not _FIRST_ACTOR <= int(actor) <= _LAST_ACTOR:
        return f"actor {actor} is not {_FIRST_ACTOR} to {_LAST_ACTOR}"
    if sentence not in _SENTENCES:
        return f"sentence {sentence} is none of {', '.join(_SENTENCES)}"
    if emotion not in _EMOTIONS:
        return f"unknown label: emotion code {emotion} is none of {', '.join(_EMOTIONS)}"
    return None


def _utterance(path: Path, actors: dict[str, tuple[str, str]]) -> Utterance:
    actor, sentence, emotion, level = path.stem.split("_")
    gender, age = actors.get(actor, ("", ""))
    return Utterance(
        utterance_id=path.stem,
        path=path,
        speaker_id=actor,
        emotion=_EMOTIONS[emotion],
        gender=gender or None,
        text=_SENTENCES[sentence],
        language="en",
        extra={"sentence": sentence, "level": _LEVELS[level], **({"age": age} if age else {})},
    )


def _demographics(source: Path) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Sex and age by actor, and what there is to say about the table."""
    table = next(iter(sorted(source.rglob("VideoDemographics.csv"))), None)
    if table is None:
        return {}, ["VideoDemographics.csv is not here: sex and age of the actors are unknown"]
    content = table.read_bytes()
    if file_fault(table) is not None and b"git-lfs" in content[:64]:
        return {}, ["VideoDemographics.csv is a git-lfs pointer: sex and age are unknown"]
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig", errors="replace")))
    if not {"ActorID", "Sex"} <= set(rows.fieldnames or ()):
        return {}, ["VideoDemographics.csv has no columns ActorID and Sex: sex and age are unknown"]
    return {
        (row["ActorID"] or "").strip(): (
            (row["Sex"] or "").strip().lower(),
            (row.get("Age") or "").strip(),
        )
        for row in rows
    }, []
