"""EmoDB: Berlin Database of Emotional Speech."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from serplatform.corpora.base import CORPORA
from serplatform.corpora.filename_corpus import Codes, FilenameCorpus
from serplatform.corpora.place import Place

_MEN = ("03", "10", "11", "12", "15")


@CORPORA.register("emodb")
class Emodb(FilenameCorpus):
    """Burkhardt et al., "A Database of German Emotional Speech", Interspeech 2005.

    File names carry everything; folders do not matter.
    """

    title = "EmoDB, Berlin Database of Emotional Speech"
    language = "de"
    licence = "CC0 1.0"
    size = "535 clips, 10 speakers, 7 emotions, 25 min, 40 MB"
    obtain = "https://zenodo.org/records/7447302, or http://emodb.bilderbar.info"
    default_protocol = "emodb-loso"
    pattern = r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])"
    emotions: ClassVar[Codes] = {
        "N": "neutral",
        "F": "happy",
        "T": "sad",
        "W": "angry",
        "A": "fearful",
        "E": "disgust",
        "L": "bored",
    }
    classes = tuple(emotions.values())
    speakers: ClassVar[Codes] = {
        code: "male" if code in _MEN else "female"
        for code in ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    }
    sentences: ClassVar[Codes] = {
        "a01": "Der Lappen liegt auf dem Eisschrank.",
        "a02": "Das will sie am Mittwoch abgeben.",
        "a04": "Heute abend könnte ich es ihm sagen.",
        "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
        "a07": "In sieben Stunden wird es soweit sein.",
        "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
        "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
        "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
        "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
        "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
    }
    columns: ClassVar[Mapping[str, Codes]] = {"sentence": {}, "version": {}}
    num_clips = 535
    examples = ("wav/03a01Fa.wav", "wav/08a02La.wav", "wav/16b10Nd.wav")

    #: how many clips there are where it is this release; see ``emodb2.py``
    clips_from: ClassVar[int] = 0
    clips_to: ClassVar[int] = num_clips

    @classmethod
    def recognise(cls, place: Place) -> str:
        """As the base class, where there are as many clips as this release has."""
        count = sum(cls.names(path.stem, str(path)) is not None for path in place.audio)
        return super().recognise(place) if cls.clips_from <= count <= cls.clips_to else ""
