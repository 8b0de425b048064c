"""Labels permuted within strata, against every permutation there is and under the null."""

import itertools

import numpy as np
import pytest

from serplatform.statistics.stratified_permutation import stratified_permutation_test


def f_statistic(values, groups, strata):
    """One-way F of the values minus their stratum's mean, in plain loops; NaN is not there."""
    known = [n for n in range(len(values)) if np.isfinite(values[n])]
    centred = {}
    for n in known:
        own = [values[m] for m in known if strata[m] == strata[n]]
        centred[n] = values[n] - sum(own) / len(own)
    names = sorted({groups[n] for n in known})
    between = within = 0.0
    for name in names:
        own = [centred[n] for n in known if groups[n] == name]
        mean = sum(own) / len(own)
        between += len(own) * mean**2
        within += sum((value - mean) ** 2 for value in own)
    freedom = len(known) - len(names)
    return between / (len(names) - 1) / (within / freedom)


def every_permutation(groups, strata):
    parts = [[n for n, s in enumerate(strata) if s == name] for name in dict.fromkeys(strata)]
    for orders in itertools.product(*(itertools.permutations(part) for part in parts)):
        found = list(groups)
        for part, order in zip(parts, orders, strict=True):
            for to, source in zip(part, order, strict=True):
                found[to] = groups[source]
        yield found


def test_p_values_are_those_of_all_permutations():
    rng = np.random.default_rng(3)
    groups, strata = ["a", "b", "a", "b", "a", "c", "b", "a"], ["s"] * 4 + ["t"] * 4
    values = rng.normal(size=(8, 3)) + np.array([[0], [1], [0], [1], [5], [5], [6], [5]])
    values[2, 1] = values[5, 2] = np.nan
    drawn = np.array(
        [
            [f_statistic(values[:, q].tolist(), g, strata) for q in range(3)]
            for g in every_permutation(groups, strata)
        ]
    )
    observed = [f_statistic(values[:, q].tolist(), groups, strata) for q in range(3)]
    alone = [np.mean(drawn[:, q] >= observed[q] * (1 - 1e-9)) for q in range(3)]
    largest = drawn.max(axis=1)
    among = [np.mean(largest >= observed[q] * (1 - 1e-9)) for q in range(3)]
    found = stratified_permutation_test(values, groups, strata, num_draws=20_000)
    np.testing.assert_allclose(found.p_value, alone, atol=0.012)
    np.testing.assert_allclose(found.corrected, among, atol=0.012)
    assert (found.corrected >= found.p_value).all()


def test_what_is_of_the_speakers_is_no_difference_of_the_groups():
    strata = [n // 4 for n in range(80)]
    groups = ["ab"[s % 2] for s in strata]  # every speaker has one emotion
    values = np.array([[10.0 * (s % 2) + n % 4] for n, s in enumerate(strata)])
    found = stratified_permutation_test(values, groups, strata, num_draws=99)
    assert found.p_value.tolist() == found.corrected.tolist() == [1.0]


def test_one_false_finding_among_many_in_twenty():
    rng = np.random.default_rng(0)
    false = 0
    for draw in range(200):
        strata = np.repeat(np.arange(5), 12)
        groups = np.concatenate([rng.permutation(np.repeat([0, 1, 2], 4)) for _ in range(5)])
        values = rng.standard_t(3, (60, 12)) + rng.normal(size=(5, 12))[strata] * 5
        values[rng.random((60, 12)) < 0.3] = np.nan
        found = stratified_permutation_test(
            values, groups.tolist(), strata.tolist(), num_draws=99, seed=draw
        )
        false += bool((found.corrected <= 0.05).any())
    assert 0 < false <= 20  # 10 expected, at most 20 in 999 of 1,000 cases


@pytest.mark.parametrize("values", [np.ones((6, 1)), np.full((6, 1), np.nan)])
def test_what_does_not_vary_has_no_p_value(values):
    found = stratified_permutation_test(values, list("ababab"), [0] * 6, num_draws=9)
    assert np.isnan(found.p_value).all()
    assert np.isnan(found.corrected).all()
