"""Placement: a trial that cannot fit is refused before anything waits for ever."""

from __future__ import annotations

from typing import Any

import pytest

from serplatform.distributed.cluster import TO_COME
from serplatform.distributed.tune.placement import SearchLimits, plan_placement
from serplatform.errors import BadInputError


def limits(**options: Any) -> SearchLimits:
    return SearchLimits(**{"trials": None, "seconds": None, "begun": 0.0, **options})


@pytest.mark.parametrize(
    ("resources", "options", "expected"),
    [
        ({"CPU": 2.0}, {}, (2, 1, 0.0)),
        ({"CPU": 8.0}, {"concurrent": 2}, (2, 4, 0.0)),
        ({"CPU": 8.0}, {"workers": 2}, (4, 1, 0.0)),
        ({"CPU": 16.0, "GPU": 1.0}, {}, (1, 16, 1.0)),
        ({"CPU": 16.0, "GPU": 1.0}, {"gpus_per_trial": 0.25}, (4, 4, 0.25)),
        ({"CPU": 16.0, "GPU": 4.0}, {"workers": 2}, (2, 4, 1.0)),
        ({"CPU": 2.0, "GPU": 1.0}, {"gpus_per_trial": 0.1}, (2, 1, 0.1)),
        ({"CPU": 2.0, "GPU": 1.0}, {"gpus_per_trial": 0.0}, (2, 1, 0.0)),
        ({"CPU": 8.0, "node:10.0.0.1": 1.0, "node:10.0.0.2": 1.0}, {}, (8, 1, 0.0)),
    ],
)
def test_trials_fill_the_cluster_and_no_more(
    resources: dict[str, float], options: dict[str, Any], expected: tuple[int, int, float]
) -> None:
    placement = plan_placement(resources, limits(**options))
    assert (placement.concurrent, placement.threads, placement.gpus) == expected


@pytest.mark.parametrize(
    ("resources", "options", "message"),
    [
        ({"CPU": 2.0}, {"workers": 3}, "needs more than the cluster has .3 CPU of 2"),
        ({"CPU": 2.0}, {"gpus_per_trial": 1.0}, "1 GPU of 0"),
        ({"CPU": 9.0, "GPU": 2.0}, {"workers": 3}, "3 GPU of 2"),
        ({"CPU": 9.0, "GPU": 2.0}, {"gpus_per_trial": 1.5}, "must be a whole number"),
        ({"CPU": 9.0, "GPU": 2.0}, {"workers": 2, "gpus_per_trial": 0.5}, "cannot share a GPU"),
    ],
)
def test_what_cannot_fit_is_refused(
    resources: dict[str, float], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        plan_placement(resources, limits(**options))


def test_no_more_trials_run_at_a_time_than_are_asked_for() -> None:
    placement = plan_placement({"CPU": 2.0}, limits(trials=1))
    assert (placement.concurrent, placement.threads) == (1, 2)


NODES = [{"CPU": 4.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}]
SUM = {"CPU": 20.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("nodes", "resources", "options", "message"),
    [
        (NODES, SUM, {"gpus_per_trial": 2.0}, "room for 0 only on 3 node.s., .* has 1 GPU"),
        ([{"CPU": 8.0}, {"GPU": 4.0}], {"CPU": 8.0, "GPU": 4.0}, {}, "room for 0 only"),
        ([{"CPU": 1.5}, {"CPU": 1.5}], {"CPU": 3.0}, {"workers": 3}, "room for 2 only on 2 node"),
    ],
)
def test_what_fits_the_sum_but_no_node_is_refused(
    nodes: list[dict[str, float]],
    resources: dict[str, float],
    options: dict[str, Any],
    message: str,
) -> None:
    plan_placement(resources, limits(**options))
    with pytest.raises(BadInputError, match=message):
        plan_placement(resources, limits(**options), nodes)


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"gpus_per_trial": 0.25}])
def test_what_fits_the_nodes_is_planned_as_before(options: dict[str, Any]) -> None:
    assert plan_placement(SUM, limits(**options), NODES) == plan_placement(SUM, limits(**options))


def test_a_cluster_that_may_grow_is_not_planned_as_one_node() -> None:
    grown = {"CPU": 64.0, "GPU": 8.0, "node:10.0.0.1": 1.0, TO_COME: 1.0}
    placement = plan_placement(grown, limits(concurrent=2))
    assert (placement.concurrent, placement.threads) == (2, 1)
