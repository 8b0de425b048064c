"""The permutation test equals enumeration in plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from serplatform.metrics import confusion_counts, count_metrics
from serplatform.statistics.permutation import paired_permutation_test


def example(num_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.arange(num_rows) % 3
    a = np.where(rng.random(num_rows) < 0.7, truth, rng.integers(0, 3, num_rows))
    b = np.where(rng.random(num_rows) < 0.5, truth, rng.integers(0, 3, num_rows))
    return truth, a, b


def metric_of(name: str, truth: np.ndarray, prediction: np.ndarray) -> float:
    return float(count_metrics(confusion_counts(truth, prediction, 3))[name])


def enumerated(
    truth: np.ndarray, a: np.ndarray, b: np.ndarray, cluster: np.ndarray, metric: str
) -> float:
    """P-value over all swaps of clusters, from scratch each time."""
    observed = abs(metric_of(metric, truth, a) - metric_of(metric, truth, b))
    names = sorted(set(cluster))
    extreme = total = 0
    for flips in itertools.product([False, True], repeat=len(names)):
        swapped = np.isin(cluster, [n for n, flip in zip(names, flips, strict=True) if flip])
        one, other = np.where(swapped, b, a), np.where(swapped, a, b)
        difference = abs(metric_of(metric, truth, one) - metric_of(metric, truth, other))
        extreme += difference >= observed - 1e-12
        total += 1
    return extreme / total


@pytest.mark.parametrize("metric", ["uar", "accuracy", "macro_f1"])
def test_swapping_utterances_is_exact_when_small(metric: str) -> None:
    truth, a, b = example(9, seed=1)
    found = paired_permutation_test(truth, a, b, num_classes=3, metric=metric)
    assert found["exact"]
    assert found["p_value"] == pytest.approx(enumerated(truth, a, b, np.arange(9), metric))


@pytest.mark.parametrize("seed", range(3))
def test_swapping_speakers_is_exact_when_few(seed: int) -> None:
    truth, a, b = example(60, seed)
    cluster = np.arange(60) // 8
    found = paired_permutation_test(
        truth, a, b, num_classes=3, speaker_ids=[f"s{c}" for c in cluster]
    )
    assert found["exact"]
    assert found["clustered_by"] == "speaker"
    assert found["num_clusters"] == 8
    assert found["p_value"] == pytest.approx(enumerated(truth, a, b, cluster, "uar"))


def test_drawn_swaps_come_near_the_exact_value() -> None:
    truth, a, b = example(120, seed=4)
    speakers = [f"s{i // 10:02d}" for i in range(120)]  # 12 speakers: 4096 swaps
    exact = paired_permutation_test(truth, a, b, num_classes=3, speaker_ids=speakers)
    drawn = paired_permutation_test(
        truth, a, b, num_classes=3, speaker_ids=speakers, num_permutations=4000
    )
    assert exact["exact"]
    assert not drawn["exact"]
    assert drawn["p_value"] == pytest.approx(exact["p_value"], abs=0.03)


def test_p_values_are_uniform_when_the_systems_are_exchangeable() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(90) % 3
    small = 0
    for seed in range(200):
        a = np.where(rng.random(90) < 0.6, truth, rng.integers(0, 3, 90))
        b = np.where(rng.random(90) < 0.6, truth, rng.integers(0, 3, 90))
        found = paired_permutation_test(truth, a, b, num_classes=3, num_permutations=199, seed=seed)
        small += found["p_value"] <= 0.1
    assert 6 <= small <= 34  # binomial(200, 0.1), ± 3.3 standard deviations


def test_a_drawn_p_value_is_never_zero() -> None:
    truth = np.zeros(100, dtype=int)
    found = paired_permutation_test(
        truth, truth, truth + 1, num_classes=2, metric="accuracy", num_permutations=99
    )
    assert found["p_value"] == pytest.approx(1 / 100)


def test_equal_systems_have_p_one() -> None:
    truth, a, _ = example(30, seed=2)
    found = paired_permutation_test(truth, a, a, num_classes=3)
    assert (found["difference"], found["p_value"]) == (0.0, 1.0)


def test_difference_has_the_sign_of_the_first_system() -> None:
    truth, a, b = example(300, seed=2)
    assert paired_permutation_test(truth, a, b, num_classes=3)["difference"] > 0
    assert paired_permutation_test(truth, b, a, num_classes=3)["difference"] < 0


def test_unknown_metric_is_refused() -> None:
    truth, a, b = example(6, seed=0)
    with pytest.raises(ValueError, match="metric 'nll' is not one of"):
        paired_permutation_test(truth, a, b, num_classes=3, metric="nll")
