"""ESD: Emotional Speech Database, English and Mandarin."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.base import CORPORA, Utterance
from serplatform.corpora.filename_corpus import Codes, FilenameCorpus

_EACH = 350  # sentences of an emotion, numbered on from one emotion to the next
_ORDER = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
_LAST_MANDARIN = 10
_PARTS = {"train": "train", "evaluation": "dev", "test": "test"}


@CORPORA.register("esd")
class Esd(FilenameCorpus):
    """Zhou, Sisman, Liu and Li, Speech Communication 137, 2022.

    Speakers 0001 to 0010 speak Mandarin, 0011 to 0020 English; give the folders of one language
    alone to have one. The folder names the emotion, and so does the number of a clip: 1 to 350 are
    neutral, then angry, happy, sad and surprised; a clip where they differ is left out. The
    release's train, evaluation (dev) and test parts divide sentences, not speakers; they are the
    column ``part`` (``--protocol column:part``). Whether a speaker is a man or a woman is not
    certain here, and left open.
    """

    title = "ESD, Emotional Speech Database"
    language = "en, zh"
    licence = "own licence, for research, on request"
    size = "35,000 clips, 20 speakers, 5 emotions, 29 h"
    obtain = "https://hltsingapore.github.io/ESD"
    default_protocol = "speaker-kfold:5"
    in_folders = True
    pattern = (
        r"(?P<speaker>00[012]\d)/(?P<emotion>[A-Z][a-z]+)/(?:(?P<part>train|test|evaluation)/)?"
        r"(?P=speaker)_(?P<number>\d{6})"
    )
    emotions: ClassVar[Codes] = {
        "Neutral": "neutral",
        "Happy": "happy",
        "Sad": "sad",
        "Angry": "angry",
        "Surprise": "surprised",
    }
    classes = tuple(emotions.values())
    speakers: ClassVar[Codes] = {f"{number:04d}": "" for number in range(1, 21)}
    columns: ClassVar[Mapping[str, Codes]] = {"number": {}, "part": _PARTS}
    num_clips = 35_000
    protocol_speakers = 10
    examples = (
        "0001/Angry/0001_000351.wav",
        "0011/Neutral/train/0011_000021.wav",
        "0020/Surprise/0020_001750.wav",
    )

    @classmethod
    def names(cls, stem: str, place: str) -> Codes | None:
        """As the base class; a clip is named without its folders."""
        codes = super().names(stem, place)
        return codes and {**codes, "name": stem}

    def rejection_reason(self, codes: Codes) -> str | None:
        known = super().rejection_reason(codes)
        block = (int(codes["number"]) - 1) // _EACH
        if known is None and (block < 0 or _ORDER[block : block + 1] != (codes["emotion"],)):
            return f"number {codes['number']} is none of the folder {codes['emotion']}"
        return known

    def _utterance(
        self, path: Path, stem: str, codes: Codes, facts: Mapping[str, Mapping[str, str]]
    ) -> Utterance:
        made = super()._utterance(path, stem, codes, facts)
        mandarin = int(codes["speaker"]) <= _LAST_MANDARIN
        return dataclasses.replace(made, language="zh" if mandarin else "en")
