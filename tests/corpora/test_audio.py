"""Reading audio: every format to 16 kHz mono, and a reason for everything that is not speech."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serplatform.corpora.audio import (
    AudioError,
    audio_hash,
    level_db,
    read_audio,
    speech_bounds,
)

Writer = Callable[..., Path]
RATE = 16_000


def tone(seconds: float, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * frequency * time)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.wav", "PCM_U8"),
        ("a.flac", "PCM_16"),
        ("a.flac", "PCM_24"),
    ],
)
def test_samples_are_those_written(tmp_path: Path, name: str, subtype: str) -> None:
    written = tone(0.2)
    soundfile.write(tmp_path / name, written, RATE, subtype=subtype)
    audio = read_audio(tmp_path / name)
    assert audio.samples.dtype == np.float32
    step = 2**-7 if subtype == "PCM_U8" else 2**-15
    np.testing.assert_allclose(audio.samples, written, atol=step)
    assert (audio.start, audio.end, audio.sampling_rate) == (0.0, 0.2, RATE)


@pytest.mark.parametrize(("name", "tolerance"), [("a.ogg", 0.1), ("a.mp3", 0.1)])
def test_lossy_formats_are_read(tmp_path: Path, name: str, tolerance: float) -> None:
    soundfile.write(tmp_path / name, tone(0.5), RATE)
    audio = read_audio(tmp_path / name)
    assert audio.duration == pytest.approx(0.5, abs=tolerance)
    assert level_db(audio.samples[2_000:6_000]) == pytest.approx(-9.0, abs=0.5)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_other_rates_become_16_khz(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.5, rate), rate, subtype="FLOAT")
    audio = read_audio(tmp_path / "a.wav")
    assert audio.sampling_rate == rate
    assert len(audio.samples) == pytest.approx(8_000, abs=2)
    middle = slice(1_000, 7_000)  # away from the edges of the resampling filter
    np.testing.assert_allclose(audio.samples[middle], tone(0.5)[middle], atol=2e-3)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(0.1), tone(0.1, frequency=1_000.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(
        read_audio(tmp_path / "a.wav").samples, (left + right) / 2, atol=1e-6
    )


def test_only_the_span_is_read(tmp_path: Path) -> None:
    written = np.linspace(-0.5, 0.5, 3 * RATE)
    soundfile.write(tmp_path / "a.wav", written, RATE, subtype="FLOAT")
    audio = read_audio(tmp_path / "a.wav", start=1.0, end=1.5, max_duration=1.0)
    np.testing.assert_allclose(audio.samples, written[RATE : RATE + 8_000], atol=1e-6)
    assert (audio.start, audio.end, audio.duration) == (1.0, 1.5, 0.5)


def test_span_may_end_a_little_after_its_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0), RATE)
    assert read_audio(tmp_path / "a.wav", start=0.5, end=1.05).end == 1.0


def write_long_header(path: Path, seconds: int) -> None:
    """A WAV file of 8 bits at 8 kHz whose samples take no room on the disk."""
    size = seconds * 8_000
    header = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 1, 1, 8_000, 8_000, 1, 8) + b"data"
    header += struct.pack("<I", size)
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + size)


def test_two_hours_are_refused_without_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_long_header(tmp_path / "a.wav", 7_200)

    def no_reading(*_: object, **__: object) -> None:
        raise AssertionError("the file was decoded")

    monkeypatch.setattr(soundfile.SoundFile, "read", no_reading)
    with pytest.raises(AudioError, match=r"lasts 7200\.0 s, longer than is allowed \(60 s"):
        read_audio(tmp_path / "a.wav")


def test_a_short_span_of_a_long_file_is_accepted(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(3.0), RATE)
    assert read_audio(tmp_path / "a.wav", start=2.0, end=2.5, max_duration=1.0).duration == 0.5


def test_no_limit_reads_everything(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(61.0, 8_000), 8_000)
    assert read_audio(tmp_path / "a.wav", max_duration=None).duration == 61.0


def bad_file(kind: str, path: Path) -> None:
    if kind == "missing":
        return
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    elif kind == "text":
        path.write_text("This is not the file that you are looking for.\n" * 40)
    elif kind == "bytes":
        path.write_bytes(bytes(range(256)) * 8)
    elif kind == "no samples":
        soundfile.write(path, np.zeros(0), RATE)
    elif kind in ("nan", "inf"):
        samples = tone(0.2)
        samples[100] = np.nan if kind == "nan" else np.inf
        soundfile.write(path, samples, RATE, subtype="FLOAT")
    elif kind == "short":
        soundfile.write(path, tone(0.02), RATE)
    elif kind == "silent":
        soundfile.write(path, np.zeros(RATE), RATE)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such file"),
        ("folder", "is a folder"),
        ("empty", r"is empty \(0 bytes\)"),
        ("pointer", "git-lfs pointer.*git lfs pull"),
        ("text", "a text file, not audio"),
        ("bytes", "cannot be decoded"),
        ("no samples", "holds 0 samples"),
        ("nan", "not numbers"),
        ("inf", "not numbers"),
        ("short", r"lasts 20\.0 ms, less than one window"),
        ("silent", "digital silence throughout"),
    ],
)
def test_what_is_no_speech_has_a_reason(tmp_path: Path, kind: str, reason: str) -> None:
    bad_file(kind, tmp_path / "a.wav")
    with pytest.raises(AudioError, match=reason):
        read_audio(tmp_path / "a.wav")


def test_truncated_flac_is_named_with_what_can_be_decoded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.flac", rng.uniform(-0.5, 0.5, 4 * RATE), RATE)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        AudioError, match=r"cut short or damaged: its header declares 4\.000 s, and 1\.\d{3} s can"
    ):
        read_audio(tmp_path / "a.flac")


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (0.5, 0.5, "is empty or negative"),
        (-0.5, 0.5, "is empty or negative"),
        (0.8, 0.2, "is empty or negative"),
        (2.0, 3.0, r"leaves the file, which lasts 1\.000 s"),
        (0.5, 1.5, "leaves the file"),
        (0.5, 0.51, r"lasts 10\.0 ms"),
    ],
)
def test_bad_span_has_a_reason(tmp_path: Path, start: float, end: float, reason: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0), RATE)
    with pytest.raises(AudioError, match=reason):
        read_audio(tmp_path / "a.wav", start=start, end=end)


def test_same_recording_has_the_same_hash_in_another_container(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9_000, 9_000, RATE).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    soundfile.write(tmp_path / "b.flac", np.stack([samples, samples], axis=1), RATE)
    samples[5] += 1
    soundfile.write(tmp_path / "c.wav", samples, RATE)
    hashes = [audio_hash(read_audio(tmp_path / n).samples) for n in ("a.wav", "b.flac", "c.wav")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_level_of_a_sine_is_3_db_below_its_peak() -> None:
    assert level_db(tone(1.0).astype(np.float32)) == pytest.approx(-6.02 - 3.01, abs=0.01)


def test_speech_bounds_ignore_noise_and_digital_zeros() -> None:
    rng = np.random.default_rng(0)
    noise = 0.001 * rng.standard_normal(RATE)
    samples = np.concatenate([np.zeros(RATE // 2), noise[: RATE // 2], tone(1.0), noise])
    start, end = speech_bounds(samples.astype(np.float32))
    assert start == pytest.approx(0.92, abs=0.04)  # 50 ms of margin, 50 ms frames
    assert end == pytest.approx(2.08, abs=0.04)


def test_speech_bounds_of_a_very_short_clip_are_its_ends() -> None:
    assert speech_bounds(np.ones(500, dtype=np.float32)) == (0.0, 500 / RATE)


def test_wav_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1.0), 16_000)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 4_000])
    with pytest.raises(AudioError, match=r"declares 1\.000 s, and it holds 0\.250 s; copy it"):
        read_audio(path)


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_wav_written_into_a_pipe_does_not_say_its_size_and_is_whole(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1.0), 16_000)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", size)
    path.write_bytes(content)
    assert len(read_audio(path).samples) == 16_000


def test_wav_that_lacks_its_last_samples_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1.0), 16_000)
    path.write_bytes(path.read_bytes()[:-200])
    assert len(read_audio(path).samples) == 15_900
