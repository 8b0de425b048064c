"""TESS: Toronto Emotional Speech Set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.base import CORPORA, Utterance
from serplatform.corpora.filename_corpus import Codes, FilenameCorpus


@CORPORA.register("tess")
class Tess(FilenameCorpus):
    """Pichora-Fuller and Dupuis, Borealis, doi:10.5683/SP2/E8H2MF, 2020.

    An older and a younger actress say "Say the word …" with 200 words in each of 7 emotions. With
    two speakers there is no speaker-independent protocol that has dev speakers. Copies hold one
    file ``OA_bite_neutral``, which is read as ``OAF``.
    """

    title = "TESS, Toronto Emotional Speech Set"
    language = "en"
    licence = "CC BY-NC-ND 4.0"
    size = "2,800 clips, 2 actresses, 7 emotions"
    obtain = "https://doi.org/10.5683/SP2/E8H2MF"
    default_protocol = "random-kfold:5"
    pattern = r"(?P<speaker>OAF?|YAF)_(?P<word>[A-Za-z-]+)_(?P<emotion>[a-z]+)"
    emotions: ClassVar[Codes] = {
        "neutral": "neutral",
        "happy": "happy",
        "sad": "sad",
        "angry": "angry",
        "fear": "fearful",
        "disgust": "disgust",
        "ps": "surprised",
    }
    classes = tuple(emotions.values())
    speakers: ClassVar[Codes] = {"OAF": "female", "OA": "female", "YAF": "female"}
    columns: ClassVar[Mapping[str, Codes]] = {"word": {}}
    num_clips = 2800
    protocol_speakers = 1
    examples = ("OAF_angry/OAF_back_angry.wav", "YAF_sad/YAF_back_sad.wav", "YAF_date_ps.wav")

    def _utterance(
        self, path: Path, stem: str, codes: Codes, facts: Mapping[str, Mapping[str, str]]
    ) -> Utterance:
        made = super()._utterance(path, stem, codes, facts)
        speaker = made.speaker_id.ljust(3, "F")
        return dataclasses.replace(
            made, speaker_id=speaker, text=f"say the word {codes['word'].lower()}"
        )
