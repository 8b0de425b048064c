"""Metrics against scikit-learn, against plain loops, and against worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from serplatform import metrics


def draw(seed: int, num_utterances: int = 200, num_classes: int = 4):
    """Random truth and posteriors with some skill."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(num_classes, size=num_utterances)
    logits = rng.normal(size=(num_utterances, num_classes))
    logits[np.arange(num_utterances), truth] += 1.0
    posteriors = np.exp(logits)
    return truth, posteriors / posteriors.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("seed", "num_classes"), [(0, 2), (1, 4), (2, 8)])
def test_metrics_agree_with_scikit_learn(seed, num_classes):
    truth, posteriors = draw(seed, num_classes=num_classes)
    prediction = posteriors.argmax(axis=1)
    measured = metrics.classification_metrics(truth, posteriors)
    assert tuple(measured) == metrics.METRICS
    expected = {
        "accuracy": reference.accuracy_score(truth, prediction),
        "uar": reference.balanced_accuracy_score(truth, prediction),
        "macro_f1": reference.f1_score(truth, prediction, average="macro"),
        "nll": reference.log_loss(truth, posteriors, labels=range(num_classes)),
    }
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, abs=1e-12), name
    counts = metrics.confusion_counts(truth, prediction, num_classes)
    assert np.array_equal(counts, reference.confusion_matrix(truth, prediction))


