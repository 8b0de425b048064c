"""RAVDESS: Ryerson Audio-Visual Database of Emotional Speech and Song, the speech part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.base import CORPORA, Archive, RejectedUtterance, Utterance
from serplatform.corpora.filename_corpus import Codes, FilenameCorpus

_AUDIO_ONLY = "03"


@CORPORA.register("ravdess")
class Ravdess(FilenameCorpus):
    """Livingstone and Russo, PLoS ONE 13(5): e0196391, 2018.

    File names carry everything; folders do not matter. Song is left out. Copies of a clip in
    another folder (the Zenodo archive unpacks next to itself in some copies) are left out, and
    so is the sound of its video (modality 01: the same recording under another name).
    """

    title = "RAVDESS, speech"
    language = "en"
    licence = "CC BY-NC-SA 4.0"
    size = "1,440 clips, 24 actors, 8 emotions, 1.5 h, 208 MB"
    obtain = "serplatform download ravdess DIR, or https://zenodo.org/records/1188976"
    default_protocol = "ravdess-speaker-6fold"
    archive = Archive(
        file="Audio_Speech_Actors_01-24.zip",
        url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
        md5="bc696df654c87fed845eb13823edef8a",
        num_bytes=208_468_073,
        variable="SERPLATFORM_RAVDESS_URL",
        folders=r"Actor_\d\d",
    )
    pattern = (
        r"(?P<modality>\d\d)-(?P<channel>\d\d)-(?P<emotion>\d\d)-(?P<intensity>\d\d)-"
        r"(?P<sentence>\d\d)-(?P<repetition>\d\d)-(?P<speaker>\d\d)"
    )
    emotions: ClassVar[Codes] = {
        "01": "neutral",
        "02": "calm",
        "03": "happy",
        "04": "sad",
        "05": "angry",
        "06": "fearful",
        "07": "disgust",
        "08": "surprised",
    }
    classes = tuple(emotions.values())
    speakers: ClassVar[Codes] = {
        f"{actor:02d}": "male" if actor % 2 else "female" for actor in range(1, 25)
    }
    speaker_name = "actor_{}"
    sentences: ClassVar[Codes] = {
        "01": "kids are talking by the door",
        "02": "dogs are sitting by the door",
    }
    columns: ClassVar[Mapping[str, Codes]] = {
        "intensity": {"01": "normal", "02": "strong"},
        "repetition": {f"{number:02d}": str(number) for number in range(100)},
    }
    num_clips = 1440
    protocol_speakers = 24
    twin = "sound and video of one recording; kept is"
    examples = (
        "Actor_01/03-01-01-01-01-01-01.wav",
        "Actor_02/03-01-05-02-02-01-02.wav",
        "Actor_24/01-01-08-01-02-02-24.wav",
    )

    def rejection_reason(self, codes: Codes) -> str | None:
        channel, modality = codes["channel"], codes["modality"]
        if channel == "02":
            return "song, not speech"
        if channel != "01":
            return f"vocal channel {channel} is neither speech (01) nor song (02)"
        if modality == "02":
            return "video without sound (modality 02)"
        if modality not in (_AUDIO_ONLY, "01"):
            return f"modality {modality} is not {_AUDIO_ONLY}, 01 or 02"
        return super().rejection_reason(codes)

    def recording(self, stem: str) -> str:
        """All but the modality; see the base class."""
        return stem[2:]

    def rank(self, path: Path) -> tuple[object, ...]:
        """Audio before the sound of a video; see the base class."""
        pointer, *place = super().rank(path)
        return pointer, not path.stem.startswith(_AUDIO_ONLY), *place

    def notes(
        self, source: Path, utterances: Sequence[Utterance], rejections: Sequence[RejectedUtterance]
    ) -> list[str]:
        songs = sum(r.reason.startswith("song") for r in rejections)
        sounds = sum(r.reason.startswith(self.twin) for r in rejections)
        alone = sum(not u.utterance_id.startswith(_AUDIO_ONLY) for u in utterances)
        videos = sum(bool(re.fullmatch(self.pattern, p.stem)) for p in source.rglob("*.mp4"))
        said = {
            f"{songs} songs are left out: the corpus is prepared for speech": songs,
            f"{sounds} files are left out because audio (modality 03) and the sound of a video "
            "(01) of one recording are here; the audio is kept": sounds,
            f"{alone} clips are the sound of videos (modality 01), whose audio (03) is not "
            "here": alone,
            f"{videos} videos are left out: only audio files are read": videos,
        }
        return [note for note, count in said.items() if count]
