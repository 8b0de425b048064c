"""The difference between two groups of speakers, against Welch's t test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from serplatform.statistics.group_difference import group_difference


def jackknifed(values: np.ndarray) -> np.ndarray:
    """A mean over all values, and without each."""
    dropped = (values.sum() - values) / (len(values) - 1)
    return np.concatenate([[values.mean()], dropped])


def test_of_means_it_is_welch_s_test() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0.6, 0.1, 7), rng.normal(0.5, 0.2, 12)
    found = group_difference(jackknifed(one), jackknifed(other))
    wanted = stats.ttest_ind(one, other, equal_var=False)
    span = wanted.confidence_interval()
    assert found.value == pytest.approx(one.mean() - other.mean())
    assert found.p_value == pytest.approx(wanted.pvalue)
    assert (found.low, found.high) == pytest.approx((span.low, span.high))


def test_one_speaker_has_no_interval() -> None:
    found = group_difference([0.5], [0.4, 0.3, 0.5])
    assert (found.low, found.high, found.p_value) == (None, None, None)
    assert found.value == pytest.approx(0.1)
