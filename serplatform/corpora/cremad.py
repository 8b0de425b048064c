"""CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.audio import file_problem
from serplatform.corpora.base import CORPORA, Utterance
from serplatform.corpora.filename_corpus import Codes, FilenameCorpus
from serplatform.corpora.text_encoding import decode_text

_TABLE = "VideoDemographics.csv"


@CORPORA.register("cremad")
class Cremad(FilenameCorpus):
    """Cao et al., IEEE Transactions on Affective Computing 5(4), 2014.

    File names carry everything but sex and age, which ``VideoDemographics.csv`` gives. Where
    there is a folder ``AudioWAV`` only that is read: ``AudioMP3`` holds the same clips.
    """

    title = "CREMA-D"
    language = "en"
    licence = "Open Database License (ODbL) 1.0"
    size = "7,442 clips, 91 actors, 6 emotions, 5.3 h, 600 MB"
    obtain = "https://github.com/CheyneyComputerScience/CREMA-D (git lfs pull after cloning)"
    default_protocol = "cremad-speaker-5fold"
    # one file has a single X
    pattern = (
        r"(?P<speaker>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>LO|MD|HI|XX?)"
    )
    emotions: ClassVar[Codes] = {
        "NEU": "neutral",
        "HAP": "happy",
        "SAD": "sad",
        "ANG": "angry",
        "FEA": "fearful",
        "DIS": "disgust",
    }
    classes = tuple(emotions.values())
    speakers: ClassVar[Codes] = {str(actor): "" for actor in range(1001, 1092)}
    sentences: ClassVar[Codes] = {
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
    columns: ClassVar[Mapping[str, Codes]] = {
        "sentence": {},
        "level": {
            "LO": "low",
            "MD": "medium",
            "HI": "high",
            "XX": "unspecified",
            "X": "unspecified",
        },
    }
    folder = "AudioWAV"
    num_clips = 7442
    examples = (
        "AudioWAV/1001_DFA_ANG_XX.wav",
        "AudioWAV/1002_WSI_HAP_LO.wav",
        "AudioWAV/1040_ITH_SAD_X.wav",
    )
    example_texts: ClassVar[Mapping[str, str]] = {
        _TABLE: "ActorID,Age,Sex\n1001,51,Male\n1002,21,Female\n1040,42,Female\n"
    }

    def speaker_facts(
        self, source: Path, here: set[str]
    ) -> tuple[dict[str, dict[str, str]], list[str]]:
        table = next(iter(sorted(source.rglob(_TABLE))), None)
        if table is None:
            return {}, [f"{_TABLE} is not here: sex and age of the actors are unknown"]
        if "git-lfs" in (file_problem(table) or ""):
            return {}, [f"{_TABLE} is a git-lfs pointer: sex and age are unknown"]
        content, _ = decode_text(table.read_bytes())
        rows = csv.DictReader(io.StringIO(content))
        if not {"ActorID", "Sex"} <= set(rows.fieldnames or ()):
            return {}, [f"{_TABLE} has no columns ActorID and Sex: sex and age are unknown"]
        facts = {}
        for row in rows:
            actor, sex, age = ((row.get(key) or "").strip() for key in ("ActorID", "Sex", "Age"))
            facts[actor] = {"gender": sex.lower(), **({"age": age} if age else {})}
        unknown = sorted(here - facts.keys())
        return facts, [f"{_TABLE} lacks actors {', '.join(unknown)}"] if unknown else []

    def suits_default(self, utterances: Sequence[Utterance]) -> bool:
        """Where each of the five blocks has an actor."""
        return len({min((int(u.speaker_id) - 1001) // 18, 4) for u in utterances}) == 5
