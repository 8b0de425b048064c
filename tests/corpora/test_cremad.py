"""CREMA-D: file names, git-lfs pointers, demographics, the single X."""

from __future__ import annotations

from pathlib import Path

import pytest

from serplatform.corpora.cremad import Cremad
from serplatform.errors import BadInputError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 77868\n"
DEMOGRAPHICS = (
    "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n1002,21,Female,,\n"
)


def put(path: Path, content: bytes = b"\1" * 2_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_name_and_demographics_give_the_facts(tmp_path: Path) -> None:
    put(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")
    put(tmp_path / "AudioWAV" / "1002_WSI_HAP_LO.wav")
    put(tmp_path / "VideoDemographics.csv", DEMOGRAPHICS.encode())
    one, other = Cremad().scan(tmp_path).utterances
    assert (one.speaker_id, one.gender, one.emotion) == ("1001", "male", "angry")
    assert (one.text, one.language) == ("Don't forget a jacket", "en")
    assert one.extra == {"sentence": "DFA", "level": "unspecified", "age": "51"}
    assert (other.gender, other.emotion, other.extra["level"]) == ("female", "happy", "low")


def test_the_name_with_a_single_x_is_accepted(tmp_path: Path) -> None:
    put(tmp_path / "AudioWAV" / "1040_ITH_SAD_X.wav")
    (clip,) = Cremad().scan(tmp_path).utterances
    assert (clip.utterance_id, clip.extra["level"]) == ("1040_ITH_SAD_X", "unspecified")
    assert clip.gender is None


def test_mp3_copies_beside_audiowav_are_not_read(tmp_path: Path) -> None:
    put(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")
    put(tmp_path / "AudioMP3" / "1001_DFA_ANG_XX.mp3")
    manifest = Cremad().scan(tmp_path)
    assert len(manifest.utterances) == 1
    assert manifest.rejections == ()


def test_some_pointers_are_left_out_and_counted(tmp_path: Path) -> None:
    put(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")
    put(tmp_path / "AudioWAV" / "1001_DFA_SAD_XX.wav", POINTER)
    manifest = Cremad().scan(tmp_path)
    assert [r.utterance_id for r in manifest.rejections] == ["1001_DFA_SAD_XX"]
    assert "git-lfs pointer instead of audio" in manifest.rejections[0].reason
    assert "1 clips are git-lfs pointers instead of audio: left out" in manifest.notes


def test_a_copy_of_pointers_only_is_refused_with_the_remedy(tmp_path: Path) -> None:
    put(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav", POINTER)
    put(tmp_path / "AudioWAV" / "1001_DFA_SAD_XX.wav", POINTER)
    with pytest.raises(BadInputError, match=r"its 2 clips are git-lfs pointers.*'git lfs pull'"):
        Cremad().scan(tmp_path)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (None, "VideoDemographics.csv is not here"),
        (POINTER, "VideoDemographics.csv is a git-lfs pointer"),
        (b"a,b\n1,2\n", "has no columns ActorID and Sex"),
        (b"ActorID,Sex\n1002,Male\n", "VideoDemographics.csv lacks actors 1001"),
    ],
)
def test_trouble_with_demographics_is_said(
    tmp_path: Path, content: bytes | None, note: str
) -> None:
    put(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")
    if content is not None:
        put(tmp_path / "VideoDemographics.csv", content)
    assert any(note in n for n in Cremad().scan(tmp_path).notes)


def test_foreign_names_are_left_out_with_reasons(tmp_path: Path) -> None:
    for name in ("1001_DFA_ANG_XX", "1092_DFA_ANG_XX", "1001_ZZZ_ANG_XX", "1001_DFA_JOY_XX", "a"):
        put(tmp_path / f"{name}.wav")
    put(tmp_path / "again" / "1001_DFA_ANG_XX.wav")
    reasons = [r.reason for r in Cremad().scan(tmp_path).rejections]
    assert [reason.split(" none")[0] for reason in reasons] == [
        "unknown label: emotion code JOY is",
        "sentence code ZZZ is",
        "speaker code 1092 is",
        "its name is not one of CREMA-D",
        "another copy of 1001_DFA_ANG_XX.wav",
    ]


def test_other_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such directory"):
        Cremad().scan(tmp_path / "absent")
    with pytest.raises(BadInputError, match="holds no CREMA-D speech"):
        Cremad().scan(tmp_path)


def test_default_protocol_needs_an_actor_of_each_block(tmp_path: Path) -> None:
    for actor in (1001, 1019, 1037, 1055, 1073):
        put(tmp_path / f"{actor}_DFA_ANG_XX.wav")
    utterances = Cremad().scan(tmp_path).utterances
    assert Cremad().choose_protocol(utterances) == "cremad-speaker-5fold"
    assert Cremad().choose_protocol(utterances[1:]) == "loso"
