"""SAVEE: Surrey Audio-Visual Expressed Emotion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from serplatform.corpora.base import CORPORA
from serplatform.corpora.filename_corpus import Codes, FilenameCorpus

_SENTENCES = 15  # of each emotion; neutral has twice as many


@CORPORA.register("savee")
class Savee(FilenameCorpus):
    """Haq and Jackson, "Speaker-dependent audio-visual emotion recognition", AVSP 2009.

    Folders name the speakers (``DC/a01.wav``); copies in one folder put them before the name
    (``DC_a01.wav``).
    """

    title = "SAVEE, Surrey Audio-Visual Expressed Emotion"
    language = "en"
    licence = "own licence, for research, on request"
    size = "480 clips, 4 speakers, 7 emotions"
    obtain = "http://kahlan.eps.surrey.ac.uk/savee (on request)"
    default_protocol = "loso"
    in_folders = True
    pattern = r"(?P<speaker>DC|JE|JK|KL)[/_](?P<emotion>sa|su|[adfhn])(?P<sentence>\d\d)"
    emotions: ClassVar[Codes] = {
        "n": "neutral",
        "h": "happy",
        "sa": "sad",
        "a": "angry",
        "f": "fearful",
        "d": "disgust",
        "su": "surprised",
    }
    classes = tuple(emotions.values())
    speakers: ClassVar[Codes] = dict.fromkeys(("DC", "JE", "JK", "KL"), "male")
    columns: ClassVar[Mapping[str, Codes]] = {"sentence": {}}
    num_clips = 480
    examples = ("AudioData/DC/a01.wav", "AudioData/JE/sa02.wav", "ALL/KL_n30.wav")

    def rejection_reason(self, codes: Codes) -> str | None:
        most = _SENTENCES * (2 if codes["emotion"] == "n" else 1)
        if not 1 <= int(codes["sentence"]) <= most:
            return f"sentence {codes['sentence']} is none of 01 to {most}"
        return super().rejection_reason(codes)

    def recording(self, stem: str) -> str:
        """The name in either form; see the base class."""
        return stem.replace("/", "_")
