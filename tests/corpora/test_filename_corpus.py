"""A corpus of coded file names is a declaration: SAVEE in both of its layouts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from serplatform.corpora.base import CORPORA, Manifest
from serplatform.corpora.filename_corpus import Codes, FilenameCorpus
from serplatform.errors import BadInputError
from serplatform.testing.corpus_contract import CorpusContract, build_miniature


class Savee(FilenameCorpus):
    """Haq and Jackson, "Speaker-dependent audio-visual emotion recognition", AVSP 2009."""

    name = "savee"
    title = "SAVEE, Surrey Audio-Visual Expressed Emotion"
    language = "en"
    licence = "for research, on request"
    size = "480 clips, 4 speakers, 7 emotions"
    obtain = "http://kahlan.eps.surrey.ac.uk/savee"
    default_protocol = "loso"
    pattern = r"(?P<speaker>[A-Z]{2})_(?P<emotion>[a-z]{1,2})(?P<number>\d\d)"
    emotions: ClassVar[Codes] = {
        "a": "angry",
        "d": "disgust",
        "f": "fearful",
        "h": "happy",
        "n": "neutral",
        "sa": "sad",
        "su": "surprised",
    }
    classes = tuple(emotions.values())
    speakers = dict.fromkeys(("DC", "JE", "JK", "KL"), "male")
    columns: ClassVar[Mapping[str, Codes]] = {"number": {}}
    num_clips = 480
    examples = ("DC_a01.wav", "JE_sa15.wav", "KL_n30.wav")


class SaveeFolders(Savee):
    """The same in the layout of its release: the speaker is a folder."""

    name = "savee-folders"
    pattern = Savee.pattern.replace("_", "/")
    in_folders = True
    examples = ("AudioData/DC/a01.wav", "AudioData/JE/sa15.wav", "AudioData/KL/n30.wav")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    CORPORA.names()
    for corpus in (Savee, SaveeFolders):
        monkeypatch.setitem(CORPORA._members, corpus.name, corpus)


@pytest.mark.parametrize("name", ["savee", "savee-folders"])
class TestSavee(CorpusContract):
    pass


def test_codes_in_folders_give_speaker_and_emotion(tmp_path: Path) -> None:
    manifest = SaveeFolders().scan(build_miniature(SaveeFolders, tmp_path))
    assert [
        (u.utterance_id, u.speaker_id, u.emotion, u.gender, u.extra) for u in manifest.utterances
    ] == [
        ("DC/a01", "DC", "angry", "male", {"number": "01"}),
        ("JE/sa15", "JE", "sad", "male", {"number": "15"}),
        ("KL/n30", "KL", "neutral", "male", {"number": "30"}),
    ]
    assert manifest.notes == ("3 of the corpus's 480 clips are here; speakers JK are missing",)


def test_every_undeclared_code_is_named(tmp_path: Path) -> None:
    build_miniature(Savee, tmp_path)
    for name in ("DC_x01", "XY_a01", "dc_a01"):
        (tmp_path / f"{name}.wav").write_bytes(b"\1" * 2_000)
    reasons = {r.utterance_id: r.reason for r in Savee().scan(tmp_path).rejections}
    assert reasons == {
        "DC_x01": "unknown label: emotion code x is none of a, d, f, h, n, sa, su",
        "XY_a01": "speaker code XY is none of DC, JE, JK, KL",
        "dc_a01": "its name is not one of SAVEE",
    }


def test_the_outermost_of_several_copies_is_kept(tmp_path: Path) -> None:
    for place in ("a/b/DC_a01.wav", "c/DC_a01.wav", "d/DC_a01.wav"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"\1" * 2_000)
    manifest = Savee().scan(tmp_path)
    assert [u.path for u in manifest.utterances] == [tmp_path / "c/DC_a01.wav"]
    assert [r.reason for r in manifest.rejections] == ["another copy of c/DC_a01.wav"] * 2
    assert manifest.notes[-1] == "2 further copies of clips in other folders are left out"


def test_pointers_in_place_of_all_audio_are_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "DC_a01.wav").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(BadInputError, match=r"its 1 clips are git-lfs pointers.*'git lfs pull'"):
        Savee().scan(tmp_path)


class Unruly(Savee):
    """Gives every clip one id, no speaker, or no examples that fit its pattern."""

    wrong: ClassVar[str] = ""

    def scan(self, source: Path) -> Manifest:
        found = super().scan(source)
        clips = [
            dataclasses.replace(
                clip,
                utterance_id="one" if self.wrong == "id" else clip.utterance_id,
                speaker_id="" if self.wrong == "speaker" and not i else clip.speaker_id,
                emotion="smug" if self.wrong == "label" else clip.emotion,
            )
            for i, clip in enumerate(found.utterances)
        ]
        return dataclasses.replace(found, utterances=tuple(clips))


@pytest.mark.parametrize("wrong", ["id", "speaker", "label"])
def test_the_contract_finds_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: str
) -> None:
    monkeypatch.setitem(CORPORA._members, "savee", Unruly)
    test = CorpusContract().test_utterances_have_unique_ids_speakers_and_known_labels
    test("savee", tmp_path / "right")
    monkeypatch.setattr(Unruly, "wrong", wrong)
    with pytest.raises(AssertionError):
        test("savee", tmp_path / "wrong")


def test_the_contract_finds_examples_that_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Savee, "examples", (*Savee.examples, "XX_a01.wav"))
    with pytest.raises(AssertionError):
        CorpusContract().test_every_example_is_an_utterance("savee", tmp_path)


def test_a_pattern_must_say_who_speaks_which_emotion() -> None:
    with pytest.raises(TypeError, match=r"Nobody.pattern needs the named group 'speaker'"):
        type("Nobody", (FilenameCorpus,), {"pattern": r"(?P<emotion>[a-z]+)\d+"})


def test_groups_that_did_not_match_are_no_columns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Savee, "pattern", Savee.pattern + r"(?:_(?P<level>high|low))?")
    monkeypatch.setattr(Savee, "columns", {"number": {}, "level": {"high": "2", "low": "1"}})
    monkeypatch.setattr(Savee, "examples", ("DC_a01.wav", "DC_a02_high.wav"))
    clips = Savee().scan(build_miniature(Savee, tmp_path)).utterances
    assert [clip.extra for clip in clips] == [{"number": "01"}, {"number": "02", "level": "2"}]
