"""Greedy selection equals the straightforward loop over the same selection."""

from __future__ import annotations

import numpy as np
import pytest

from serplatform.ensembles.greedy import CandidateTable, Greedy, best_length, select_members
from serplatform.metrics import classification_metrics
from serplatform.testing.combiner_contract import make_posterior_set


def plain_selection(
    posteriors: np.ndarray, truth: np.ndarray, num_rounds: int, objective: str
) -> list[int]:
    """Each round scores every candidate from scratch by the public metrics."""
    total = np.zeros(posteriors.shape[1:])
    chosen: list[int] = []
    for _ in range(num_rounds):
        values = []
        for member in posteriors:
            metrics = classification_metrics(truth, (total + member) / (len(chosen) + 1))
            first = -metrics["nll"] if objective == "nll" else metrics[objective]
            values.append((round(first, 12), -metrics["nll"]))
        chosen.append(max(range(len(values)), key=lambda m: (values[m], -m)))
        total += posteriors[chosen[-1]]
    return chosen


@pytest.mark.parametrize("objective", ["uar", "accuracy", "nll"])
@pytest.mark.parametrize("seed", range(4))
def test_selection_is_that_of_the_plain_loop(objective: str, seed: int) -> None:
    dev = make_posterior_set(num_members=12, num_classes=4, seed=seed)
    table = CandidateTable(dev.posteriors, dev.truth, objective)
    rounds = select_members(table, num_rounds=15)
    assert [r.member for r in rounds] == plain_selection(dev.posteriors, dev.truth, 15, objective)


@pytest.mark.parametrize("num_classes", [2, 8])
def test_single_precision_selects_the_same(
    num_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = make_posterior_set(num_members=9, num_classes=num_classes, seed=2)
    double = select_members(CandidateTable(dev.posteriors, dev.truth, "uar"), num_rounds=10)
    monkeypatch.setattr("serplatform.ensembles.greedy._DOUBLE_LIMIT", 0)
    table = CandidateTable(dev.posteriors, dev.truth, "uar")
    assert table.dtype is np.float32
    assert [r.member for r in select_members(table, num_rounds=10)] == [r.member for r in double]


def test_rounds_report_the_objective_of_the_mean_so_far() -> None:
    dev = make_posterior_set(num_members=7)
    rounds = select_members(
        CandidateTable(dev.posteriors, dev.truth, "uar"), num_rounds=6, num_initial=3
    )
    for length in range(1, len(rounds) + 1):
        mean = dev.posteriors[[r.member for r in rounds[:length]]].mean(axis=0)
        metrics = classification_metrics(dev.truth, mean)
        assert rounds[length - 1].value == pytest.approx(metrics["uar"], abs=1e-12)
        assert rounds[length - 1].gain == pytest.approx(-metrics["nll"], abs=1e-9)


def test_tied_posteriors_go_to_the_first_class() -> None:
    truth = np.array([0, 1, 1])
    even = np.full((1, 3, 2), 0.5)
    rounds = select_members(CandidateTable(even, truth, "accuracy"), num_rounds=1)
    assert rounds[0].value == classification_metrics(truth, even[0])["accuracy"] == 1 / 3


def test_initial_members_are_the_best_single_ones() -> None:
    dev = make_posterior_set(num_members=10, seed=4)
    values = [classification_metrics(dev.truth, p) for p in dev.posteriors]
    ranked = sorted(range(10), key=lambda m: (-values[m]["uar"], values[m]["nll"]))
    rounds = select_members(
        CandidateTable(dev.posteriors, dev.truth, "uar"), num_rounds=0, num_initial=5
    )
    assert [r.member for r in rounds] == ranked[: len(rounds)]


def test_members_outside_the_bag_are_never_added() -> None:
    dev = make_posterior_set(num_members=10)
    allowed = np.zeros(10, dtype=bool)
    allowed[[2, 5]] = True
    table = CandidateTable(dev.posteriors, dev.truth, "uar")
    rounds = select_members(table, num_rounds=8, num_initial=4, allowed=allowed)
    assert {r.member for r in rounds} <= {2, 5}


def test_best_prefix_is_kept() -> None:
    dev = make_posterior_set(num_members=6, seed=8)
    rounds = select_members(CandidateTable(dev.posteriors, dev.truth, "uar"), num_rounds=20)
    kept = best_length(rounds)
    assert max(r.value for r in rounds) == rounds[kept - 1].value


def test_greedy_is_at_least_as_good_on_dev_rows_as_the_best_single_member() -> None:
    for seed in range(5):
        dev = make_posterior_set(num_members=8, seed=seed)
        greedy = Greedy()
        greedy.fit(dev)
        combined = classification_metrics(dev.truth, greedy.combine(dev.posteriors))["uar"]
        best = max(classification_metrics(dev.truth, p)["uar"] for p in dev.posteriors)
        assert combined >= best - 1e-12


def test_large_libraries_are_bagged_and_small_ones_are_not() -> None:
    small, large = Greedy(), Greedy()
    small.fit(make_posterior_set(num_members=10))
    large.fit(make_posterior_set(num_members=30))
    assert small.parameters()["num_bags"] == 1
    assert large.parameters()["num_bags"] == 20
    assert large.weights().sum() == pytest.approx(1.0)
