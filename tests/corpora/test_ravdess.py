"""RAVDESS: file names, layouts, song, copies."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from serplatform.corpora.ravdess import Ravdess
from serplatform.errors import BadInputError


def put(path: Path, size: int = 2_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\1" * size)


def test_name_gives_label_speaker_gender_and_text(tmp_path: Path) -> None:
    put(tmp_path / "Actor_12" / "03-01-06-02-02-01-12.wav")
    (clip,) = Ravdess().scan(tmp_path).utterances
    assert (clip.utterance_id, clip.emotion) == ("03-01-06-02-02-01-12", "fearful")
    assert (clip.speaker_id, clip.gender) == ("actor_12", "female")
    assert (clip.text, clip.language) == ("dogs are sitting by the door", "en")
    assert clip.extra == {"intensity": "strong", "repetition": "1"}


@pytest.mark.parametrize(
    "layout",
    [
        "03-01-05-01-01-01-01.wav",
        "Actor_01/03-01-05-01-01-01-01.flac",
        "audio_speech_actors_01-24/Actor_01/03-01-05-01-01-01-01.WAV",
    ],
)
def test_folders_and_containers_do_not_matter(tmp_path: Path, layout: str) -> None:
    put(tmp_path / layout)
    (clip,) = Ravdess().scan(tmp_path).utterances
    assert (clip.emotion, clip.speaker_id, clip.gender) == ("angry", "actor_01", "male")


def test_copies_in_a_second_folder_are_left_out_and_said(tmp_path: Path) -> None:
    for folder in ("Actor_01", "audio_speech_actors_01-24/Actor_01"):
        put(tmp_path / folder / "03-01-05-01-01-01-01.wav")
        put(tmp_path / folder / "03-01-05-01-01-02-01.wav")
    manifest = Ravdess().scan(tmp_path)
    assert [u.path.parent.parent for u in manifest.utterances] == [tmp_path, tmp_path]
    assert {r.reason for r in manifest.rejections} == {
        "another copy of Actor_01/03-01-05-01-01-01-01.wav",
        "another copy of Actor_01/03-01-05-01-01-02-01.wav",
    }
    assert any(n.startswith("2 further copies of clips") for n in manifest.notes)


def test_sound_of_a_video_beside_its_audio_is_left_out_and_said(tmp_path: Path) -> None:
    put(tmp_path / "Audio_Speech" / "Actor_01" / "03-01-05-01-01-01-01.wav")
    put(tmp_path / "Actor_01" / "01-01-05-01-01-01-01.wav", size=9_000)
    put(tmp_path / "Actor_01" / "01-01-05-01-01-02-01.wav")  # no audio of this one
    manifest = Ravdess().scan(tmp_path)
    assert [u.utterance_id for u in manifest.utterances] == [
        "03-01-05-01-01-01-01",
        "01-01-05-01-01-02-01",
    ]
    assert {r.utterance_id: r.reason for r in manifest.rejections} == {
        "01-01-05-01-01-01-01": "sound and video of one recording; kept is "
        "Audio_Speech/Actor_01/03-01-05-01-01-01-01.wav"
    }
    assert manifest.notes[:2] == (
        "1 files are left out because audio (modality 03) and the sound of a video (01) of one "
        "recording are here; the audio is kept",
        "1 clips are the sound of videos (modality 01), whose audio (03) is not here",
    )


def test_audio_is_preferred_to_a_pointer(tmp_path: Path) -> None:
    put(tmp_path / "03-01-05-01-01-01-01.wav", size=130)
    put(tmp_path / "deep" / "er" / "03-01-05-01-01-01-01.wav")
    (clip,) = Ravdess().scan(tmp_path).utterances
    assert clip.path.parent.name == "er"


def test_song_and_foreign_files_are_left_out_and_said(tmp_path: Path) -> None:
    put(tmp_path / "03-01-05-01-01-01-01.wav")
    put(tmp_path / "03-02-05-01-01-01-01.wav")
    put(tmp_path / "02-01-05-01-01-01-01.wav")
    put(tmp_path / "01-01-05-01-01-01-01.mp4")
    put(tmp_path / "music.wav")
    put(tmp_path / "03-01-09-01-01-01-01.wav")
    put(tmp_path / "03-01-05-01-01-01-25.wav")
    put(tmp_path / "07-01-05-01-01-01-01.wav")
    put(tmp_path / "._03-01-05-01-01-01-02.wav")
    manifest = Ravdess().scan(tmp_path)
    assert len(manifest.utterances) == 1
    actors = ", ".join(f"{actor:02d}" for actor in range(1, 25))
    assert {r.utterance_id: r.reason for r in manifest.rejections} == {
        "03-02-05-01-01-01-01": "song, not speech",
        "02-01-05-01-01-01-01": "video without sound (modality 02)",
        "music": "its name is not one of RAVDESS",
        "03-01-09-01-01-01-01": "unknown label: emotion code 09 is none of "
        + ", ".join(f"{n:02d}" for n in range(1, 9)),
        "03-01-05-01-01-01-25": f"speaker code 25 is none of {actors}",
        "07-01-05-01-01-01-01": "modality 07 is not 03, 01 or 02",
    }
    assert "1 songs are left out: the corpus is prepared for speech" in manifest.notes
    assert "1 videos are left out: only audio files are read" in manifest.notes
    assert any(
        "1 of the corpus's 1440 clips are here; speakers 02, 03" in n for n in manifest.notes
    )


def test_missing_directory_and_wrong_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no such directory.*download ravdess"):
        Ravdess().scan(tmp_path / "absent")
    put(tmp_path / "music.wav")
    with pytest.raises(BadInputError, match=r"holds no RAVDESS speech.*among 1 audio file"):
        Ravdess().scan(tmp_path)


def test_six_folds_need_all_actors(tmp_path: Path) -> None:
    for actor in range(1, 25):
        put(tmp_path / f"03-01-05-01-01-01-{actor:02d}.wav")
    clips = Ravdess().scan(tmp_path).utterances
    assert Ravdess().choose_protocol(clips) == "ravdess-speaker-6fold"
    assert Ravdess().choose_protocol(clips[:12]) == "speaker-kfold:5"


@pytest.mark.skipif(
    "SERPLATFORM_RAVDESS" not in os.environ, reason="SERPLATFORM_RAVDESS names no corpus"
)
def test_whole_corpus_has_its_published_counts() -> None:
    manifest = Ravdess().scan(Path(os.environ["SERPLATFORM_RAVDESS"]))
    counts = Counter(u.emotion for u in manifest.utterances)
    assert counts.pop("neutral") == 96
    assert set(counts.values()) == {192}
    assert len(counts) == 7
    assert Counter(u.speaker_id for u in manifest.utterances).most_common()[-1][1] == 60
    assert manifest.notes == ()
