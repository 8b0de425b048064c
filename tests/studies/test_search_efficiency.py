"""The replayed searches of ``benchmarks/search_efficiency.py`` keep their books."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FOLDS, EPOCHS = 2, 8


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import search_efficiency

    yield search_efficiency
    for name in ("search_efficiency", "search_table"):
        sys.modules.pop(name, None)


@pytest.fixture
def table(benchmark: ModuleType):
    """Every configuration learns to a level of its own; the largest rate is the best."""
    grid = {
        "model.hidden_dim": (32, 128),
        "model.dropout": (0.1, 0.5, 0.9),
        "training.learning_rate": (1e-4, 1e-3, 1e-2),
    }
    curves = {}
    for place, point in enumerate(itertools.product(*grid.values())):
        level = 0.2 + 0.01 * place + 0.1 * (np.log10(point[2]) + 4)
        curves[point] = level * (1 - 0.5 ** np.arange(1, EPOCHS + 1)) * np.ones((FOLDS, 1))
    fixed = {"training.max_epochs": EPOCHS, "model.input_dropout": 0.5}
    return benchmark.Table(grid, curves, {"fixed": fixed, "folds": FOLDS})


def test_every_epoch_is_counted_once(benchmark, table) -> None:
    found = benchmark.replay(table, seed=0, sampler="random", pruner="none", trials=5)
    assert [r["epochs"] for r in found.records] == [FOLDS * EPOCHS] * 5
    assert found.total == 5 * FOLDS * EPOCHS
    # two at a time: the first two end together, after both have spent their epochs
    assert found.spent[:2] == [2 * FOLDS * EPOCHS - 1, 2 * FOLDS * EPOCHS]
    assert found.records[0]["paper"]


def test_pruned_trials_count_for_what_they_spent(benchmark, table) -> None:
    found = benchmark.replay(table, seed=0, sampler="random", trials=20)
    pruned = [r for r in found.records if r["state"] == "pruned"]
    assert 5 < len(pruned) < 20
    assert {r["epochs"] for r in pruned} <= {2, 6}  # the rungs: a quarter of a fold, times 3
    assert all(len(r["history"]) == r["epochs"] for r in found.records)
    assert found.total == sum(r["epochs"] for r in found.records)


def test_the_same_seed_gives_the_same_search(benchmark, table) -> None:
    one, two, other = (benchmark.replay(table, seed=seed, trials=12).records for seed in (3, 3, 4))
    assert one == two
    assert one != other


def test_a_budget_of_epochs_is_kept(benchmark, table) -> None:
    found = benchmark.replay(table, seed=0, epochs=40)
    assert 40 <= found.total < 40 + benchmark.CONCURRENT
    assert sum(r["epochs"] for r in found.records) <= found.total


def test_between_the_points_curves_are_interpolated(table) -> None:
    values = {"model.hidden_dim": 32, "model.dropout": 0.3, "training.learning_rate": 10**-3.5}
    corners = [(32, d, r) for d in (0.1, 0.5) for r in (1e-4, 1e-3)]
    expected = np.mean([table.curves[corner] for corner in corners], axis=0)
    np.testing.assert_allclose(table.curve(values), expected)
    np.testing.assert_array_equal(
        table.curve({**values, "model.dropout": 0.9, "training.learning_rate": 1e-2}),
        table.curves[32, 0.9, 1e-2],
    )


def test_a_table_survives_its_file(benchmark, table, tmp_path) -> None:
    table.write(tmp_path / "table.parquet")
    again = benchmark.Table.read(tmp_path / "table.parquet")
    assert again.grid == table.grid
    assert again.meta == table.meta
    for point, curve in table.curves.items():
        np.testing.assert_allclose(again.curves[point], curve, rtol=1e-6)


def test_a_warm_start_reaches_the_target_and_counts_no_earlier_epoch(benchmark, table) -> None:
    space = benchmark.make_space(table)
    earlier = benchmark.replay(table, seed=9, trials=12)
    known = benchmark.learned(table, earlier, space, same=True)
    found = benchmark.replay(table, seed=0, trials=4, warm_starts=[known])
    assert found.total == sum(r["epochs"] for r in found.records)
    assert len(found.records) == 4
    best = known["points"][benchmark.ARCHITECTURE][0]
    assert found.records[1]["params"].items() >= best.items()
