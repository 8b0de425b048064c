"""Statistics of few clips: what is drawn, the curve of a run, and what is said with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from serplatform.artifacts.files import read_json, write_json
from serplatform.artifacts.speaker_statistics import FILE, read_speaker_statistics
from serplatform.explanations.speaker_statistics import (
    SITUATIONS,
    draw_clips,
    measure_speaker_statistics,
)
from serplatform.prediction.export import export
from serplatform.prediction.open import open_system
from serplatform.prediction.predict import predict
from serplatform.prediction.predictor import Predictor
from serplatform.prediction.recordings import find_recordings
from serplatform.prediction.rows import PredictionTally
from serplatform.report.answer import find_answer
from serplatform.report.build import build_report
from serplatform.report.data import build_report_data
from serplatform.report.load import load_source
from tests.support.audio_run import AudioRun, make_audio_run

TRIALS = tuple(
    ("svm", {"data.feature": "log_mel_23", "data.normalization": kind})
    for kind in ("train", "speaker", "speaker_shrunk")
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AudioRun:
    found = make_audio_run(tmp_path_factory.mktemp("curve"), trials=TRIALS, per_speaker=9)
    assert measure_speaker_statistics(found.run) is not None
    return found


@pytest.fixture
def copied(made: AudioRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.run, tmp_path / "run"))


def test_what_is_drawn():
    rows, labels = np.arange(100, 118), np.repeat([0, 1, 2], 6)
    neutral = np.array([0])
    drawn = draw_clips("random", 5, rows, neutral, labels, 1)
    assert len(set(drawn)) == 5
    assert draw_clips("random", 50, rows, neutral, labels, 1).tolist() == rows.tolist()
    assert draw_clips("neutral", None, rows, neutral, labels, 1).tolist() == rows[:6].tolist()
    for seed in range(5):
        skewed = labels[draw_clips("skewed", 6, rows, neutral, labels, seed) - 100]
        assert sorted(np.bincount(skewed, minlength=3))[-1] == 4
        assert len(skewed) == 6


def test_all_clips_give_the_recorded_uar(made):
    found = read_speaker_statistics(made.run)
    record = read_json(made.run / "trials" / f"trial-{found['trial']:05d}.json")
    assert record["params"]["data.normalization"] == found["normalization"]
    assert found["draws"] >= 1
    points = {(p["kind"], p["clips"]): p for p in found["points"]}
    assert set(points) == set(SITUATIONS)
    report = build_report_data(load_source(made.run))
    (row,) = [r for r in report.leaderboard if r.trial == found["trial"]]
    assert points["random", None]["uar"] == pytest.approx(row.test.value)
    assert points["random", 20]["uar"] == points["random", None]["uar"]  # nine clips a speaker
    assert "9 unlabelled clips of each test speaker" in found["needs"]


def test_it_is_said_beside_the_numbers_and_drawn(made, tmp_path):
    answer = find_answer(build_report_data(load_source(made.run)))
    assert answer.speaker_needs.startswith("uses 9 unlabelled clips of each test speaker; here")
    assert "5 random clips" in answer.speaker_needs
    page = build_report(made.run, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "What normalisation by speaker needs" in page
    assert page.count("9 unlabelled clips of each test speaker") >= 2  # caution, figure


def test_predict_warns_in_the_same_words_also_from_a_bundle(made, tmp_path):
    trial = read_speaker_statistics(made.run)["trial"]
    export(made.run, tmp_path / "bundle", trial=trial)
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "9 unlabelled clips of each test speaker" in card
    for system in (open_system(made.run, trial), open_system(tmp_path / "bundle")):
        predictor = Predictor(system)
        few, many = PredictionTally(), PredictionTally()
        paths = sorted((made.audio / "s1").iterdir())
        for count, tally in ((3, few), (len(paths), many)):
            sources, _ = find_recordings([str(path) for path in paths[:count]])
            assert len(list(predict(predictor, sources, tally))) == count
        (said,) = [note for note in few.notes if "fewer than" in note]
        assert "9 unlabelled clips of each test speaker" in said
        assert "with 3 random clips UAR was" in said
        if system.folds[0].members and predictor.speaker_pipelines[0].normalization.shrinkage:
            assert not many.notes


def test_it_is_skipped_where_it_would_take_long_or_means_nothing(copied):
    found = measure_speaker_statistics(copied, budget=0.0)
    assert found["points"] == []
    assert "processor seconds" in found["skipped"]
    build_report(copied, copied / "report.html")  # says so, and does not fail


def test_a_run_without_such_a_trial_has_none(copied):
    for file in (copied / "trials").glob("*.json"):
        record = read_json(file)
        write_json(file, record | {"params": record["params"] | {"data.normalization": "train"}})
    (copied / FILE).unlink()
    assert measure_speaker_statistics(copied) is None
    assert not (copied / FILE).exists()
    assert find_answer(build_report_data(load_source(copied))).speaker_needs == ""
