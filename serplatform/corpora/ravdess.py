"""RAVDESS: Ryerson Audio-Visual Database of Emotional Speech and Song, the speech part."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from serplatform.corpora.audio import AUDIO_SUFFIXES
from serplatform.corpora.base import CORPORA, Archive, Corpus, Manifest, Rejection, Utterance
from serplatform.corpora.validate import generic_protocol
from serplatform.errors import BadInputError

#: modality, vocal channel, emotion, intensity, statement, repetition, actor
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
_STATEMENTS = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}
_INTENSITIES = {"01": "normal", "02": "strong"}
_AUDIO_ONLY = "03"
_MODALITIES = ("01", "02", _AUDIO_ONLY)
_COPY, _TWIN = "another copy of", "sound and video of one recording; kept is"
_ACTORS = 24
_CLIPS = 1440
_POINTER_BYTES = 1024  # git-lfs pointers are smaller, audio is not


@CORPORA.register("ravdess")
class Ravdess(Corpus):
    """Livingstone and Russo, PLoS ONE 13(5): e0196391, 2018.

    File names carry everything; folders do not matter. Song is left out. Copies of a clip in
    another folder (the Zenodo archive unpacks next to itself in some copies) are left out, and
    so is the sound of its video (modality 01: the same recording under another name).
    """

    name = "ravdess"
    title = "RAVDESS, speech"
    language = "en"
    licence = "CC BY-NC-SA 4.0"
    size = "1,440 clips, 24 actors, 8 emotions, 1.5 h, 208 MB"
    obtain = "serplatform download ravdess DIR, or https://zenodo.org/records/1188976"
    default_protocol = "ravdess-speaker-6fold"
    classes = tuple(_EMOTIONS.values())
    archive = Archive(
        file="Audio_Speech_Actors_01-24.zip",
        url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
        md5="bc696df654c87fed845eb13823edef8a",
        num_bytes=208_468_073,
        variable="SERPLATFORM_RAVDESS_URL",
        folders=r"Actor_\d\d",
    )

    def scan(self, source: Path) -> Manifest:
        """List the clips under a directory; see the base class."""
        if not source.is_dir():
            raise BadInputError(
                f"{source}: no such directory; give the one that holds RAVDESS "
                "('serplatform download ravdess DIR' fetches it)"
            )
        files = sorted(
            path
            for path in source.rglob("*")
            if path.suffix.lower() in AUDIO_SUFFIXES
            and not path.name.startswith("._")
            and "__MACOSX" not in path.parts
        )
        videos = sum(1 for path in source.rglob("*.mp4") if _NAME.fullmatch(path.stem))
        rejections: list[Rejection] = []
        clips: dict[str, list[Path]] = defaultdict(list)
        for path in files:
            match = _NAME.fullmatch(path.stem)
            fault = "its name is not one of RAVDESS" if match is None else _code_fault(match)
            if fault is None:
                clips[path.stem[2:]].append(path)
            else:
                rejections.append(Rejection(utterance_id=path.stem, path=str(path), reason=fault))
        if not clips:
            raise BadInputError(
                f"{source}: holds no RAVDESS speech, such as "
                f"Actor_01/03-01-01-01-01-01-01.wav, among {len(files)} audio file(s)"
            )
        utterances = []
        for _, paths in sorted(clips.items(), key=lambda item: (item[0][-2:], item[0])):
            paths.sort(
                key=lambda p: (
                    p.stat().st_size < _POINTER_BYTES,
                    not p.stem.startswith(_AUDIO_ONLY),
                    len(p.parts),
                    str(p),
                )
            )
            utterances.append(_utterance(paths[0]))
            kept = paths[0].relative_to(source).as_posix()
            rejections += [
                Rejection(utterance_id=p.stem, path=str(p), reason=f"{same} {kept}")
                for p in paths[1:]
                for same in [_COPY if p.stem == paths[0].stem else _TWIN]
            ]
        notes = _notes(utterances, rejections, videos)
        return Manifest(utterances=tuple(utterances), rejections=tuple(rejections), notes=notes)

    def choose_protocol(self, utterances: Sequence[Utterance]) -> str:
        """The six folds of actors where all actors are there."""
        whole = len({u.speaker_id for u in utterances}) == _ACTORS
        return self.default_protocol if whole else generic_protocol(utterances)


def _code_fault(match: re.Match[str]) -> str | None:
    modality, channel, emotion, intensity, statement, _, actor = match.groups()
    if channel == "02":
        return "song, not speech"
    if channel != "01":
        return f"vocal channel {channel} is neither speech (01) nor song (02)"
    if modality == "02":
        return "video without sound (modality 02)"
    if modality not in _MODALITIES:
        return f"modality {modality} is not {_AUDIO_ONLY}, 01 or 02"
    if emotion not in _EMOTIONS:
        return f"unknown label: emotion code {emotion} is not 01 to 08"
    if intensity not in _INTENSITIES:
        return f"intensity code {intensity} is not 01 or 02"
    if statement not in _STATEMENTS:
        return f"statement code {statement} is not 01 or 02"
    if not 1 <= int(actor) <= _ACTORS:
        return f"actor {actor} is not 01 to {_ACTORS}"
    return None


def _utterance(path: Path) -> Utterance:
    _, _, emotion, intensity, statement, repetition, actor = path.stem.split("-")
    return Utterance(
        utterance_id=path.stem,
        path=path,
        speaker_id=f"actor_{actor}",
        emotion=_EMOTIONS[emotion],
        gender="male" if int(actor) % 2 else "female",
        text=_STATEMENTS[statement],
        language="en",
        extra={"intensity": _INTENSITIES[intensity], "repetition": str(int(repetition))},
    )


def _notes(
    utterances: list[Utterance], rejections: list[Rejection], videos: int
) -> tuple[str, ...]:
    notes: list[str] = []
    songs = sum(1 for r in rejections if r.reason.startswith("song"))
    copies = sum(1 for r in rejections if r.reason.startswith(_COPY))
    sounds = sum(1 for r in rejections if r.reason.startswith(_TWIN))
    alone = sum(not u.utterance_id.startswith(_AUDIO_ONLY) for u in utterances)
    if songs:
        notes.append(f"{songs} songs are left out: the corpus is prepared for speech")
    if copies:
        notes.append(f"{copies} further copies of clips in other folders are left out")
    if sounds:
        notes.append(
            f"{sounds} files are left out because audio (modality 03) and the sound of a video "
            "(01) of one recording are here; the audio is kept"
        )
    if alone:
        notes.append(
            f"{alone} clips are the sound of videos (modality 01), whose audio (03) is not here"
        )
    if videos:
        notes.append(f"{videos} videos are left out: only audio files are read")
    if len(utterances) != _CLIPS:
        counts = Counter(u.speaker_id for u in utterances)
        absent = [f"{a:02d}" for a in range(1, _ACTORS + 1) if f"actor_{a:02d}" not in counts]
        missing = f"; actors {', '.join(absent)} are missing" if absent else ""
        notes.append(f"{len(utterances)} of the corpus's {_CLIPS} clips are here{missing}")
    return tuple(notes)
