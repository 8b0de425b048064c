"""Streams: equal to the whole file where that can be, however the bytes come, and ended cleanly."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serplatform.api.classify import Classification
from serplatform.corpora.audio import AudioError
from serplatform.ensembles.build import build_ensemble
from serplatform.errors import BadInputError
from serplatform.prediction.pcm import AudioStream, PcmFormat
from tests.support.audio_run import AudioRun, make_audio_run

VRNN = {
    "model.encoder_dim": 8,
    "model.generator_dim": 5,
    "model.classifier_dim": 6,
    "model.latent_dim": 3,
    "training.learning_rate": 0.02,
    "training.batch_size": 16,
    "training.max_epochs": 6,
}
WINDOWS = {**VRNN, "data.feature": "mfcc_40_window"}
#: of the run, by what is told of them
TRIALS = {
    "carried": ("vrnn", WINDOWS),
    "all": ("vrnn", {**WINDOWS, "model.attention": False}),
    "fine": ("vrnn", {**VRNN, "data.feature": "log_mel_23", "data.projection": 9}),
    "speaker": ("vrnn", {**WINDOWS, "data.normalization": "speaker", "data.trim": True}),
    "sliding": ("csa", {"model.channels": 4, "training.max_epochs": 1}),
    "utterance": ("vrnn", {**WINDOWS, "data.normalization": "utterance"}),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    return make_audio_run(
        tmp_path_factory.mktemp("stream"),
        trials=list(TRIALS.values()),
        features=("log_mel_23", "mfcc_40_window"),
    )


@pytest.fixture(scope="module")
def speech(run: AudioRun) -> np.ndarray:
    """Clips one after another, 16 kHz, of a length that no window divides."""
    clips = [soundfile.read(path)[0] for path in sorted(run.audio.glob("s*/*.wav"))]
    return np.concatenate(clips)[: 9 * 16_000 + 777]


def classify(run: AudioRun, trial: str, audio: Path | str, **options) -> list:
    number = list(TRIALS).index(trial)
    found = Classification(run.run, [str(audio)], trial=number, **options)
    rows = list(found.rows)
    found.end()
    return rows


def equal(one, other) -> bool:
    return one.posteriors.argmax() == other.posteriors.argmax() and np.allclose(
        one.posteriors, other.posteriors, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("trial", ["carried", "all", "fine"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2)])
def test_every_window_is_the_result_of_the_file_until_then(
    run, speech, tmp_path, trial, rate, channels
):
    import soxr

    samples = soxr.resample(speech, 16_000, rate)
    samples = np.stack([samples, 0.5 * samples][:channels], axis=1)
    path, until = tmp_path / "whole.wav", tmp_path / "until.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    *windows, last = classify(run, trial, path, stream=True)
    assert equal(last, classify(run, trial, path)[0])
    assert not np.allclose(windows[0].posteriors, last.posteriors, rtol=0, atol=1e-3)
    ends = [2, 3, 4, 5, 6, 7, 8, 9] if trial != "fine" else [1.015 + s for s in range(9)]
    assert [row.end for row in windows[: len(ends)]] == pytest.approx(ends)
    if rate == 16_000:  # the end of a file shows in what is resampled
        for row in windows:
            soundfile.write(until, samples[: round(row.end * rate)], rate, subtype="FLOAT")
            assert equal(row, classify(run, trial, until)[0])


@pytest.mark.parametrize("seconds", [0.03, 1.2, 2.0])
def test_a_recording_shorter_than_a_window(run, speech, tmp_path, seconds):
    path = tmp_path / "short.wav"
    soundfile.write(path, speech[6000 : 6000 + round(seconds * 16_000)], 16_000)
    window, whole = classify(run, "carried", path, stream=True)
    assert equal(whole, classify(run, "carried", path)[0])
    assert window.end == whole.end == seconds


def test_sliding_windows_are_those_of_a_file(run, speech, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech, 16_000)
    for trial in ("sliding", "utterance", "carried"):  # told to slide, for the last
        given = {"window": 3.0, "hop": 1.0}
        streamed = classify(run, trial, path, stream=True, **given)
        assert streamed[-1].note == "mean of 8 window(s)"
        for row, known in zip(streamed, classify(run, trial, path, **given), strict=True):
            assert (row.start, row.end, row.part) == (known.start, known.end, known.part)
            assert equal(row, known)
        if trial != "carried":
            assert all(map(equal, classify(run, trial, path, stream=True), streamed))


def test_an_ensemble_carries_the_state_of_each_member(run, speech, tmp_path, capsys):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech, 16_000)
    trials = [TRIALS["carried"], TRIALS["all"]]
    features = ("log_mel_23", "mfcc_40_window")
    two = make_audio_run(tmp_path / "two", trials=trials, features=features)
    build_ensemble([two.run], tmp_path / "two/both", combiner="mean")
    last = list(Classification(tmp_path / "two/both", [str(path)], stream=True).rows)[-1]
    assert equal(last, next(Classification(tmp_path / "two/both", [str(path)]).rows))
    build_ensemble([run.run], tmp_path / "mixed", combiner="mean")
    last = list(Classification(tmp_path / "mixed", [str(path)], stream=True).rows)[-1]
    assert last.note == "mean of 8 window(s)"
    assert "know nothing of each other, since csa carries no state" in capsys.readouterr().err


def test_silence_goes_on_where_the_state_is_carried(run, speech, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.r_[speech[:48_000], np.zeros(48_000)], 16_000)
    rows = classify(run, "carried", path, stream=True)
    assert [row.note for row in rows[:-1]] == ["", "", "", "silence", "silence"]
    assert equal(rows[-1], classify(run, "carried", path)[0])
    sliding = classify(run, "sliding", path, stream=True, window=1.0, hop=1.0)
    assert [row.posteriors is None for row in sliding] == [False] * 3 + [True] * 3 + [False]


def test_speaker_statistics_are_of_what_was_heard(run, speech, tmp_path, capsys):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech, 16_000)
    rows = classify(run, "speaker", path, stream=True)
    assert len(rows) == 9
    told = capsys.readouterr().err
    assert "statistics are of what was heard until each window" in told
    assert "the silence at both ends" in told
    assert not equal(rows[1], rows[-1])


def piped(path: Path, content: bytes, sizes: Iterator[int]) -> threading.Thread:
    """A pipe that gives content in pieces."""
    os.mkfifo(path)

    def write() -> None:
        # a reader may end where the samples do
        with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as pipe:
            at = 0
            while at < len(content):
                at += pipe.write(content[at : at + next(sizes)])

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("header", ["RAW", "WAV"])
@pytest.mark.parametrize(
    ("subtype", "pcm"), [("PCM_24", "s24le:22050:2"), ("FLOAT", "f32le:22050:2")]
)
def test_bytes_come_in_any_pieces(tmp_path, header, subtype, pcm):
    rng = np.random.default_rng(0)
    samples, path, pipe = rng.uniform(-0.5, 0.5, (30_000, 2)), tmp_path / "a.wav", tmp_path / "pipe"
    soundfile.write(path, samples, 22_050, subtype=subtype)
    given, sent = (None, path.read_bytes()) if header == "WAV" else (pcm, b"")
    if header == "RAW":
        soundfile.write(tmp_path / "a.raw", samples, 22_050, subtype=subtype, format="RAW")
        sent = (tmp_path / "a.raw").read_bytes()
    thread = piped(pipe, sent, iter(rng.integers(1, 9_000, 100_000).tolist()))
    found = np.concatenate(list(AudioStream(str(pipe), given).blocks()))
    thread.join()
    known = np.concatenate(list(AudioStream(str(path)).blocks()))
    assert len(found) == len(known)
    assert np.abs(found - known).max() < 1e-6


def test_a_growing_file_is_followed_until_the_stop(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 20_000).astype(np.float32)
    whole, grown = tmp_path / "whole.wav", tmp_path / "grown.wav"
    soundfile.write(whole, samples, 16_000, subtype="FLOAT")
    content = whole.read_bytes()
    grown.write_bytes(content[:30])  # not even the header
    source = AudioStream(str(grown), follow=True)

    def grow() -> None:
        with grown.open("ab") as file:
            for at in range(30, len(content), 30_001):
                file.write(content[at : at + 30_001])
                file.flush()
                time.sleep(0.02)

    thread = threading.Thread(target=grow)
    thread.start()
    held = 0
    for block in source.blocks():
        assert np.array_equal(block, samples[held : held + len(block)])
        held += len(block)
        if held == len(samples):
            source.stop()
    thread.join()
    assert held == len(samples)


@pytest.mark.parametrize("stated", ["as it is", 0, 0x7FFF_F000, 0xFFFF_FFFF])
@pytest.mark.parametrize("follow", [False, True])
def test_what_lies_behind_the_samples_of_a_wav(tmp_path, stated, follow):
    """It is no sound, unless the header cannot say or is older than the file."""
    path, pipe = tmp_path / "a.wav", tmp_path / "pipe"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 20_001), 16_000)
    content = path.read_bytes()
    at = content.index(b"data") + 4
    if stated != "as it is":
        content = content[:at] + stated.to_bytes(4, "little") + content[at + 4 :]
    behind = b"LIST" + (8000).to_bytes(4, "little") + bytes(8000)
    path.write_bytes(content + behind)
    if follow:
        source = AudioStream(str(path), follow=True)
        threading.Timer(0.3, source.stop).start()
    else:
        thread = piped(pipe, content + behind, itertools.repeat(9001))
        source = AudioStream(str(pipe))
    found = sum(map(len, source.blocks()))
    assert found == 20_001 + (0 if stated == "as it is" and not follow else len(behind) // 2)
    if not follow:
        thread.join()


def test_a_broken_stream_is_refused_and_says_when(run, speech, tmp_path, capsys):
    path = tmp_path / "a.raw"
    broken = np.stack([speech, speech], axis=1).astype("<f4")
    broken[5 * 16_000 + 8, 1] = np.nan
    path.write_bytes(broken.tobytes())
    found = Classification(run.run, [str(path)], trial=0, stream=True, pcm="f32le:16000:2")
    parts = [row.part for row in found.rows]
    assert parts.count("window") == len(parts) == 3
    assert (found.tally.recordings, len(found.tally.refused)) == (0, 1)
    with pytest.raises(
        BadInputError, match=r"a\.raw: a sample at 5\.000 s is nan, .*; its 3 window\(s\) before"
    ):
        found.end()


def test_the_whole_ends_where_the_file_does(run, speech, tmp_path, capsys):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech[:59_259], 16_000)
    last = classify(run, "carried", path, stream=True)[-1]
    assert last.end == pytest.approx(59_259 / 16_000, abs=1e-6)
    assert last.end == pytest.approx(classify(run, "carried", path)[-1].end, abs=1e-6)
    assert capsys.readouterr().err.count("1 recording(s), 3.7 s of audio") == 2


def test_no_samples_came(run, monkeypatch):
    found = Classification(run.run, ["-"], trial=0, stream=True)
    monkeypatch.setattr(found.source, "_chunks", lambda: iter(()))
    assert list(found.rows) == []
    with pytest.raises(BadInputError, match=r"^standard input: no samples came$"):
        found.end()


def test_gaps_between_windows_are_told_once(run, speech, tmp_path, capsys):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech, 16_000)
    for stream in (True, False):
        classify(run, "sliding", path, stream=stream, window=2.0, hop=3.0)
        assert capsys.readouterr().err.count("Note: 1 s after each window are not classified") == 1


@pytest.mark.parametrize(
    ("content", "pcm", "told"),
    [
        (b"fLaC" + bytes(100), None, "coded audio"),
        (np.array([0.1, np.nan], "<f4").tobytes(), "f32le:16000:1", "full scale is 1"),
        (np.array([3000.0], "<f4").tobytes(), "f32le:16000:1", "check --pcm"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", None, "ends within its WAV header"),
    ],
)
def test_what_cannot_be_a_stream(tmp_path, content, pcm, told):
    path = tmp_path / "a"
    path.write_bytes(content)
    source = AudioStream(str(path), pcm, follow=True)
    timer = threading.Timer(0.5, source.stop)
    timer.start()
    with pytest.raises(AudioError, match=told):
        list(source.blocks())
    timer.cancel()


@pytest.mark.parametrize("text", ["s16le", "s16le:16000", "s16le:0:1", "s17le:16000:1", "a:b:c"])
def test_formats_that_are_none(text):
    with pytest.raises(BadInputError, match="--pcm"):
        PcmFormat.parse(text)


def test_options_that_do_not_go_together(run):
    for audio, options in (
        (["a", "b"], {"stream": True}),
        (["-"], {"stream": True, "follow": True}),
        (["a"], {"follow": True}),
        (["a"], {"pcm": "s16le:16000:1"}),
    ):
        with pytest.raises(BadInputError, match=r"--(stream|follow)"):
            Classification(run.run, audio, **options)


def test_ctrl_c_ends_with_the_whole(run, speech):
    """Standard input stays open; each line is there at once, and the last after the signal."""
    command = [sys.executable, "-m", "serplatform", "predict", str(run.run), "-", "--stream"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "--trial", "0", "--format", "jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        process.stdin.write((speech[:80_000] * 32_767).astype("<i2").tobytes())
        process.stdin.flush()
        rows = [json.loads(process.stdout.readline()) for _ in range(4)]
        process.send_signal(signal.SIGINT)
        last = json.loads(process.stdout.readline())
        told = process.stderr.read().decode()
        assert process.wait(30) == 0
    assert [row["end"] for row in rows] == [2.0, 3.0, 4.0, 5.0]
    assert last["part"] == "whole"
    assert last["posteriors"] == rows[-1]["posteriors"]
    assert "1 recording(s), 5.0 s of audio" in told
    assert "Traceback" not in told
