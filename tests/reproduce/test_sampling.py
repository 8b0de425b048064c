"""Shares sampled and similarities, by hand."""

import numpy as np
import pytest

from serplatform.report.sampling import Sampling
from serplatform.reproduce.measure import sampled_shares, similarity

CLASSES = ("calm", "sad", "angry")


def sampling(**changes):
    values = {
        "trial": np.array([0, 0, 0, 0]),
        "fold": np.array([0, 0, 0, 0]),
        "truth": np.array(["calm", "calm", "sad", "sad"], dtype=object),
        "speaker_ids": np.array(list("stst"), dtype=object),
        "windows": np.array([3, 1, 2, 5]),
        "share": np.array([0.4, 0.0, 0.6, 0.2]),
        "elements": np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 0.0]]),
    }
    return Sampling(**{**values, **changes})


def test_shares_with_and_without_the_first_window():
    found = sampled_shares(sampling(), "sad")
    assert found["after_first_window"]["mean"] == pytest.approx((0.6 + 0.2) / 2)
    # two windows: (1 + 0.6) / 2; five: (1 + 4 · 0.2) / 5
    assert found["with_first_window"]["mean"] == pytest.approx((0.8 + 0.36) / 2)


def test_an_utterance_of_one_window_counts_with_the_first_window_only():
    found = sampled_shares(sampling(), "calm")
    assert found["after_first_window"]["mean"] == pytest.approx(0.4)
    assert found["with_first_window"]["mean"] == pytest.approx(((1 + 2 * 0.4) / 3 + 1) / 2)


def test_the_average_is_the_mean_of_the_classes_and_not_of_the_utterances():
    found = sampled_shares(sampling(), "average")["after_first_window"]
    assert found["mean"] == found["pooled"] == pytest.approx((0.4 + (0.6 + 0.2) / 2) / 2)
    assert found["low"] < found["mean"] <= found["high"]
    uneven = sampling(share=np.array([0.4, 0.0, 0.6, 0.9]))
    found = sampled_shares(uneven, "average")["after_first_window"]
    assert found["mean"] == found["pooled"] == pytest.approx((0.4 + 0.75) / 2)
    # leaving out s: sad alone, 0.9; leaving out t: calm 0.4, sad 0.6
    assert found["low"] < found["mean"] < found["high"]


def test_deviation_is_over_seeds():
    found = sampled_shares(sampling(trial=np.array([0, 0, 0, 1])), "sad")["after_first_window"]
    assert found["values"] == [[0.6], [0.2]]
    assert found["sd"] == found["seed_sd"] == pytest.approx(np.std([0.6, 0.2], ddof=1))


def test_a_class_that_is_not_there_has_no_share():
    assert sampled_shares(sampling(), "angry") == {}
    assert sampled_shares(sampling(windows=np.array([1, 1, 2, 5])), "calm") == {}


def test_similarity_is_the_cosine_of_means_over_windows():
    classes, matrix = similarity(sampling(), CLASSES)
    assert classes == ["calm", "sad"]
    # sad: one window of (1, 1), four of (1, 0): mean (1, 0.2)
    expected = 1 / np.hypot(1, 0.2)
    np.testing.assert_allclose(matrix, [[1, expected], [expected, 1]], atol=1e-12)


def test_similarity_is_averaged_over_folds_that_can_compare():
    # the second fold has sad alone
    one = sampling(fold=np.array([0, 0, 0, 1]))
    _, matrix = similarity(one, CLASSES)
    np.testing.assert_allclose(matrix[0, 1], np.cos(np.pi / 4), atol=1e-12)
