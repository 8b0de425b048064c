"""JL-Corpus: emotional speech in New Zealand English."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from serplatform.corpora.base import CORPORA
from serplatform.corpora.filename_corpus import Codes, FilenameCorpus

#: as the files of the release name them; the paper's words differ (pensive, worried, enthusiastic)
_SECONDARY = ("anxious", "apologetic", "assertive", "concerned", "encouraging")


@CORPORA.register("jl-corpus")
class JlCorpus(FilenameCorpus):
    """James, Tian and Watson, "An Open Source Emotional Speech Corpus for Human Robot Interaction
    Applications", Interspeech 2018.

    Two women and two men, 240 clips in each of five primary and five secondary emotions. The
    primary ones are read; the secondary ones are no classes of the vocabulary and are left out,
    with that reason.
    """

    title = "JL-Corpus, New Zealand English"
    language = "en"
    licence = "CC0 1.0"
    size = "2,400 clips, 4 speakers, 5 primary and 5 secondary emotions"
    obtain = "https://github.com/tli725/JL-Corpus"
    default_protocol = "loso"
    pattern = (
        r"(?P<speaker>(?:fe)?male[12])_(?P<emotion>[a-z]+)_(?P<sentence>\d{1,2}[ab]?)_"
        r"(?P<repetition>\d)"
    )
    emotions: ClassVar[Codes] = {
        name: name for name in ("neutral", "happy", "sad", "angry", "excited")
    }
    classes = tuple(emotions)
    speakers: ClassVar[Codes] = {
        f"{gender}{number}": gender for gender in ("female", "male") for number in (1, 2)
    }
    columns: ClassVar[Mapping[str, Codes]] = {"sentence": {}, "repetition": {}}
    examples = ("female1_angry_10a_1.wav", "male2_sad_1b_2.wav", "male1_neutral_9b_1.wav")

    def rejection_reason(self, codes: Codes) -> str | None:
        if codes["emotion"] in _SECONDARY:
            return f"secondary emotion ({codes['emotion']}), not one of the five primary ones"
        return super().rejection_reason(codes)
