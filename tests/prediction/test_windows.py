"""Windows by hand, as a stream, and what a damaged recording gives."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from serplatform.corpora.audio import CANCEL, AudioError, read_audio
from serplatform.errors import BadInputError
from serplatform.prediction.windows import WindowPlan, cut, read_whole, read_windows
from tests.support.audio_run import write_tone


def bounds(total: int, window: int, hop: int, block: int = 7) -> list[tuple[int, int]]:
    samples = np.arange(total, dtype=np.float32)
    blocks = [samples[i : i + block] for i in range(0, total, block)]
    found = []
    for start, values in cut(blocks, window, hop):
        assert values.tolist() == list(range(start, start + len(values)))
        found.append((start, start + len(values)))
    return found


@pytest.mark.parametrize(
    ("total", "window", "hop", "expected"),
    [
        (10, 4, 2, [(0, 4), (2, 6), (4, 8), (6, 10)]),  # the last fits exactly
        (11, 4, 2, [(0, 4), (2, 6), (4, 8), (6, 10), (7, 11)]),  # one more, ending at the end
        (3, 4, 2, [(0, 3)]),  # shorter than a window
        (4, 4, 2, [(0, 4)]),
        (5, 4, 2, [(0, 4), (1, 5)]),
        (10, 3, 5, [(0, 3), (5, 8)]),  # gaps are asked for; the next would start at 10
        (12, 3, 5, [(0, 3), (5, 8), (9, 12)]),
        (1, 4, 9, [(0, 1)]),
        (0, 4, 2, []),
    ],
)
def test_windows_by_hand(total, window, hop, expected):
    assert bounds(total, window, hop) == expected


def test_the_last_window_may_start_where_it_would():
    blocks = [np.arange(i, min(i + 7, 11), dtype=np.float32) for i in range(0, 11, 7)]
    found = [(start, values.tolist()) for start, values in cut(blocks, 4, 2, aligned=True)]
    assert found[-2:] == [(6, [6, 7, 8, 9]), (8, [8, 9, 10])]
    assert [start for start, _ in cut(blocks[:1], 9, 2, aligned=True)] == [0]


@settings(deadline=None, max_examples=150)
@given(
    total=st.integers(0, 80),
    window=st.integers(1, 20),
    hop=st.integers(1, 25),
    block=st.integers(1, 90),
)
def test_windows_cover_the_recording_however_it_is_read(total, window, hop, block):
    found = bounds(total, window, hop, block)
    assert found == bounds(total, window, hop, total + 1)  # as a whole
    assert all(0 <= first < last <= total for first, last in found)
    assert [first for first, _ in found] == sorted({first for first, _ in found})
    if total >= window:
        assert all(last - first == window for first, last in found)
    if hop <= window and total:
        heard = {sample for first, last in found for sample in range(first, last)}
        assert heard == set(range(total))


def test_windows_of_a_file_are_its_samples(tmp_path):
    path = write_tone(tmp_path / "a.wav", seconds=25.3)
    whole = read_audio(path).samples
    clips = list(read_windows(path, WindowPlan(window=3.0, hop=1.0)))
    # 23 windows start at 0, 1, … 22 s; the last, at 22.3 s, ends with the recording
    assert [c.start for c in clips] == [*map(float, range(23)), 22.3]
    assert clips[-1].end == 25.3
    for clip in clips:
        first = round(clip.start * 16_000)
        np.testing.assert_array_equal(clip.samples, whole[first : first + 48_000])


def test_resampled_stream_is_the_resampled_file(tmp_path):
    path = write_tone(tmp_path / "a.wav", seconds=21.0, rate=44_100)
    whole = read_audio(path).samples
    clips = list(read_windows(path, WindowPlan(window=2.0, hop=2.0)))
    assert clips[-1].end == pytest.approx(21.0, abs=1e-4)
    for clip in clips:
        first = round(clip.start * 16_000)
        np.testing.assert_allclose(clip.samples, whole[first : first + 32_000], atol=2e-4)


def test_memory_does_not_grow_with_the_recording(tmp_path):
    def peak(seconds: float) -> int:
        path = write_tone(tmp_path / f"{seconds}.wav", seconds=seconds, rate=8_000)
        tracemalloc.start()
        for _ in read_windows(path, WindowPlan(window=3.0, hop=1.5)):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(20.0)  # imports
    assert peak(400.0) < 1.2 * peak(40.0)


def test_a_window_in_which_nothing_is_heard_holds_no_samples(tmp_path):
    path = tmp_path / "a.wav"
    tone, _ = soundfile.read(write_tone(tmp_path / "t.wav", seconds=2.0))
    step = np.random.default_rng(0).integers(-1, 2, 32_000) / 32_768
    samples = np.concatenate([tone, np.zeros(32_000), step, np.full(32_000, 0.2)])
    soundfile.write(path, samples, 16_000)
    clips = list(read_windows(path, WindowPlan(window=2.0, hop=2.0)))
    assert [c.start for c in clips if c.samples is None] == [2.0, 4.0, 6.0]
    assert [c.start for c in clips if c.samples is not None] == [0.0]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0), "holds 0 samples"),
        (np.zeros(64_000), "is digital silence throughout"),
        (np.full(200, 0.1), "lasts 12.5 ms, less than one window"),
        (np.r_[np.full(16_000, 0.1), np.nan], r"NaN or infinite\), the first at 1\.000 s"),
        (np.full(16_000, 20_000.0), "its samples reach 2e.04"),
    ],
)
def test_unusable_audio_has_a_reason(tmp_path, samples, message):
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=message):
        list(read_windows(path, WindowPlan(window=3.0, hop=1.0)))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "0 bytes"), (b"RIFF\x00\x00\x00\x00WAVEjunk", "cannot be decoded"), (b"text", "text")],
)
def test_files_that_are_not_audio_have_a_reason(tmp_path, content, message):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    for read in (
        lambda: list(read_windows(path, WindowPlan(window=3.0, hop=1.0))),
        lambda: read_whole(path, 60.0),
    ):
        with pytest.raises(AudioError, match=message):
            read()


def test_a_whole_recording_that_is_too_long_is_told_of_windows(tmp_path):
    path = write_tone(tmp_path / "a.wav", seconds=3.0)
    with pytest.raises(AudioError, match=r"lasts 3\.0 s.*--window 3 --hop 1"):
        read_whole(path, 2.0)
    assert read_whole(path, None).end == 3.0


def test_every_fault_of_the_plan_is_told():
    with pytest.raises(BadInputError, match=r"--window 0(.|\n)*--hop -1"):
        WindowPlan(window=0.0, hop=-1.0)
    with pytest.raises(BadInputError, match="--window nan"):
        WindowPlan(window=float("nan"), hop=1.0)


def test_the_whole_and_its_windows_are_judged_alike(tmp_path):
    """Cut short, damaged at the end, constant: the windows take nothing that the whole refuses."""
    path = tmp_path / "a.wav"
    tone, _ = soundfile.read(write_tone(tmp_path / "t.wav", seconds=15.0))
    samples = {
        "cut.wav": tone,
        "cut.flac": tone,
        "cut.ogg": tone,
        "cut.mp3": tone,
        "constant.wav": np.full(32_000, 0.3),
        "nan.wav": np.r_[tone, np.nan],
        "large.wav": np.r_[tone, 500.0],
    }
    for name, values in samples.items():
        path = tmp_path / name
        wide = {"subtype": "FLOAT"} if "cut" not in name else {}
        soundfile.write(path, values, 16_000, **wide)
        if "cut" in name:
            path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
        with pytest.raises(AudioError, match=r"\w") as whole:
            read_whole(path, 60.0)
        with pytest.raises(AudioError, match=r"\w") as windows:
            next(read_windows(path, WindowPlan(window=1.0, hop=1.0)))
        assert str(whole.value) == str(windows.value)


def test_channels_that_cancel_are_read_from_one_in_windows_too(tmp_path):
    tone, _ = soundfile.read(write_tone(tmp_path / "t.wav", seconds=12.0))
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([tone, -tone], axis=1), 16_000)
    whole = read_whole(path, 60.0)
    clips = list(read_windows(path, WindowPlan(window=3.0, hop=3.0)))
    assert whole.notes == clips[0].notes == (CANCEL,)
    np.testing.assert_array_equal(np.concatenate([c.samples for c in clips]), whole.samples)
