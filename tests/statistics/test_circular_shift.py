"""The circular-shift test against plain loops, and its calibration when nothing is to be found."""

import numpy as np
import pytest

from serplatform.statistics.circular_shift import circular_shift_test, excess_by_shift


def smooth(rng, count):
    """A positive periodic curve without regard for any marks."""
    time = 2 * np.pi * np.arange(count) / count
    waves = [rng.normal() * np.cos(k * time + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3)]
    return np.exp(np.sum(waves, axis=0))


def marks_of(rng, count):
    """Runs of marked steps, like vowels."""
    marked = np.zeros(count, dtype=bool)
    for start in range(0, count, 10):
        marked[start : start + int(rng.integers(2, 8))] = True
    return marked


def test_every_shift_agrees_with_plain_loops():
    rng = np.random.default_rng(0)
    for count in (2, 7, 12):
        weights, marked = rng.random(count), np.arange(count) % 3 == 0
        for shift, found in enumerate(excess_by_shift(weights, marked)):
            on_marked = 0.0
            for t in range(count):
                if marked[t]:
                    on_marked += weights[(t + shift) % count] / weights.sum()
            assert found == pytest.approx(on_marked - marked.mean(), abs=1e-12)


def test_shifts_of_an_utterance_have_mean_zero():
    rng = np.random.default_rng(1)
    assert excess_by_shift(rng.random(31), rng.random(31) < 0.4).mean() == pytest.approx(
        0, abs=1e-15
    )


def test_independent_curves_give_even_p_values():
    rng = np.random.default_rng(2)
    p_values = []
    for trial in range(200):
        counts = rng.integers(20, 60, size=12)
        curves = [smooth(rng, n) for n in counts]
        marks = [marks_of(rng, n) for n in counts]
        found = circular_shift_test(curves, marks, range(12), num_draws=99, seed=trial)
        p_values.append(found.p_value)
    # binomial(200, 0.1): 20 ± 4 · 4.2 ; mean of even p-values 0.505 ± 4 · 0.0204
    assert 4 <= sum(p <= 0.1 for p in p_values) <= 36
    assert np.mean(p_values) == pytest.approx(0.505, abs=0.08)


def test_a_habit_shared_within_a_sentence_is_no_evidence_when_grouped():
    """A model that listens to one part of each sentence, wherever its vowels are."""
    rng = np.random.default_rng(3)
    grouped, alone = [], []
    for trial in range(150):
        curves, marks, sentence = [], [], []
        for text in range(3):
            habit, vowels = smooth(rng, 40), marks_of(rng, 40)
            for _ in range(15):
                curves.append(habit * np.exp(0.1 * rng.normal(size=40)))
                marks.append(vowels)
                sentence.append(text)
        for into, groups in ((grouped, sentence), (alone, range(45))):
            found = circular_shift_test(curves, marks, groups, num_draws=99, seed=trial)
            into.append(found.p_value)
    assert sum(p <= 0.1 for p in grouped) <= 30  # binomial(150, 0.1): 15 + 4 · 3.7
    assert sum(p <= 0.1 for p in alone) > 60  # as single utterances: far too many


def test_attention_on_the_marks_is_found_either_way():
    rng = np.random.default_rng(4)
    counts = rng.integers(20, 60, size=10)
    marks = [marks_of(rng, n) for n in counts]
    for sign in (1.0, -1.0):
        curves = [smooth(rng, len(m)) * np.exp(sign * m) for m in marks]
        found = circular_shift_test(curves, marks, range(10), num_draws=499)
        assert found.p_value == pytest.approx(1 / 500)
        assert np.sign(found.excess) == sign
        assert (found.num_utterances, found.num_groups, found.num_draws) == (10, 10, 499)


def test_even_attention_has_no_excess_and_p_one():
    marks = [np.array([True, False, False, True])] * 3
    found = circular_shift_test([np.ones(4)] * 3, marks, ["a", "a", "b"])
    assert found.excess == pytest.approx(0.0, abs=1e-15)
    assert found.p_value == 1.0
    assert found.num_groups == 2


def test_the_same_seed_draws_the_same():
    rng = np.random.default_rng(5)
    curves, marks = [smooth(rng, 30) for _ in range(4)], [marks_of(rng, 30) for _ in range(4)]
    first, again = (circular_shift_test(curves, marks, range(4), seed=7) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("weights", "marked", "groups", "match"),
    [
        ([], [], [], "0 curves"),
        ([np.ones(3)], [np.ones(3, bool)], [], "0 groups"),
        ([np.ones(3)], [np.ones(2, bool)], [0], "differ in length"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(weights, marked, groups, match):
    with pytest.raises(ValueError, match=match):
        circular_shift_test(weights, marked, groups)
