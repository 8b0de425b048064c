"""A number of others stands beside ours only where everything that matters is the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from serplatform.report.data import NoDataError, ReportData
from serplatform.report.drawing.panel import page_picture
from serplatform.report.figures.base import Palette
from serplatform.report.figures.other_results import OtherResults
from serplatform.report.load import Posteriors
from serplatform.report.narrative import build_narrative
from serplatform.report.published_baselines import find_baselines, first_screen, qualities
from serplatform.report.systems import EvaluatedSystem

CLASSES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


@pytest.fixture
def page(
    posteriors: Callable[..., Posteriors],
    system: Callable[..., EvaluatedSystem],
    report_data: Callable[..., ReportData],
) -> Callable[..., ReportData]:
    def make(
        utterances: int = 1440,
        *,
        protocol: str = "ravdess-speaker-6fold",
        corpus: str = "ravdess",
        classes: tuple[str, ...] = CLASSES,
        synthetic: bool = False,
        right: float = 0.6,
    ) -> ReportData:
        k = len(classes)
        rng = np.random.default_rng(0)
        truth = np.arange(utterances) % k
        answer = np.where(rng.random(utterances) < right, truth, (truth + 1) % k)
        rows = np.full((utterances, k), 0.02 / (k - 1))
        rows[np.arange(utterances), answer] = 0.98
        test = posteriors(rows, truth, [f"s{i % 24}" for i in range(utterances)])
        return report_data(
            systems=[system(test)],
            classes=classes,
            plan={"protocol": protocol, "speaker_independent": True, "folds": []},
            info={"dataset": {"corpus": corpus, "title": "Corpus", "synthetic": synthetic}},
        )

    return make


def test_same_protocol_corpus_classes_and_size_show_the_known_results(
    page: Callable[..., ReportData],
) -> None:
    found = find_baselines(page())
    assert list(found.results) == ["uar", "accuracy"]
    assert {r.value for r in found.results["uar"]} >= {0.542, 0.645, 0.753}
    assert found.why_none == ""


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "speaker-kfold:6"},
        {"protocol": "ravdess-random-80-20"},
        {"corpus": "emodb"},
        {"classes": CLASSES[:4]},
        {"synthetic": True},
    ],
)
def test_any_difference_shows_none(page: Callable[..., ReportData], change: dict[str, Any]) -> None:
    values = {r.value for found in find_baselines(page(**change)).results.values() for r in found}
    assert not values & {0.542, 0.645, 0.753}


def test_another_number_of_utterances_is_refused_and_said(page: Callable[..., ReportData]) -> None:
    found = find_baselines(page(1000))
    assert found.results == {}
    assert "1,440 utterances of the corpus, this page on 1,000" in found.why_none
    assert any("1,440" in s for s in build_narrative(page(1000)).verdict.sentences)
    assert find_baselines(page(1434)).results  # a few unreadable files


def test_metric_goes_by_what_it_computes(page: Callable[..., ReportData]) -> None:
    found = find_baselines(
        page(1241, protocol="iem4-session5", corpus="iemocap", classes=CLASSES[:4])
    )
    assert list(found.results) == ["ova_accuracy", "ova_balanced_accuracy"]


def test_first_screen_marks_what_is_normalised_by_speaker_and_what_is_pre_trained(
    page: Callable[..., ReportData], trial: Callable[..., Any]
) -> None:
    alone = page()
    shown = first_screen(find_baselines(alone).results["uar"], alone)
    assert [r.value for r in shown] == [0.542, 0.753]
    by_speaker = trial(params={"data.normalization": "speaker"})
    with_speaker = dataclasses.replace(alone, used=(by_speaker,))
    shown = first_screen(find_baselines(with_speaker).results["uar"], with_speaker)
    assert [r.value for r in shown] == [0.542, 0.645, 0.753]
    assert "normalised by speaker" in qualities(shown[1])
    assert "pre-trained on other data" in qualities(shown[2])
    bars = build_narrative(with_speaker).verdict.bars
    assert [bar.value for bar in bars if bar.key == "other"] == ["75.3", "64.5", "54.2"]


def test_the_words_place_others_against_the_interval(page: Callable[..., ReportData]) -> None:
    said = " ".join(build_narrative(page()).verdict.sentences)
    assert "below the 95 % interval openSMILE ComParE 2016 + RBF SVM 54.2 %" in said
    assert "above the 95 % interval Frozen Whisper-L-v3 + small head 75.3 %" in said
    assert "no difference from ours can be tested" in said


def test_figure_counts_and_lists_every_number(page: Callable[..., ReportData]) -> None:
    figure = OtherResults()
    drawing = figure.draw(figure.compute(page()), Palette(architectures=()))
    assert len(drawing.panels) == 2
    for number, panel in enumerate(drawing.panels):
        _, drawn = page_picture(panel, 640, f"other-{number}")
        points = [title for titles in drawn.titles.values() for title in titles]
        others = figure.compute(page())[number].others
        assert len(others) > 1
        assert all(any(one.system in title for title in points) for one in others)
    rows = drawing.tables[0].rows
    assert [r[2] for r in rows if r[0] == "accuracy"][1:] == [0.651, 0.608, 0.551, 0.48]
    assert sum(r[5] == "this page" for r in rows) == 2
    with pytest.raises(NoDataError, match="no result of others is known"):
        figure.compute(page(protocol="loso"))
