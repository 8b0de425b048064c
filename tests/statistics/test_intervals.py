"""Intervals over speakers equal plain loops, and interval and p-value say the same."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, t, ttest_1samp

from serplatform.metrics import METRICS, classification_metrics
from serplatform.statistics.chance import chance_interval
from serplatform.statistics.intervals import (
    jackknife_interval,
    leave_one_out,
    metric_differences,
    metric_intervals,
    speaker_sums,
    uar_intervals,
)
from serplatform.testing.combiner_contract import make_posterior_set


def rows() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    made = make_posterior_set(
        num_members=1, num_speakers=6, per_speaker=11, num_classes=4, skill=3.0
    )
    made = made.take_rows(np.arange(5, 66))  # speakers of 6 and of 11 utterances
    return made.truth, made.posteriors[0], made.speaker_ids


def test_each_value_is_the_metric_without_one_speaker() -> None:
    truth, posteriors, speakers = rows()
    found = speaker_sums(truth, posteriors, speakers).metrics(leave_one_out(6))
    names = np.array(speakers)
    for place, left_out in enumerate([None, *sorted(set(speakers))]):
        kept = names != left_out
        plain = classification_metrics(truth[kept], posteriors[kept])
        for name in METRICS:
            assert found[name][place] == pytest.approx(plain[name], abs=1e-12), name


def test_value_is_the_metric_of_all_rows_and_lies_inside() -> None:
    truth, posteriors, speakers = rows()
    found = metric_intervals(truth, posteriors, speakers)
    plain = classification_metrics(truth, posteriors)
    for name in METRICS:
        assert found[name].value == pytest.approx(plain[name], abs=1e-12)
    for name in ("uar", "accuracy", "nll"):
        low, high = found[name].low, found[name].high
        assert low is not None
        assert high is not None
        assert low <= found[name].value <= high


def test_ends_are_of_students_t_on_the_scale_of_the_metric() -> None:
    truth, posteriors, speakers = rows()
    found = metric_intervals(truth, posteriors, speakers)
    values = speaker_sums(truth, posteriors, speakers).metrics(leave_one_out(6))
    clips = np.array([6, 11, 11, 11, 11, 11])
    quantile = t.ppf(0.975, 5 * clips.sum() ** 2 / (6 * np.sum(clips**2)))
    errors = {
        n: float(np.sqrt(5 / 6 * np.sum((v[1:] - v[1:].mean()) ** 2))) for n, v in values.items()
    }
    uar, nll = found["uar"], found["nll"]
    logit = np.log(uar.value / (1 - uar.value)) - quantile * errors["uar"] / (
        uar.value * (1 - uar.value)
    )
    assert uar.low == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-9)
    assert nll.high == pytest.approx(
        nll.value * np.exp(quantile * errors["nll"] / nll.value), abs=1e-9
    )
    assert (found["ece"].low, found["ece"].high) == (None, None)
    (same,) = uar_intervals(
        truth, posteriors.argmax(axis=1)[None], speakers, num_classes=posteriors.shape[1]
    )
    assert same.ends() == pytest.approx(metric_intervals(truth, posteriors, speakers)["uar"].ends())


def test_a_share_that_no_speaker_changes_has_the_ends_of_clopper_and_pearson() -> None:
    low, high = binomtest(8, 8).proportion_ci(0.95, method="exact")
    assert jackknife_interval(np.ones(9), "share").ends() == pytest.approx((1.0, low, high))
    assert jackknife_interval(np.zeros(9), "share").ends() == pytest.approx(
        (0.0, 1 - high, 1 - low)
    )


@pytest.mark.parametrize("seed", range(60))
def test_an_interval_excludes_zero_exactly_where_p_is_small(seed: int) -> None:
    made = make_posterior_set(
        num_members=2, num_speakers=2 + seed % 12, per_speaker=9, skill=0.8, seed=seed
    )
    kept = np.random.default_rng(seed).random(len(made.truth)) < 0.7
    made = made.take_rows(np.flatnonzero(kept))
    a, b = made.posteriors
    for name, found in metric_differences(made.truth, b, a, made.speaker_ids).items():
        assert found.low is not None
        assert found.high is not None
        assert found.p_value is not None
        assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0), name
        assert found.low <= found.value <= found.high


def test_few_speakers_who_all_gain_the_same_are_no_proof() -> None:
    truth = np.zeros(2, dtype=int)
    right, wrong = np.array([[0.9, 0.1]] * 2), np.array([[0.1, 0.9]] * 2)
    found = metric_differences(truth, right, wrong, ["a", "b"])["accuracy"]
    assert found.value == 1.0
    assert found.p_value == pytest.approx(2 * t.sf(2, 1))  # one utterance of two is the error


def test_unequal_numbers_of_utterances_leave_fewer_degrees_of_freedom() -> None:
    values = [0.5, 0.4, 0.5, 0.6]
    even = jackknife_interval(values, "share", utterances=np.array([20, 20, 20]))
    plain = jackknife_interval(values, "share")
    odd = jackknife_interval(values, "share", utterances=np.array([40, 10, 10]))
    assert even.ends() == pytest.approx(plain.ends())
    assert (odd.low or 0) < (even.low or 0) < 0.5 < (even.high or 1) < (odd.high or 1) < 1


def test_p_is_that_of_a_t_test_where_the_metric_is_a_mean_over_speakers() -> None:
    gains = np.array([0.1, 0.0, 0.2, -0.05, 0.15, 0.02])
    without = [np.delete(gains, i).mean() for i in range(6)]
    found = jackknife_interval([gains.mean(), *without], "difference")
    expected = ttest_1samp(gains, 0.0)
    assert found.p_value == pytest.approx(expected.pvalue)
    ends = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))


def test_speakers_that_differ_widen_the_interval() -> None:
    truth = np.zeros(200, dtype=int)
    mixed = np.where(np.arange(200) % 2 == 0, 0.9, 0.1)  # half right within each speaker
    split = np.where(np.arange(200) < 100, 0.9, 0.1)  # some speakers right, others wrong
    speakers = [f"s{i // 10:02d}" for i in range(200)]

    def width(values: np.ndarray) -> float:
        table = np.stack([values, 1 - values], axis=1)
        found = metric_intervals(truth, table, speakers)["accuracy"]
        return (found.high or 0) - (found.low or 0)

    assert width(mixed) == pytest.approx(2 * t.ppf(0.975, 19) / 200, rel=1e-3)  # one utterance
    assert width(split) > 0.3


def test_one_speaker_has_no_interval() -> None:
    truth, posteriors, _ = rows()
    found = metric_intervals(truth, posteriors, ["s"] * len(truth))["uar"]
    assert (found.low, found.high) == (None, None)


def test_difference_with_itself_is_zero_everywhere() -> None:
    truth, posteriors, speakers = rows()
    found = metric_differences(truth, posteriors, posteriors, speakers)
    assert (found["uar"].value, found["uar"].p_value) == (0.0, 1.0)


def test_difference_is_paired() -> None:
    made = make_posterior_set(num_members=2, num_speakers=8)
    a, b = made.posteriors
    found = metric_differences(made.truth, b, a, made.speaker_ids)
    both = [speaker_sums(made.truth, x, made.speaker_ids).metrics(leave_one_out(8)) for x in (b, a)]
    expected = jackknife_interval(both[0]["uar"] - both[1]["uar"], "difference")
    assert found["uar"].ends() == pytest.approx(expected.ends())


def test_speaker_ids_must_fit_the_rows() -> None:
    truth, posteriors, speakers = rows()
    with pytest.raises(ValueError, match="60 speaker ids for 61 utterances"):
        metric_intervals(truth, posteriors, speakers[:-1])


def test_chance_interval_holds_chance_and_not_skill() -> None:
    truth, posteriors, _ = rows()
    found = chance_interval(truth, posteriors, num_permutations=300)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.25 < found.high < found.value
