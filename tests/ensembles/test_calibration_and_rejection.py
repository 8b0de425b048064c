"""Temperature scaling, reliability, rejection thresholds and speaker-grouped folds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from serplatform.ensembles.calibration import (
    apply_temperature,
    fit_temperature,
    fit_temperatures,
)
from serplatform.ensembles.dev_selection import grouped_folds
from serplatform.ensembles.rejection import answered, choose_threshold, coverage_accuracy_curve
from serplatform.errors import LeakError
from serplatform.metrics import (
    classification_metrics,
    expected_calibration_error,
    reliability_bins,
)
from serplatform.testing.combiner_contract import make_posterior_set


def test_temperature_has_the_lowest_likelihood_loss_on_a_grid() -> None:
    made = make_posterior_set(num_members=1, num_speakers=10)
    posteriors = apply_temperature(made.posteriors[0], 0.4)
    found = fit_temperature(made.truth, posteriors)
    best = classification_metrics(made.truth, apply_temperature(posteriors, found))["nll"]
    for temperature in np.geomspace(0.1, 10, 60):
        other = classification_metrics(made.truth, apply_temperature(posteriors, temperature))
        assert other["nll"] >= best - 1e-9
    assert found > 1.0


def test_temperature_undoes_a_temperature() -> None:
    made = make_posterior_set(num_members=1, num_speakers=10)
    plain = fit_temperature(made.truth, made.posteriors[0])
    sharper = fit_temperature(made.truth, apply_temperature(made.posteriors[0], 0.5))
    assert sharper == pytest.approx(2 * plain, rel=1e-3)


def test_temperature_keeps_the_largest_class() -> None:
    made = make_posterior_set()
    scaled = apply_temperature(made.posteriors, np.array([0.3, 0.7, 1.0, 2.0, 8.0]))
    np.testing.assert_array_equal(scaled.argmax(axis=2), made.posteriors.argmax(axis=2))
    np.testing.assert_allclose(scaled.sum(axis=2), 1.0, atol=1e-12)


def test_certain_zeros_are_survived() -> None:
    scaled = apply_temperature(np.array([[1.0, 0.0]]), 2.0)
    assert np.isfinite(scaled).all()
    # right and certain: the loss is flat, and any temperature in the range will do
    assert 0.1 <= fit_temperature(np.array([0]), np.array([[1.0, 0.0]])) <= 10.0
    assert fit_temperature(np.array([1]), np.array([[1.0, 0.0]])) == pytest.approx(10, rel=0.01)


def test_temperatures_refuse_test_rows() -> None:
    with pytest.raises(LeakError, match="temperature scaling was offered test rows"):
        fit_temperatures(make_posterior_set(part="test"))


def test_reliability_bins_hold_every_row_and_add_up_to_the_ece() -> None:
    made = make_posterior_set(num_members=1)
    bins = [dataclasses.asdict(b) for b in reliability_bins(made.truth, made.posteriors[0])]
    total = sum(b["count"] for b in bins)
    assert total == len(made.truth)
    ece = sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / total
    assert ece == pytest.approx(expected_calibration_error(made.truth, made.posteriors[0]))
    assert all(b["low"] < b["confidence"] <= b["high"] for b in bins)


def test_threshold_halves_the_error_with_the_most_coverage() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(400)
    correct = rng.random(400) < confidence
    chosen = choose_threshold(confidence, correct)
    assert chosen is not None
    wanted = (1 - correct.mean()) / 2
    for threshold in confidence:  # plain loop over every possible threshold
        kept = confidence >= threshold
        if 1 - correct[kept].mean() <= wanted:
            assert kept.mean() <= chosen.coverage
    found = answered(confidence >= chosen.threshold, correct)
    assert found == {"coverage": chosen.coverage, "accuracy": chosen.accuracy}


def test_no_threshold_when_confidence_says_nothing() -> None:
    assert choose_threshold(np.full(4, 0.5), np.array([True, False, True, False])) is None


def test_nothing_is_rejected_when_all_is_right() -> None:
    chosen = choose_threshold(np.array([0.4, 0.9]), np.array([True, True]))
    assert chosen is not None
    assert (chosen.threshold, chosen.coverage) == (0.4, 1.0)


def test_curve_ends_at_full_coverage_and_answers_ties_together() -> None:
    confidence = np.array([0.9, 0.7, 0.7, 0.5])
    correct = np.array([True, True, False, False])
    curve = coverage_accuracy_curve(confidence, correct)
    assert curve["coverage"] == [0.25, 0.75, 1.0]
    assert curve["accuracy"] == [1.0, pytest.approx(2 / 3), 0.5]


def test_rejecting_everything_has_no_accuracy() -> None:
    assert answered(np.array([False]), np.array([True])) == {"coverage": 0.0, "accuracy": None}


def test_grouped_folds_keep_speakers_whole_and_cover_every_row() -> None:
    speakers = [f"s{i % 7}" for i in range(50)]
    folds, kept = grouped_folds(speakers, [f"u{i}" for i in range(50)])
    assert kept == "speaker"
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(50))
    for fit_rows, held in folds:
        assert {speakers[i] for i in fit_rows}.isdisjoint(speakers[i] for i in held)


def test_one_speaker_is_split_by_utterance_and_it_is_said() -> None:
    folds, kept = grouped_folds(["s"] * 10, [f"u{i}" for i in range(10)])
    assert kept == "utterance"
    assert len(folds) == 5


def test_one_utterance_gives_no_folds() -> None:
    assert grouped_folds(["s"], ["u"]) == ([], "utterance")
