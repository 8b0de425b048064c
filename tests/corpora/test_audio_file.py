"""Recordings in every container: cut short, with wrong sizes, without sound, or no audio at all."""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serplatform.corpora.audio import (
    CANCEL,
    AudioError,
    file_problem,
    judge_audio,
    read_audio,
    summarize_notes,
)
from serplatform.corpora.audio_layout import LESS, MORE, mp3_extent

RATE = 16_000
SECONDS = 4


def speech(seconds: float = SECONDS, rate: int = RATE) -> np.ndarray:
    """Noise that swells: no two stretches are alike, and codecs cannot make it small."""
    count = round(seconds * rate)
    rng = np.random.default_rng(7)
    swell = 1 + np.sin(np.arange(count) / 4_000)
    return (0.1 * rng.standard_normal(count) * swell).clip(-0.9, 0.9)


def encoded(kind: str, subtype: str | None = None, samples: np.ndarray | None = None) -> bytearray:
    stream = io.BytesIO()
    samples = speech() if samples is None else samples
    endian = "BIG" if kind == "RIFX" else None
    kind = "WAV" if kind == "RIFX" else kind
    soundfile.write(stream, samples, RATE, format=kind, subtype=subtype, endian=endian)
    return bytearray(stream.getvalue())


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes], Path]:
    """Write a file whose name says nothing."""

    def write(content: bytes) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.bin"
        path.write_bytes(content)
        return path

    return write


def reason(path: Path, **span: float) -> str:
    """Why a file is refused, whole or by its span, and as a stream alike."""
    with pytest.raises(AudioError, match=r"\w") as whole:
        read_audio(path, **span)
    with pytest.raises(AudioError, match=r"\w") as streamed:
        judge_audio(path)
    if not span:
        assert str(whole.value) == str(streamed.value)
    return str(whole.value)


def length(path: Path) -> float:
    """Seconds, which are the same whole and as a stream."""
    audio = read_audio(path)
    recording = judge_audio(path)
    streamed = np.concatenate(list(recording.blocks()))
    np.testing.assert_array_equal(streamed, audio.samples)
    assert recording.notes == audio.notes
    return audio.duration


LINEAR = ["WAV", "WAVEX", "RF64", "RIFX", "AIFF", "AU", "W64", "CAF", "NIST", "SVX"]


