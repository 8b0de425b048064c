"""The demo corpus: deterministic, balanced, shifted by emotion with overlap."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from serplatform.corpora.audio import level_db, read_audio
from serplatform.corpora.demo import Demo, speak
from serplatform.errors import BadInputError, SerplatformError


def test_listing_needs_no_audio_and_is_balanced(tmp_path: Path) -> None:
    manifest = Demo().scan(tmp_path)
    assert manifest.synthetic
    assert not list(tmp_path.iterdir())
    cells = Counter((u.speaker_id, u.emotion) for u in manifest.utterances)
    assert len(cells) == 32
    assert set(cells.values()) == {9}
    assert len({u.utterance_id for u in manifest.utterances}) == 288
    assert "synthetic speech" in manifest.notes[0]


def test_every_sentence_is_spoken_in_every_emotion(tmp_path: Path) -> None:
    manifest = Demo().scan(tmp_path)
    texts = {e: {u.text for u in manifest.utterances if u.emotion == e} for e in Demo.classes or ()}
    assert len(texts["sad"]) == 9
    assert all(found == texts["sad"] for found in texts.values())


def test_an_utterance_sounds_the_same_whatever_was_spoken_before(tmp_path: Path) -> None:
    demo = Demo(utterances=12, seed=3)
    listed = demo.scan(tmp_path / "a").utterances
    for utterance in listed:
        demo.render(utterance)
    again = Demo(utterances=12, seed=3)
    other = again.scan(tmp_path / "b").utterances
    rendered = again.render(other[7])
    np.testing.assert_array_equal(
        read_audio(other[7].path).samples, read_audio(listed[7].path).samples
    )
    assert rendered.spans == demo.render(listed[7]).spans


def test_seed_changes_the_speech(tmp_path: Path) -> None:
    lengths = set()
    for seed in range(3):
        demo = Demo(utterances=1, seed=seed)
        (utterance,) = demo.scan(tmp_path / str(seed)).utterances
        demo.render(utterance)
        lengths.add(len(read_audio(utterance.path).samples))
    assert len(lengths) == 3


def test_words_and_phones_follow_one_another_within_the_speech(tmp_path: Path) -> None:
    demo = Demo(utterances=1)
    rendered = demo.render(demo.scan(tmp_path).utterances[0])
    audio = read_audio(rendered.path)
    words = [s for s in rendered.spans if s.tier == "word"]
    phones = [s for s in rendered.spans if s.tier == "phone"]
    assert [w.label for w in words] == (rendered.text or "").split()
    assert len(phones) > 2 * len(words)
    for spans in (words, phones):
        assert all(s.start < s.end <= audio.duration + 0.01 for s in spans)
        assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(spans))


def test_emotions_move_level_and_duration_and_overlap(tmp_path: Path) -> None:
    demo = Demo(utterances=96, speakers=2)
    levels: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for utterance in demo.scan(tmp_path).utterances:
        demo.render(utterance)
        audio = read_audio(utterance.path)
        levels.setdefault(utterance.emotion, []).append(level_db(audio.samples))
        seconds.setdefault(utterance.emotion, []).append(audio.duration)
    mean = {name: np.mean(values) for name, values in levels.items()}
    assert mean["angry"] > mean["neutral"] + 2 > mean["sad"] + 4
    assert np.mean(seconds["sad"]) > np.mean(seconds["angry"]) * 1.2
    assert max(levels["neutral"]) > min(levels["angry"])  # they overlap


@pytest.mark.parametrize(("utterances", "speakers"), [(0, 8), (10, 0), (-1, -1)])
def test_impossible_sizes_are_refused_all_at_once(utterances: int, speakers: int) -> None:
    with pytest.raises(BadInputError, match="the demo corpus cannot be made") as caught:
        Demo(utterances=utterances, speakers=speakers)
    assert len(caught.value.faults) == (utterances < 1) + (speakers < 1)


def test_protocol_follows_the_speakers(tmp_path: Path) -> None:
    for speakers, name in [(8, "speaker-kfold:4"), (3, "loso"), (2, "random-kfold:5")]:
        demo = Demo(utterances=64, speakers=speakers)
        assert demo.choose_protocol(demo.scan(tmp_path).utterances) == name


def test_unknown_voice_is_named() -> None:
    with pytest.raises(SerplatformError, match="espeak-ng has no voice 'xx-nowhere'"):
        speak("hello", voice="xx-nowhere", rate=175, pitch=50, pitch_range=50)


def test_higher_pitch_is_spoken_higher() -> None:
    def pitch_of(pitch: int) -> float:
        spoken, rate, _ = speak("aaa", voice="en-us+m3", rate=120, pitch=pitch, pitch_range=0)
        samples = spoken.astype(np.float64)
        middle = samples[len(samples) // 3 :][:4_096]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(4_096), 32_768)) ** 2
        power = np.fft.irfft(spectrum)[: 32_768 // 2]
        low, high = round(rate / 300), round(rate / 60)
        return rate / (low + int(power[low:high].argmax()))

    assert pitch_of(80) > 1.2 * pitch_of(20)
