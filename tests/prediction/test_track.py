"""Emotion over time: seconds of steps, smoothing, segments, their files, and the command."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from unittest import mock

import audformat
import numpy as np
import pytest
import soundfile
import torch

from serplatform.alignment.textgrid import parse_textgrid
from serplatform.api.classify import Classification
from serplatform.cli.main import run
from serplatform.corpora.audio import read_audio, speech_bounds
from serplatform.errors import BadInputError
from serplatform.models import can
from serplatform.models.base import Framewise
from serplatform.models.layers import text_audio
from serplatform.prediction.open import open_system
from serplatform.prediction.predict import predict
from serplatform.prediction.predictor import Predictor
from serplatform.prediction.recordings import find_recordings
from serplatform.prediction.rows import PredictedRow, PredictionTally
from serplatform.prediction.steps import Steps, on_one_grid, smoothed
from serplatform.prediction.track import TrackedRows, cut_segments
from serplatform.prediction.track_files import check_segments_file, textgrid, write_segments
from tests.support.audio_run import make_audio_run

CLASSES = ("angry", "neutral", 'half "sad"')


def rows_of(*steps, file="a.wav"):
    """Rows of (start, end, class number or None)."""
    return [
        PredictedRow(
            file=file,
            part="step",
            start=start,
            end=end,
            posteriors=None if top is None else np.eye(3)[top] * 0.7 + 0.1,
        )
        for start, end, top in steps
    ]


def two_sounds(path):
    """A second of silence, a low tone, from 2.2 s on a high one, and from 3 s on silence."""
    time = np.arange(4 * 16_000) / 16_000
    hertz = np.where(time < 2.2, 200.0, 3000.0)
    loud = np.where((time >= 1.0) & (time < 3.0), 0.4, 0.0)
    soundfile.write(path, loud * np.sin(2 * np.pi * hertz * time), 16_000, subtype="PCM_16")
    return path


def by_pitch(batch):
    """Class 0 where the lower bands of a frame are the louder ones, else 1."""
    low, high = batch.frames[:, :, :8].mean(dim=2), batch.frames[:, :, 12:].mean(dim=2)
    logits = torch.stack([low - high, high - low, torch.full_like(low, -9.0)], dim=2)
    return Framewise.of_frames(logits, batch.lengths)


def test_seconds_of_steps_are_those_of_the_recording_trimmed_or_not(audio_run, tmp_path):
    path = two_sounds(tmp_path / "two.wav")
    speech = speech_bounds(read_audio(path).samples)
    assert speech == pytest.approx((1.0, 3.0), abs=0.15)
    for trial, (start, end) in enumerate([(0.0, 4.0), speech]):  # the second one trims
        predictor = Predictor(open_system(audio_run.run, trial))
        sources, _ = find_recordings([str(path)], [], Counter())
        with mock.patch("serplatform.models.blstmatt.Blstmatt.framewise", staticmethod(by_pitch)):
            *steps, whole = predict(predictor, sources, PredictionTally(), track=True)
        assert whole.part == "whole"
        assert steps[0].start == pytest.approx(start, abs=0.02)
        assert steps[-1].end == pytest.approx(end, abs=0.02)
        assert steps[1].start - steps[0].start == pytest.approx(0.01)
        found = [
            one for one in cut_segments(steps, predictor.classes) if one.end - one.start > 0.05
        ]
        change = next(one.start for one in found if one.start > 1.5)
        assert change == pytest.approx(2.2, abs=0.02)


def test_chunks_of_a_fold_pool_to_the_posterior_of_the_recording(audio_run, tmp_path):
    system = open_system(audio_run.run, 2)  # csa
    for fold in system.folds:
        predictor = Predictor(dataclasses.replace(system, folds=(fold,)))
        sources, _ = find_recordings([str(two_sounds(tmp_path / "a.wav"))], [], Counter())
        *steps, whole = predict(predictor, sources, PredictionTally(), track=True)
        assert len(steps) > 10
        assert {round(row.end - row.start, 3) for row in steps} == {0.315}  # 29 shifts and a frame
        logs = np.log([row.posteriors for row in steps]).mean(axis=0)
        pooled = np.exp(logs) / np.exp(logs).sum()
        np.testing.assert_allclose(pooled, whole.posteriors, atol=1e-6)
        rows = TrackedRows(predictor.classes, smooth=60.0)
        for row in [*rows.follow([*steps, whole])]:
            np.testing.assert_allclose(row.posteriors, whole.posteriors, atol=1e-6)


def test_a_track_does_not_change_what_is_said_of_the_whole(audio_run, ensembles, tmp_path):
    path = str(two_sounds(tmp_path / "a.wav"))
    for system in (audio_run.run, *ensembles.values()):
        (plain,) = Classification(system, [path]).rows
        *steps, whole = Classification(system, [path], track=True).rows
        np.testing.assert_array_equal(whole.posteriors, plain.posteriors)
        assert {row.part for row in steps} == {"step"}
        np.testing.assert_allclose(np.sum([s.posteriors for s in steps], axis=1), 1.0)
        attention = [row.attention for row in steps if row.attention is not None]
        assert np.mean(attention) == pytest.approx(1.0, abs=0.2)


def test_smoothing_is_the_renormalised_mean_of_logarithms():
    values = np.array([[0.8, 0.2], [0.5, 0.5], [0.2, 0.8], [0.1, 0.9]])
    found = smoothed(values, np.array([0.0, 0.1, 0.2, 0.9]), 0.2)
    pair = np.sqrt(0.8 * 0.5), np.sqrt(0.2 * 0.5)
    np.testing.assert_allclose(found[0], np.array(pair) / sum(pair))
    np.testing.assert_allclose(found[1], [0.5, 0.5])
    np.testing.assert_allclose(found[3], values[3])


def test_steps_of_several_models_meet_on_one_grid():
    def steps(edges, top):
        edges = np.array(edges)
        return Steps(
            start=edges[:, 0],
            end=edges[:, 1],
            posteriors=np.eye(2)[top] * 0.6 + 0.2,
            attention=None,
        )

    one = steps([(0.0, 0.2), (0.1, 0.3)], [0, 1])
    assert on_one_grid([one, one]) == [one, one]
    first, second = on_one_grid([one, steps([(0.05, 0.1)], [0])])
    assert len(first.start) == len(second.start) == 6
    assert (first.start[0], first.end[-1]) == (0.0, pytest.approx(0.3))
    np.testing.assert_allclose(first.posteriors[:, 0], [0.8, 0.8, 0.5, 0.5, 0.2, 0.2])
    np.testing.assert_allclose(second.posteriors[:, 0], 0.8)


def test_silence_ends_a_segment():
    rows = rows_of((0, 1, 0), (1, 2, 0), (2, 3, None), (3, 4, 0), (3.5, 4.5, 2))
    found = [(s.start, s.end, s.emotion) for s in cut_segments(rows, CLASSES)]
    assert found == [(0, 2, "angry"), (3, 3.75, "angry"), (3.75, 4.5, 'half "sad"')]


@pytest.fixture
def tracked():
    rows = TrackedRows(CLASSES)
    first = rows_of((0.5, 1.0, 0), (1.0, 1.5, 2), file="one/a.wav")
    second = rows_of((0.0, 2.0, 1), file="b, b.wav")
    wholes = [
        PredictedRow(file=row.file, part="whole", start=0.0, end=2.0, posteriors=row.posteriors)
        for row in (first[0], second[0])
    ]
    assert len(list(rows.follow([*first, wholes[0], *second, wholes[1]]))) == 5
    return rows


def test_textgrids_tile_the_recording_and_are_read_back(tracked, tmp_path):
    write_segments(tmp_path / "grids", tracked)
    text = (tmp_path / "grids" / "a.TextGrid").read_text(encoding="utf-8")
    emotion, posterior = parse_textgrid(text)
    assert (emotion.name, posterior.name) == ("emotion", "posterior")
    assert emotion.intervals == (
        (0.0, 0.5, ""),
        (0.5, 1.0, "angry"),
        (1.0, 1.5, 'half "sad"'),
        (1.5, 2.0, ""),
    )
    assert [float(text) for *_, text in posterior.intervals if text] == [0.8, 0.8]
    assert (tmp_path / "grids" / "b, b.TextGrid").is_file()
    (empty, _) = parse_textgrid(textgrid([], 1.5))
    assert empty.intervals == ((0.0, 1.5, ""),)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # in audformat
def test_audformat_reads_the_database(tracked, tmp_path):
    write_segments(tmp_path / "db.yaml", tracked)
    table = audformat.Database.load(str(tmp_path))["segments"].get()
    assert table["emotion"].tolist() == ["angry", 'half "sad"', "neutral"]
    assert table.index.get_level_values("file").tolist() == ["one/a.wav", "one/a.wav", "b, b.wav"]
    assert table.index.get_level_values("end").total_seconds().tolist() == [1.0, 1.5, 2.0]
    np.testing.assert_allclose(table["posterior"], 0.8)


def test_names_of_files_that_cannot_be_are_refused(tracked, tmp_path):
    with pytest.raises(BadInputError, match="must end in"):
        check_segments_file(tmp_path / "a.txt", 1)
    with pytest.raises(BadInputError, match="of one recording"):
        check_segments_file(tmp_path / "a.TextGrid", 2)
    tracked.durations["two/a.wav"] = 1.0
    with pytest.raises(BadInputError, match="the same name"):
        write_segments(tmp_path / "grids", tracked)


def test_the_command_writes_tracks_and_segments(audio_run, tmp_path, capsys):
    path = two_sounds(tmp_path / "a.wav")
    out, segments = tmp_path / "track.csv", tmp_path / "segments.json"
    names = ["predict", str(audio_run.run), str(path), "--track", "--trial", "2", "--out", str(out)]
    assert run([*names, "--segments", str(segments), "--smooth", "0.3"]) == 0
    head, *lines = out.read_text().splitlines()
    assert head.startswith("file,part,start,end,emotion,p_")
    assert head.endswith(",attention,note")
    assert [line.split(",")[1] for line in lines][-2:] == ["step", "whole"]
    found = json.loads(segments.read_text())
    assert found[0]["start"] == 0.0
    assert found[-1]["end"] == pytest.approx(4.0, abs=0.01)
    assert all(one["end"] == two["start"] for one, two in itertools.pairwise(found))
    capsys.readouterr()
    assert run([*names, "--segments", str(segments), "--smooth", "60"]) == 0
    assert "segments.json: 1 segment.\n" in capsys.readouterr().err
    assert run([*names, "--reject", "coverage=0.5"]) == 2
    assert run(["predict", str(audio_run.run), str(path), "--smooth", "1"]) == 2
    capsys.readouterr()


def test_models_without_steps_take_windows_and_say_so(audio_run, tmp_path, capsys):
    path = str(two_sounds(tmp_path / "a.wav"))
    with mock.patch("serplatform.prediction.predictor.gives_steps", return_value=False):
        rows = list(Classification(audio_run.run, [path], track=True, trial=2, smooth=1.0).rows)
    assert [(row.part, row.start) for row in rows[:2]] == [("window", 0.0), ("window", 0.5)]
    assert rows[-1].part == "whole"
    assert "csa gives no class inside a recording" in capsys.readouterr().err


def test_systems_that_read_words_give_steps_and_of_all_around_the_whole(tmp_path, monkeypatch):
    small = {"training.max_epochs": 1, "model.hidden_dim": 4, "model.embedding_dim": 5}
    aligned = {"model.alignment": "ctc"}
    trials = [("can", small), ("attn_fusion", small), ("fgcme", {**small, **aligned})]
    made = make_audio_run(tmp_path, trials=trials)
    path = two_sounds(tmp_path / "two.wav")
    sources, _ = find_recordings([str(path)], [], Counter())
    words = mock.Mock(counts=Counter(), notes=list)
    words.words = lambda *_: ((), "a word and another one")
    numbers = []
    for trial in (0, 1):
        predictor = Predictor(open_system(made.run, trial))
        assert not predictor.without_steps
        *near, whole = predict(predictor, sources, PredictionTally(), track=True, words=words)
        with monkeypatch.context() as changed:
            changed.setattr(can, "LOCAL_WORDS", 99)
            changed.setattr(text_audio, "LOCAL_FRAMES", 9999)
            *steps, again = predict(predictor, sources, PredictionTally(), track=True, words=words)
        np.testing.assert_array_equal(again.posteriors, whole.posteriors)
        numbers.append((len(near), len(steps)))
        for row in steps:
            assert row.part == "step"
            np.testing.assert_allclose(row.posteriors, whole.posteriors, atol=1e-6)
        gaps = [np.abs(row.posteriors - whole.posteriors).max() for row in near]
        assert max(gaps) > 1e-5
        assert near[0].start == pytest.approx(0.0, abs=0.02)
        assert near[-1].end == pytest.approx(4.0, abs=0.02)
    assert numbers == [(5, 5), (40, 40)]  # a word each, and 0.1 s each
    lacking = Predictor(open_system(made.run, 2)).without_steps
    assert lacking == ["fgcme (alignment=ctc gives words no times)"]