def one_against_rest(truth, prediction, num_classes):
    """Eq. (6) of the BLSTMATT/CSA paper in plain loops."""
    accuracy, balanced = [], []
    for k in range(num_classes):
        true_positives = sum(t == k and p == k for t, p in zip(truth, prediction, strict=True))
        true_negatives = sum(t != k and p != k for t, p in zip(truth, prediction, strict=True))
        positives = sum(t == k for t in truth)
        negatives = len(truth) - positives
        accuracy.append((true_positives + true_negatives) / (positives + negatives))
        balanced.append((true_positives / positives + true_negatives / negatives) / 2)
    return sum(accuracy) / num_classes, sum(balanced) / num_classes


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_one_against_rest_metrics_agree_with_plain_loops(num_classes):
    truth, posteriors = draw(3, num_classes=num_classes)
    measured = metrics.classification_metrics(truth, posteriors)
    accuracy, balanced = one_against_rest(truth, posteriors.argmax(axis=1), num_classes)
    assert measured["ova_accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert measured["ova_balanced_accuracy"] == pytest.approx(balanced, abs=1e-12)
    assert measured["ova_accuracy"] == pytest.approx(
        1 - 2 * (1 - measured["accuracy"]) / num_classes, abs=1e-12
    )


def test_published_pair_of_moma_follows_from_the_definitions():
    # 4 balanced classes, recall 0.622 each: balanced one-against-rest accuracy 0.748
    counts = 622 * np.eye(4) + (1 - np.eye(4)) * 126
    assert metrics.count_metrics(counts)["ova_balanced_accuracy"] == pytest.approx(0.748, abs=1e-3)
    assert metrics.count_metrics(counts)["ova_accuracy"] == pytest.approx(0.811, abs=1e-3)


def test_calibration_metrics_agree_with_plain_loops():
    truth, posteriors = draw(4)
    brier = sum(
        sum((posteriors[n, k] - (truth[n] == k)) ** 2 for k in range(4)) for n in range(len(truth))
    ) / len(truth)
    gaps = 0.0
    for m in range(15):
        low, high = m / 15, (m + 1) / 15
        inside = [n for n in range(len(truth)) if low < posteriors[n].max() <= high]
        if inside:
            confidence = sum(posteriors[n].max() for n in inside) / len(inside)
            accuracy = sum(posteriors[n].argmax() == truth[n] for n in inside) / len(inside)
            gaps += len(inside) / len(truth) * abs(accuracy - confidence)
    measured = metrics.classification_metrics(truth, posteriors)
    assert measured["brier"] == pytest.approx(brier, abs=1e-12)
    assert measured["ece"] == pytest.approx(gaps, abs=1e-12)


def test_worked_calibration_case():
    # both utterances are certain, one is wrong: the gap is one half, the distance 0 and 2
    measured = metrics.classification_metrics([0, 0], [[1.0, 0.0], [0.0, 1.0]])
    assert measured["ece"] == 0.5
    assert measured["brier"] == 1.0
    assert measured["nll"] == pytest.approx(-math.log(metrics.POSTERIOR_FLOOR) / 2)


def test_confidence_on_an_edge_is_in_the_lower_bin():
    # one right at 0.5, one wrong at 0.6: together in one bin their gaps would cancel
    posteriors = [[0.5, 0.5], [0.4, 0.6]]
    assert metrics.expected_calibration_error([0, 0], posteriors, num_bins=2) == pytest.approx(0.55)
    assert metrics.expected_calibration_error([0, 0], posteriors, num_bins=1) == pytest.approx(0.05)


def test_recall_is_averaged_over_classes_that_occur_in_the_truth():
    posteriors = np.eye(3)[[0, 0, 2, 1]]
    measured = metrics.classification_metrics([0, 0, 0, 1], posteriors)
    assert measured["uar"] == pytest.approx((2 / 3 + 1) / 2)
    assert measured["macro_f1"] == pytest.approx((0.8 + 1 + 0) / 3)
    assert measured["ova_balanced_accuracy"] == pytest.approx(((2 / 3 + 1) / 2 + 1) / 2)


def test_single_class_truth_gives_recall():
    measured = metrics.classification_metrics([1, 1], [[0.1, 0.9], [0.8, 0.2]])
    assert measured["uar"] == 0.5
    assert measured["ova_balanced_accuracy"] == 0.5


def test_batched_counts_equal_one_resample_at_a_time():
    truth, posteriors = draw(5, num_utterances=60)
    prediction = posteriors.argmax(axis=1)
    chosen = np.random.default_rng(6).integers(60, size=(3, 5, 60))
    counts = metrics.confusion_counts(truth[chosen], prediction[chosen], 4)
    assert counts.shape == (3, 5, 4, 4)
    batched = metrics.count_metrics(counts)
    for index in np.ndindex(3, 5):
        one = metrics.classification_metrics(truth[chosen[index]], posteriors[chosen[index]])
        for name in metrics.COUNT_METRICS:
            assert batched[name][index] == pytest.approx(one[name], abs=1e-12)


def test_counts_add_up_over_speakers():
    truth, posteriors = draw(7, num_utterances=40)
    prediction = posteriors.argmax(axis=1)
    parts = metrics.confusion_counts(truth.reshape(4, 10), prediction.reshape(4, 10), 4)
    assert np.array_equal(parts.sum(axis=0), metrics.confusion_counts(truth, prediction, 4))


def test_empty_resample_is_not_a_number():
    counts = np.stack([np.zeros((3, 3)), np.eye(3)])
    for value in metrics.count_metrics(counts).values():
        assert np.isnan(value[0])
        assert value[1] == 1.0


def test_direction_is_known_for_every_metric():
    assert set(metrics.HIGHER_IS_BETTER) == set(metrics.METRICS)
    assert metrics.HIGHER_IS_BETTER["uar"]
    assert not metrics.HIGHER_IS_BETTER["nll"]


@pytest.mark.parametrize(
    ("truth", "posteriors", "message"),
    [
        ([], np.zeros((0, 2)), "no utterance"),
        ([0], [0.5, 0.5], r"expected \(N, K\)"),
        ([0, 1], [[0.5, 0.5]], r"truth has shape \(2,\)"),
        ([2], [[0.5, 0.5]], "expected 0 to 1"),
        ([-1], [[0.5, 0.5]], "from -1"),
        ([0.5], [[0.5, 0.5]], "whole class indices"),
        ([0], [[np.nan, 0.5]], "finite"),
        ([0], [[-0.5, 1.5]], "not negative"),
        ([0], [[0.5, 0.6]], "sum of 1"),
    ],
)
def test_bad_arrays_are_refused(truth, posteriors, message):
    with pytest.raises(ValueError, match=message):
        metrics.classification_metrics(truth, posteriors)


def test_counts_must_be_square():
    with pytest.raises(ValueError, match="K, K"):
        metrics.count_metrics(np.zeros((2, 3)))
