"""Copies are found by their sound, whatever was done to them; other takes are not."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from serplatform.features import fingerprint as module
from serplatform.features.fingerprint import (
    MIN_FRAMES,
    bit_error,
    find_copies,
    fingerprint,
)
from tests.support.speech_like import speech_like

Samples = npt.NDArray[np.float32]


def rounded(samples: Samples) -> Samples:
    return (np.clip(np.rint(samples * 32768), -32768, 32767) / 32768).astype(np.float32)


def coded(samples: Samples, container: str, codec: str, rate: int = 16_000) -> Samples:
    """Through a codec and back, as ``read_audio`` reads it."""
    file = io.BytesIO()
    soundfile.write(
        file, soxr.resample(samples, 16_000, rate), rate, format=container, subtype=codec
    )
    file.seek(0)
    read, found = soundfile.read(file, dtype="float32")
    return soxr.resample(read, found, 16_000).astype(np.float32)


DONE = {
    "3 dB louder": lambda x: rounded(x * 10**0.15),
    "12 dB softer, upside down": lambda x: rounded(-x * 10**-0.6),
    "10 ms of zeros in front": lambda x: np.r_[np.zeros(160, np.float32), x],
    "half a second of zeros in front": lambda x: np.r_[np.zeros(8_000, np.float32), x],
    "a sample cut": lambda x: x[1:],
    "100 ms cut": lambda x: x[1_600:],
    "a bit of dither": lambda x: rounded(
        x + np.random.default_rng(1).integers(-1, 2, len(x)).astype(np.float32) / 32768
    ),
    "Vorbis": lambda x: coded(x, "OGG", "VORBIS"),
    "Opus": lambda x: coded(x, "OGG", "OPUS"),
    "MP3": lambda x: coded(x, "MP3", "MPEG_LAYER_III"),
    "48 kHz": lambda x: coded(x, "WAV", "PCM_16", 48_000),
    "8 kHz": lambda x: coded(x, "WAV", "PCM_16", 8_000),
    "its second half": lambda x: x[len(x) // 2 :],
}


@pytest.fixture(scope="module")
def clips() -> list[Samples]:
    return [speech_like(2.5, seed=seed) for seed in range(12)]


@pytest.mark.parametrize("name", DONE)
def test_copy_is_found_and_nothing_else(clips: list[Samples], name: str) -> None:
    prints = [fingerprint(clip) for clip in (*clips, *map(DONE[name], clips))]
    pairs = find_copies(prints, range(len(prints)))
    assert pairs == [(i, i + len(clips)) for i in range(len(clips))]


def test_other_take_of_the_same_words_is_no_copy(clips: list[Samples]) -> None:
    """The same envelope and formants, with another pitch, as of a second take."""
    takes = [speech_like(2.5, seed=seed, take=1) for seed in range(12)]
    prints = [fingerprint(clip) for clip in (*clips, *takes)]
    assert find_copies(prints, range(len(prints))) == []
    same = [np.frombuffer(p, "<u4") for p in (prints[0] or b"", prints[12] or b"")]
    length = min(map(len, same))
    assert bit_error(same[0][:length], same[1][:length])[0] > module.MAX_BIT_ERROR


def test_fingerprint_is_a_few_hundred_bytes_and_the_same_in_blocks(
    clips: list[Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fingerprint(clips[0])
    assert whole is not None
    assert 100 < len(whole) <= 4 * 50 * 2.7
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert fingerprint(clips[0]) == whole


@pytest.mark.parametrize(
    "samples",
    [
        np.full(32_000, 0.1, np.float32),
        0.3 * np.sin(2 * np.pi * 440 / 16_000 * np.arange(32_000)).astype(np.float32),
        np.random.default_rng(0).standard_normal(4_000).astype(np.float32),
        np.zeros(100, np.float32),
    ],
    ids=["constant", "tone", "a quarter of a second", "shorter than a window"],
)
def test_what_says_too_little_has_no_fingerprint(samples: Samples) -> None:
    assert fingerprint(samples) is None


def test_clips_of_one_group_are_not_compared(clips: list[Samples]) -> None:
    prints = [fingerprint(clip) for clip in (clips[0], clips[0][1:], clips[0][5:])]
    assert find_copies(prints, [7, 7, 7]) == []
    assert find_copies(prints, [7, 7, 8]) == [(0, 2), (1, 2)]


def test_large_family_of_copies_is_connected(clips: list[Samples]) -> None:
    """More copies than words that each is compared with."""
    rng = np.random.default_rng(0)
    family = [
        fingerprint(clips[0] + 3e-4 * rng.standard_normal(len(clips[0])).astype(np.float32))
        for _ in range(2 * module._NEIGHBOURS)
    ]
    pairs = find_copies(family, range(len(family)))
    joined = {0}
    for _ in family:
        joined |= {name for pair in pairs if joined & set(pair) for name in pair}
    assert joined == set(range(len(family)))


def test_little_in_common_is_no_copy(clips: list[Samples]) -> None:
    """A sixth of each: the same jingle after one sentence and before another, say."""
    jingle = clips[0][:16_000]
    one = np.concatenate([clips[1], clips[2], jingle])
    for other in ([jingle, clips[3], clips[4]], [clips[3], clips[4], jingle]):
        assert find_copies([fingerprint(one), fingerprint(np.concatenate(other))], range(2)) == []


def test_clips_without_fingerprint_have_no_copies(clips: list[Samples]) -> None:
    words = np.arange(1, MIN_FRAMES, dtype="<u4").tobytes()  # one frame too few
    assert find_copies([None, None, words, words], range(4)) == []
    assert find_copies([], []) == []


def test_what_two_recordings_share_for_most_of_their_length_makes_no_copy(
    clips: list[Samples],
) -> None:
    """Three quarters of each are the same jingle: the rest differs."""
    jingle = np.concatenate(clips[:3])
    for place in (slice(None), slice(None, None, -1)):
        one, other = ([jingle, clip][place] for clip in (clips[3], clips[4]))
        prints = [fingerprint(np.concatenate(parts)) for parts in (one, other)]
        assert find_copies(prints, range(2)) == []
