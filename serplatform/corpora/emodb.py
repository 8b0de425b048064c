"""EmoDB: Berlin Database of Emotional Speech."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from serplatform.corpora.audio import AUDIO_SUFFIXES
from serplatform.corpora.base import CORPORA, Corpus, Manifest, Rejection, Utterance
from serplatform.corpora.validate import generic_protocol
from serplatform.errors import BadInputError

#: speaker, sentence, emotion letter, version letter: ``03a01Fa``
_NAME = re.compile(r"(\d\d)([ab]\d\d)([A-Z])([a-z])")
_EMOTIONS = {
    "N": "neutral",
    "F": "happy",
    "T": "sad",
    "W": "angry",
    "A": "fearful",
    "E": "disgust",
    "L": "bored",
}
_GENDERS = {
    "03": "male",
    "08": "female",
    "09": "female",
    "10": "male",
    "11": "male",
    "12": "male",
    "13": "female",
    "14": "female",
    "15": "male",
    "16": "female",
}
_SENTENCES = {
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
_CLIPS = 535


@CORPORA.register("emodb")
class Emodb(Corpus):
    """Burkhardt et al., "A Database of German Emotional Speech", Interspeech 2005.

    File names carry everything; folders do not matter.
    """

    name = "emodb"
    title = "EmoDB, Berlin Database of Emotional Speech"
    language = "de"
    licence = "CC0 1.0"
    size = "535 clips, 10 speakers, 7 emotions, 25 min, 40 MB"
    obtain = "https://zenodo.org/records/7447302, or http://emodb.bilderbar.info"
    default_protocol = "emodb-loso"
    classes = tuple(_EMOTIONS.values())

    def scan(self, source: Path) -> Manifest:
        """List the clips under a directory; see the base class."""
        if not source.is_dir():
            raise BadInputError(f"{source}: no such directory; give the one that holds EmoDB's wav")
        utterances: dict[str, Utterance] = {}
        rejections: list[Rejection] = []
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith("._"):
                continue
            reason = _fault(path.stem)
            if reason is None and path.stem in utterances:
                kept = utterances[path.stem].path.relative_to(source).as_posix()
                reason = f"another copy of {kept}"
            if reason is None:
                utterances[path.stem] = _utterance(path)
            else:
                rejections.append(Rejection(utterance_id=path.stem, path=str(path), reason=reason))
        if not utterances:
            raise BadInputError(
                f"{source}: holds no EmoDB speech, such as wav/03a01Fa.wav, "
                f"among {len(rejections)} audio file(s)"
            )
        notes = []
        if len(utterances) != _CLIPS:
            speakers = Counter(u.speaker_id for u in utterances.values())
            absent = [s for s in _GENDERS if s not in speakers]
            missing = f"; speakers {', '.join(absent)} are missing" if absent else ""
            notes.append(f"{len(utterances)} of the corpus's {_CLIPS} clips are here{missing}")
        return Manifest(
            utterances=tuple(utterances.values()),
            rejections=tuple(rejections),
            notes=tuple(notes),
        )

    def choose_protocol(self, utterances: Sequence[Utterance]) -> str:
        """Leave one speaker out, where there are three or more."""
        enough = len({u.speaker_id for u in utterances}) >= 3
        return self.default_protocol if enough else generic_protocol(utterances)


def _fault(stem: str) -> str | None:
    match = _NAME.fullmatch(stem)
    if match is None:
        return "its name is not one of EmoDB"
    speaker, sentence, emotion, _ = match.groups()
    if speaker not in _GENDERS:
        return f"speaker {speaker} is none of {', '.join(_GENDERS)}"
    if sentence not in _SENTENCES:
        return f"sentence {sentence} is none of {', '.join(_SENTENCES)}"
    if emotion not in _EMOTIONS:
        return f"unknown label: emotion letter {emotion} is none of {', '.join(_EMOTIONS)}"
    return None


def _utterance(path: Path) -> Utterance:
    match = _NAME.fullmatch(path.stem)
    assert match is not None  # noqa: S101
    speaker, sentence, emotion, version = match.groups()
    return Utterance(
        utterance_id=path.stem,
        path=path,
        speaker_id=speaker,
        emotion=_EMOTIONS[emotion],
        gender=_GENDERS[speaker],
        text=_SENTENCES[sentence],
        language="de",
        extra={"sentence": sentence, "version": version},
    )
