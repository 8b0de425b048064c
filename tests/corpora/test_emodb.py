"""EmoDB: file names, counts, copies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from serplatform.corpora.emodb import Emodb
from serplatform.errors import BadInputError


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\1" * 100)


@pytest.mark.parametrize(
    ("stem", "emotion", "gender"),
    [
        ("03a01Wa", "angry", "male"),
        ("08a02La", "bored", "female"),
        ("09a04Eb", "disgust", "female"),
        ("10b01Aa", "fearful", "male"),
        ("13b10Fc", "happy", "female"),
        ("15b03Ta", "sad", "male"),
        ("16a07Nd", "neutral", "female"),
    ],
)
def test_name_gives_speaker_sentence_and_label(
    tmp_path: Path, stem: str, emotion: str, gender: str
) -> None:
    put(tmp_path / "wav" / f"{stem}.wav")
    (clip,) = Emodb().scan(tmp_path).utterances
    assert (clip.utterance_id, clip.emotion, clip.gender) == (stem, emotion, gender)
    assert (clip.speaker_id, clip.language) == (stem[:2], "de")
    assert clip.extra == {"sentence": stem[2:5], "version": stem[-1]}


def test_sentences_are_known(tmp_path: Path) -> None:
    put(tmp_path / "03a01Fa.wav")
    assert Emodb().scan(tmp_path).utterances[0].text == "Der Lappen liegt auf dem Eisschrank."


def test_classes_are_in_label_order() -> None:
    assert Emodb.classes == ("neutral", "happy", "sad", "angry", "fearful", "disgust", "bored")


def test_foreign_names_and_copies_are_left_out_with_reasons(tmp_path: Path) -> None:
    for name in (
        "wav/03a01Fa.wav",
        "copy/03a01Fa.wav",
        "04a01Fa.wav",
        "03a03Fa.wav",
        "03a01Xa.wav",
        "notes.wav",
        "._03a01Fb.wav",
    ):
        put(tmp_path / name)
    manifest = Emodb().scan(tmp_path)
    assert len(manifest.utterances) == 1
    kept = manifest.utterances[0].path.relative_to(tmp_path).as_posix()
    assert Counter(r.reason.split(" is none")[0] for r in manifest.rejections) == {
        f"another copy of {kept}": 1,
        "speaker code 04": 1,
        "sentence code a03": 1,
        "unknown label: emotion code X": 1,
        "its name is not one of EmoDB": 1,
    }
    assert manifest.notes[0].startswith("1 of the corpus's 535 clips are here; speakers 08, 09")


def test_other_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such directory"):
        Emodb().scan(tmp_path / "absent")
    put(tmp_path / "other.wav")
    with pytest.raises(BadInputError, match=r"holds no EmoDB speech.*among 1 audio file"):
        Emodb().scan(tmp_path)


def test_default_protocol_needs_three_speakers(tmp_path: Path) -> None:
    for speaker in ("03", "08", "09"):
        put(tmp_path / f"{speaker}a01Fa.wav")
    utterances = Emodb().scan(tmp_path).utterances
    assert Emodb().choose_protocol(utterances) == "emodb-loso"
    assert Emodb().choose_protocol(utterances[:2]) == "random-kfold:5"
