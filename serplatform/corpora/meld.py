"""MELD: Multimodal EmotionLines Dataset, of the television series Friends."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from serplatform.corpora.audio_file import AUDIO_SUFFIXES
from serplatform.corpora.base import CORPORA, Corpus, Manifest, RejectedUtterance, Utterance
from serplatform.corpora.place import Place
from serplatform.corpora.table_columns import is_name
from serplatform.corpora.table_dialect import read_table
from serplatform.errors import BadInputError

_PARTS = ("train", "dev", "test")
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_CLIP = re.compile(r"dia(\d+)_utt(\d+)")
_EMOTIONS = {
    "neutral": "neutral",
    "joy": "happy",
    "sadness": "sad",
    "anger": "angry",
    "fear": "fearful",
    "disgust": "disgust",
    "surprise": "surprised",
}
_GENDERS = {
    **dict.fromkeys(("Chandler", "Joey", "Ross"), "male"),
    **dict.fromkeys(("Monica", "Phoebe", "Rachel"), "female"),
}


@CORPORA.register("meld")
class Meld(Corpus):
    """Poria et al., "MELD: A Multimodal Multi-Party Dataset for Emotion Recognition in
    Conversations", ACL 2019.

    The tables ``{train,dev,test}_sent_emo.csv`` give labels; the clips are videos, whose sound must
    be written to ``dia0_utt0.wav`` in folders whose names say train, dev and test. Its own parts
    are the protocol; the main cast speaks in all of them, so it is not speaker-independent.
    """

    title = "MELD, Multimodal EmotionLines Dataset"
    language = "en"
    licence = "GPL-3.0 (labels); the clips are of a television series"
    size = "13,708 utterances, 7 emotions; train 9,989, dev 1,109, test 2,610"
    obtain = "https://github.com/declare-lab/MELD; then ffmpeg -i dia0_utt0.mp4 dia0_utt0.wav"
    default_protocol = "column"
    classes = tuple(_EMOTIONS.values())
    examples = (
        "train_splits/dia0_utt0.wav",
        "train_splits/dia0_utt1.wav",
        "output_repeated_splits_test/dia0_utt0.wav",
    )
    example_texts: ClassVar[Mapping[str, str]] = {
        "train_sent_emo.csv": "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,"
        "Utterance_ID\n1,How are you?,Ross,joy,positive,0,0\n2,Fine.,Monica,anger,negative,0,1\n",
        "test_sent_emo.csv": "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,"
        "Utterance_ID\n1,No!,Rachel,surprise,negative,0,0\n",
    }

    @classmethod
    def recognise(cls, place: Place) -> str:
        """By its tables."""
        found = [t for part in _PARTS for t in _tables(place, part)]
        return f"{', '.join(table.name for table in found)} in it" if found else ""

    def scan(self, source: Path) -> Manifest:
        if not source.is_dir():
            raise BadInputError(f"{source}: no such directory; give the one with the tables")
        place = Place(source)
        tables = {part: found for part in _PARTS if (found := _tables(place, part))}
        if not tables:
            raise BadInputError(f"{source}: holds none of the tables train_sent_emo.csv, …")
        clips: dict[tuple[str, str], list[Path]] = defaultdict(list)
        videos = 0
        rejections: list[RejectedUtterance] = []
        for file in place.files:
            clip, part = _CLIP.fullmatch(file.stem), _part(file.parent.as_posix())
            videos += bool(clip) and file.suffix.lower() == ".mp4"
            if file.suffix.lower() not in AUDIO_SUFFIXES:
                continue
            if clip and part:
                clips[part, file.stem].append(source / file)
            else:
                reason = "its name or folder is not one of MELD's (train…/dia0_utt0.wav)"
                rejections.append(RejectedUtterance(file.stem, str(source / file), reason))
        if videos and not clips:
            raise BadInputError(
                f"{source}: holds {videos} videos, and sound is read from audio files; write it "
                "beside them: for f in */*.mp4; do ffmpeg -i $f -vn ${f%.mp4}.wav; done"
            )
        utterances: list[Utterance] = []
        for part, (table, *_) in tables.items():
            content = read_table(table, is_name, "MELD's columns")
            if missing := [name for name in _COLUMNS if name not in content.header]:
                raise BadInputError(f"{table}: lacks the columns {', '.join(missing)}")
            at = {name: content.header.index(name) for name in _COLUMNS}
            for line, cells in content.records:
                if len(cells) <= max(at.values()):
                    raise BadInputError(f"{table}: line {line} has {len(cells)} cells")
                row = {name: cells[index] for name, index in at.items()}
                stem = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
                name = f"{part}_{stem}"
                files = clips.pop((part, stem), [])
                if not files or row["Emotion"] not in _EMOTIONS:
                    label = row["Emotion"]
                    reason = f"unknown label: {label}" if files else f"no clip {stem} of {part}"
                    rejections.append(RejectedUtterance(name, str(table), reason))
                    continue
                utterances.append(_utterance(name, part, files[0], row))
        for (part, stem), files in clips.items():
            reason = f"the table of {part} does not name it"
            rejections += [RejectedUtterance(f"{part}_{stem}", str(f), reason) for f in files]
        if not utterances:
            raise BadInputError(
                f"{source}: none of the clips that the tables name is here; they are expected as "
                f"train…/dia0_utt0.wav ({len(rejections)} left out)"
            )
        absent = [part for part in _PARTS if part not in tables]
        notes = [f"the table of {part} is not here" for part in absent]
        return Manifest(
            utterances=tuple(utterances), rejections=tuple(rejections), notes=tuple(notes)
        )

    def suits_default(self, utterances: Sequence[Utterance]) -> bool:
        """Where clips of train and of test are there."""
        return {"train", "test"} <= {u.split for u in utterances}


def _tables(place: Place, part: str) -> list[Path]:
    return [place.root / file for file in place.files if file.name == f"{part}_sent_emo.csv"]


def _part(folder: str) -> str:
    """The part that a folder's name says, the nearest one first."""
    for name in reversed(folder.lower().split("/")):
        if found := [part for part in _PARTS if part in name]:
            return found[0]
    return ""


def _utterance(name: str, part: str, path: Path, row: Mapping[str, str]) -> Utterance:
    return Utterance(
        utterance_id=name,
        path=path,
        speaker_id=row["Speaker"],
        emotion=_EMOTIONS[row["Emotion"]],
        gender=_GENDERS.get(row["Speaker"]),
        text=row["Utterance"],
        language="en",
        split=part,
        session=f"{part}_dia{row['Dialogue_ID']}",
    )