@pytest.mark.parametrize("kind", [*LINEAR, "AVR", "MPC2K", "MAT5"])
def test_a_cut_copy_is_named_with_what_it_declares_and_holds(kind, put):
    content = encoded(kind)
    assert length(put(content)) == SECONDS
    told = reason(put(content[: len(content) * 6 // 10]))
    assert "is cut short: its header declares" in told
    declared, held = map(float, re.findall(r"(\d+\.\d+) s", told))
    assert declared == pytest.approx(SECONDS, abs=0.01)
    assert held == pytest.approx(0.6 * SECONDS, abs=0.1)  # CAF has 4 kB of header
    assert read_audio(put(content[:-200])).duration == pytest.approx(SECONDS, abs=0.02)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_a_cut_copy_is_named_whatever_its_samples(subtype, put):
    content = encoded("WAV", subtype)
    assert length(put(content)) == SECONDS
    told = reason(put(content[: len(content) // 2]))
    assert "declares 4.000 s, and it holds 1.99" in told or "it holds 2.000" in told


@pytest.mark.parametrize(
    ("kind", "subtype", "told"),
    [
        ("FLAC", None, r"declares 4\.000 s, and \d\.\d{3} s can be decoded"),
        ("MP3", None, r"declares 4\.000 s, and it holds [12]\.\d{3} s"),
        ("OGG", "VORBIS", "is cut short: it lacks its last page"),
        ("OGG", "OPUS", "is cut short: it lacks its last page"),
        ("CAF", "ALAC_16", "is cut short: its header declares"),
        ("WAV", "IMA_ADPCM", "is cut short: its header declares"),
        ("VOC", None, "is cut short"),
    ],
)
def test_a_cut_copy_of_a_compressed_recording_is_named(kind, subtype, told, put):
    content = encoded(kind, subtype)
    assert length(put(content)) == pytest.approx(SECONDS, abs=0.1)
    cut = put(content[: len(content) * 6 // 10])
    assert re.search(told, reason(cut))
    if kind != "VOC":
        assert "is cut short" in reason(cut, start=0.5, end=1.0)


@pytest.mark.parametrize("kind", ["VORBIS", "OPUS"])
def test_ogg_that_ends_with_a_whole_page_but_without_its_mark_is_cut_short(kind, put):
    content = encoded("OGG", kind, speech(20))
    told = reason(put(content[: content.rindex(b"OggS")]))
    assert "without end-of-stream mark, after " in told
    assert length(put(content + bytes(5_000))) == pytest.approx(20, abs=0.1)


# -- sizes that are zero, unknown or too small


def patched(content: bytes, at: int, value: bytes) -> bytes:
    return bytes(content[:at]) + value + bytes(content[at + len(value) :])


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
@pytest.mark.parametrize("riff", [0, 0xFFFFFFFF, None])
def test_wav_of_unknown_size_is_read_to_its_end(size, riff, put):
    content = patched(encoded("WAV"), 40, struct.pack("<I", size))
    if riff is not None:
        content = patched(content, 4, struct.pack("<I", riff))
    assert length(put(content)) == SECONDS


def data_at(kind: str, content: bytes) -> int:
    """Where the size of the samples stands."""
    return {"AU": 8, "AIFF": content.find(b"SSND") + 4, "CAF": content.find(b"data") + 4}.get(
        kind, content.find(b"data") + 16
    )


@pytest.mark.parametrize(
    ("kind", "form", "sizes"),
    [
        ("AU", ">I", (0, 0xFFFFFFFF)),
        ("AIFF", ">I", (0, 8, 0xFFFFFFFF)),
        ("CAF", ">q", (-1, 0, 4)),
        ("W64", "<Q", (0, 24, 2**64 - 1)),
    ],
)
def test_other_containers_of_unknown_size_are_read_to_their_end(kind, form, sizes, put):
    content = encoded(kind)
    for size in sizes:
        path = put(patched(content, data_at(kind, content), struct.pack(form, size)))
        assert length(path) == SECONDS


@pytest.mark.parametrize(
    ("kind", "form"), [("WAV", "<I"), ("AU", ">I"), ("AIFF", ">I"), ("CAF", ">q")]
)
def test_half_sizes_are_noted_and_everything_is_read(kind, form, put):
    content = encoded(kind)
    at = 40 if kind == "WAV" else data_at(kind, content)
    path = put(patched(content, at, struct.pack(form, SECONDS * RATE + 8)))
    audio = read_audio(path)
    assert audio.duration == SECONDS
    assert audio.notes == (LESS,)
    np.testing.assert_array_equal(audio.samples, read_audio(put(content)).samples)


def test_a_size_in_frames_instead_of_bytes_is_noted_and_everything_is_read(put):
    content = patched(encoded("WAV"), 40, struct.pack("<I", SECONDS * RATE))
    content = patched(content, 4, struct.pack("<I", SECONDS * RATE + 36))
    assert read_audio(put(content)).notes == (LESS,)
    assert length(put(content)) == SECONDS


@pytest.mark.parametrize("total", [0, 2**32 - 1])
def test_flac_that_does_not_know_its_length_is_read_to_its_end(total, put):
    content = encoded("FLAC")
    unknown = patched(content, 22, struct.pack(">I", total))
    unknown = patched(unknown, 21, bytes([unknown[21] & 0xF0 | (15 if total else 0)]))
    if total:  # 74 hours are declared
        assert "cut short" in reason_of_unlimited(put(unknown))
        return
    assert length(put(unknown)) == SECONDS
    assert read_audio(put(unknown), start=1.0, end=1.5).duration == 0.5
    assert "s can be decoded" in reason(put(unknown[: len(content) // 2]))
    with pytest.raises(AudioError, match=r"lasts more than 2 s, longer than is allowed \(2 s"):
        read_audio(put(unknown), max_duration=2.0)


def reason_of_unlimited(path: Path) -> str:
    with pytest.raises(AudioError, match=r"\w") as raised:
        read_audio(path, max_duration=None)
    return str(raised.value)


def test_chunks_around_the_samples_change_nothing(put):
    content = encoded("WAV")
    form, data = bytes(content[12:36]), bytes(content[36:])
    extra = b"LIST" + struct.pack("<I", 5) + b"INFO!"
    layouts = {
        "before": form + extra + b"\0" + data,
        "after": form + data + extra + b"\0",
        "odd and without its pad": form + extra + data,
        "samples before their format": data + form,
        "twice": form + data + data,
        "of another file": form + data + bytes(content),
        "noise": form + data + np.random.default_rng(1).bytes(9_001),
    }
    expected = read_audio(put(content)).samples
    for name, chunks in layouts.items():
        whole = b"RIFF" + struct.pack("<I", 4 + len(form + data)) + b"WAVE" + chunks
        audio = read_audio(put(whole))
        np.testing.assert_array_equal(audio.samples, expected, err_msg=name)
        assert audio.notes == ((MORE,) if name in ("twice", "of another file", "noise") else ())


def test_rf64_is_read_under_its_other_name_and_without_its_sizes(put):
    content = encoded("RF64")
    assert length(put(b"BW64" + content[4:])) == SECONDS
    assert length(put(patched(content, 20, bytes(16)))) == SECONDS


@pytest.mark.parametrize("subtype", ["GSM610", "MS_ADPCM", "ALAW"])
def test_kinds_of_samples_that_go_only_forward_are_read(subtype, put):
    path = put(encoded("WAV", subtype))
    assert length(path) == pytest.approx(SECONDS, abs=0.1)
    whole = read_audio(path).samples
    span = read_audio(path, start=1.0, end=2.0).samples
    np.testing.assert_allclose(span, whole[RATE : 2 * RATE], atol=1e-6)


def sphere(samples: np.ndarray, *, pad: bytes, size: int) -> bytes:
    head = f"NIST_1A\n{size:7d}\nsample_count -i {len(samples)}\nsample_n_bytes -i 2\n"
    head += "channel_count -i 1\nsample_byte_format -s2 01\nsample_rate -i 16000\n"
    head += "sample_coding -s3 pcm\nend_head\n"
    return head.encode().ljust(size, pad) + (samples * 32_767).astype("<i2").tobytes()


@pytest.mark.parametrize("pad", [b" ", b"\n", b"\0"])
@pytest.mark.parametrize("size", [1024, 2048])
def test_nist_sphere_is_audio_however_its_header_is_filled(pad, size, put):
    content = sphere(speech(1), pad=pad, size=size)
    assert length(put(content)) == 1.0
    assert "declares 1.000 s, and it holds 0.5" in reason(put(content[: size + RATE]))


# -- MP3


def without_tag(content: bytes) -> bytes:
    """An MP3 file without its first frame, the tag that tells its length."""
    return bytes(content[content.index(content[:2], 4) :])


def test_a_length_that_is_only_estimated_is_not_believed(put):
    """The first frame's bit rate tells libsndfile 18 times too much, or too little."""
    noise, quiet = speech(10), 0.1 * np.sin(np.arange(10 * RATE) / 8)
    for parts in ([noise, quiet], [quiet, noise]):
        stream = io.BytesIO()
        with soundfile.SoundFile(
            stream, "w", RATE, 1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
        ) as file:
            file.write(np.concatenate(parts))
        content = without_tag(stream.getvalue())
        path = put(content)
        with soundfile.SoundFile(path) as file:
            assert abs(file.frames / RATE - 20) > 1  # what the estimate says
        assert length(path) == pytest.approx(20, abs=0.2)
        assert read_audio(path, start=18.0, end=19.0).duration == 1.0


def test_mp3_without_tag_is_cut_short_where_its_last_frame_is(put):
    content = without_tag(encoded("MP3"))
    assert length(put(content)) == pytest.approx(SECONDS, abs=0.2)
    for tail in (b"TAG" + bytes(125), b"APETAGEX" + np.random.default_rng(2).bytes(9_000)):
        assert length(put(content + tail)) == pytest.approx(SECONDS, abs=0.2)
    told = reason(put(content[: len(content) // 2 + 10]))
    assert "is cut short: its last frame is incomplete, after 2." in told or "after 1." in told


def test_frame_headers_count_mp3_as_its_decoder_does(put):
    for rate, channels in [(16_000, 1), (44_100, 2), (8_000, 1), (32_000, 2), (24_000, 1)]:
        stream = io.BytesIO()
        samples = np.stack([speech(2, rate)] * channels, axis=1)
        soundfile.write(stream, samples, rate, format="MP3")
        path = put(without_tag(stream.getvalue()))
        with path.open("rb") as raw:
            extent = mp3_extent(raw.fileno(), path.stat().st_size)
        assert (extent.whole, extent.declared) == (True, False)
        assert read_audio(path).duration == extent.samples / rate


def test_mp3_joined_to_another_is_noted(put):
    content = encoded("MP3")
    assert read_audio(put(content + content)).notes == (MORE,)
    assert read_audio(put(content)).notes == ()
    assert length(put(b"ID3\3\0\0\0\0\0\x0a" + bytes(10) + content)) == SECONDS


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_joined_to_another_is_noted(subtype, put):
    one, other = (encoded("OGG", subtype, speech(rate=rate)) for rate in (16_000, 24_000))
    assert read_audio(put(one)).notes == ()
    assert read_audio(put(one + other)).notes == (MORE,)


def test_notes_of_macos_beside_a_file_do_not_matter(tmp_path):
    (tmp_path / "a.mp3").write_bytes(encoded("MP3"))
    (tmp_path / "._a.mp3").write_bytes(b"\0\5\x16\7" + bytes(100))
    assert length(tmp_path / "a.mp3") == SECONDS
    assert "macOS" in reason(tmp_path / "._a.mp3")


def test_segments_of_a_compressed_file_do_not_decode_it_again(put, monkeypatch):
    files = (encoded("OGG", "VORBIS"), encoded("MP3"), encoded("FLAC"), without_tag(encoded("MP3")))
    paths = [put(content) for content in files]
    for path in paths:
        read_audio(path, start=0.0, end=0.5)
    decoded = []
    read = soundfile.SoundFile.read

    def counted(self, frames, *args, **kwargs):
        decoded.append(frames)
        return read(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    for path in paths:
        assert read_audio(path, start=3.0, end=3.5).duration == 0.5
    assert sum(decoded) == len(paths) * RATE // 2


# -- what is not heard


def test_constants_and_noise_of_one_step_are_named_for_what_they_are(put):
    rng = np.random.default_rng(3)
    step = rng.integers(-1, 2, SECONDS * RATE)
    for content, told in [
        (encoded("WAV", samples=np.full(RATE, 0.01)), "holds a constant (0.009979 of full scale)"),
        (encoded("WAV", samples=0.3 + step / 32_768), "holds a constant (0.3 of full scale)"),
        (encoded("WAV", samples=step / 32_768), "is inaudible: the loudest 50 ms have -9"),
        (encoded("WAV", "PCM_U8", step / 128), "is inaudible: the loudest 50 ms have -4"),
        (encoded("WAV", "ULAW", step / 4_096), "speech in samples of 8 bits (U-Law) needs more"),
        (encoded("AU", samples=np.zeros(RATE)), "is digital silence throughout"),
        (encoded("WAV", samples=np.full((RATE, 2), 0.25)), "holds a constant (0.25 of full"),
        (encoded("WAV", "FLOAT", 100 * speech()), "where full scale is 1: scale the file"),
    ]:
        assert told in reason(put(content))


def test_quiet_speech_and_speech_on_a_constant_are_kept(put):
    for gain, offset in [(0.002, 0.0), (0.05, 0.5), (1.0, -0.05)]:
        path = put(encoded("WAV", samples=gain * speech() + offset))
        assert length(path) == SECONDS
        assert read_audio(path).notes == ()


def test_a_word_in_a_long_silence_is_heard(put):
    samples = np.zeros(30 * RATE)
    samples[25 * RATE : 26 * RATE] = 0.01 * speech(1)
    assert length(put(encoded("WAV", samples=samples))) == 30.0


@pytest.mark.parametrize("second", [-1.0, -0.99])
def test_channels_that_cancel_are_read_from_one(second, put):
    samples = speech()
    path = put(encoded("WAV", samples=np.stack([samples, second * samples], axis=1)))
    audio = read_audio(path)
    assert audio.notes == judge_audio(path).notes == (CANCEL,)
    np.testing.assert_allclose(audio.samples, samples, atol=1e-4)
    assert length(path) == SECONDS


def test_channels_that_do_not_cancel_are_averaged(put):
    samples, other = speech(), speech()[::-1]
    silent = np.zeros_like(samples)
    for channels in ([samples, silent], [samples, other], [silent] * 7 + [samples]):
        audio = read_audio(put(encoded("WAV", "FLOAT", np.stack(channels, axis=1))))
        assert audio.notes == ()
        np.testing.assert_allclose(audio.samples, np.mean(channels, axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        (0, "lacks a sampling rate"),
        (5, "of 5 Hz"),
        (2**31 - 1, "of 2147483647 Hz, which no speech"),
    ],
)
def test_absurd_sampling_rates_are_named(rate, told, put):
    assert told in reason(put(patched(encoded("WAV"), 24, struct.pack("<I", rate))))


def test_samples_far_beyond_numbers_of_32_bits_are_named(put):
    samples = np.full((RATE, 2), 3e38)
    assert "where full scale is 1: scale the file" in reason(put(encoded("WAV", "FLOAT", samples)))


@pytest.mark.parametrize("kind", ["WAV", "RF64", "AIFF", "AU", "W64", "CAF", "NIST", "MP3", "FLAC"])
def test_headers_that_end_or_claim_what_cannot_be_have_a_reason(kind, put):
    content = encoded(kind, samples=speech(0.2))
    for length in range(4, 140, 3):
        reason(put(content[:length]))
    for at in range(4, 120, 4):
        for value in (b"\xff" * 8, b"\x7f" * 8, bytes(8)):
            path = put(patched(content, at, value))
            with contextlib.suppress(AudioError):
                assert read_audio(path, max_duration=None).duration > 0
            with contextlib.suppress(AudioError):
                judge_audio(path)


# -- what is no audio


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-lfs pointer"),
        (b"<!DOCTYPE html>\n<html><title>Log in</title></html>", "an HTML page instead of audio"),
        ("path,emotion\na.wav,sad\n".encode("utf-16") * 9, "a text file, not audio"),
        ("Gr\xfc\xdfe, \xe4rgerlich\n".encode("latin-1") * 9, "a text file, not audio"),
        (b"\0\0\0\x20ftypM4A " + bytes(99), "M4A, MP4 or QuickTime"),
        (b"\x1aE\xdf\xa3" + bytes(99), "Matroska or WebM"),
        (b"0&\xb2u\x8ef\xcf\x11" + bytes(99), "WMA or WMV"),
        (b"RIFF\x40\0\0\0AVI LIST" + bytes(99), "AVI video"),
        (b"#!AMR\n" + bytes(99), "AMR, which is not read; convert it to WAV or FLAC first"),
        (b"PK\x03\x04" + bytes(99), "an archive: unpack it first"),
        (b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\n", "sph2pipe"),
        (bytes(range(256)) * 8, "cannot be decoded"),
        (b"RIFF\0\0\0\0WAVEjunk", "cannot be decoded: "),
        (bytes(encoded("WAV")[:44]), "holds none of the samples that its header declares"),
        (bytes(encoded("WAV", samples=np.zeros(0))) + b"LIST\4\0\0\0INFO", "holds 0 samples"),
    ],
)
def test_what_is_no_audio_is_named_for_what_it_is(content, told, put):
    assert told in reason(put(content))
    if "decoded" not in told and "samples" not in told:
        assert told in (file_problem(put(content)) or "")


@pytest.mark.parametrize("suffix", [".wav", ".raw", ".au", ".vox", ".gsm", ".sd2", ".mp3", ""])
def test_the_name_of_a_file_decides_nothing(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"file,emotion\na.wav,sad\n" * 40)
    assert reason(path) == "a text file, not audio"
    path.write_bytes(encoded("FLAC"))
    assert length(path) == SECONDS


def test_pipes_and_names_with_backslashes_have_a_reason(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    assert "a pipe or a device" in reason(tmp_path / "pipe.wav")
    assert "folders are separated by /" in reason(tmp_path / "Actor_01\\a.wav")
    assert reason(tmp_path / "gone.wav") == "no such file"
    assert "cannot be opened" in reason(tmp_path / ("n" * 300))


def test_a_file_that_changes_is_judged_again(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("WAV", samples=np.zeros(RATE)))
    assert "digital silence" in reason(path)
    path.write_bytes(encoded("WAV"))
    assert length(path) == SECONDS
    path.write_bytes(encoded("WAV")[:1_000])
    assert "cut short" in reason(path)


def test_notes_name_the_first_recordings():
    noted = [("is odd", f"{n}.wav") for n in range(5)]
    assert summarize_notes(noted) == ["0.wav, 1.wav, 2.wav and 2 more: is odd"]
