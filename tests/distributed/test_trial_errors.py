"""What is told of a failed attempt at a trial, and which of them asks for more memory next."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayTaskError
from ray.train import WorkerGroupError

from serplatform.distributed.tune.trial_errors import (
    describe_error,
    lacked_memory,
    larger_request,
    request_more_memory,
)


def task_error(cause: Exception) -> RayTaskError:
    return RayTaskError("step", f"Traceback ...\n  File ...\n{cause!r}", cause)


def died(detail: str) -> RayActorError:
    text = f"The actor died unexpectedly.\nWorker exit type: X Worker exit detail: {detail}\nmore"
    return RayActorError("a1", text)


DEFAULT_CPU = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"


@pytest.mark.parametrize(
    ("error", "told", "memory"),
    [
        (task_error(RuntimeError("shapes do not fit")), "RuntimeError: shapes do not fit", False),
        (task_error(ValueError("out of memory")), "ValueError: out of memory", False),
        (task_error(RuntimeError(DEFAULT_CPU)), f"RuntimeError: {DEFAULT_CPU}", True),
        (task_error(MemoryError()), "MemoryError", True),
        (
            task_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")),
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
            True,
        ),
        (died("killed by SIGSEGV"), "the process that trained it died: killed by SIGSEGV", False),
        (
            OutOfMemoryError("Task was killed due to the node running low on memory"),
            "the process that trained it was ended because memory ran low",
            True,
        ),
        (
            died("killed because the node was running low on memory"),
            "the process that trained it was ended because memory ran low",
            True,
        ),
        (
            WorkerGroupError("rank 1", {1: task_error(RuntimeError("a group's"))}),
            "RuntimeError: a group's",
            False,
        ),
        (
            WorkerGroupError("rank 0", {0: died("by 9")}),
            "the process that trained it died: by 9",
            False,
        ),
        (None, "no reason was given", False),
    ],
)
def test_a_failure_is_told_in_one_line_and_lack_of_memory_is_known(
    error: BaseException | None, told: str, memory: bool
) -> None:
    assert describe_error(error) == told
    assert lacked_memory(error) is memory


def test_an_actor_that_cannot_be_made_is_told_by_what_it_raised() -> None:
    made = ActorDiedError(task_error(RuntimeError("no module")))
    assert "no module" in describe_error(made)
    assert "died" not in describe_error(made)


class FakeTrial:
    def __init__(self, *bundles: dict[str, float]) -> None:
        from ray import tune

        self.placement_group_factory = tune.PlacementGroupFactory(list(bundles))

    def update_resources(self, factory: Any) -> None:
        self.placement_group_factory = factory


def test_a_trial_that_lacked_memory_asks_for_twice_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 1.0}}
    monkeypatch.setattr("ray.nodes", lambda: [node])
    trial = FakeTrial({"CPU": 4.0, "GPU": 0.25})
    request_more_memory(trial)
    assert trial.placement_group_factory.bundles == [{"CPU": 4.0, "GPU": 0.5}]


def test_nobody_asks_for_more_than_one_gpu_or_one_nodes_cores() -> None:
    nodes = [{"CPU": 4.0}, {"CPU": 6.0, "GPU": 2.0}]
    assert larger_request([{"CPU": 1.0, "GPU": 1.0}], nodes) == [{"CPU": 1.0, "GPU": 1.0}]
    assert larger_request([{"CPU": 1.0, "GPU": 2.0}], nodes) == [{"CPU": 1.0, "GPU": 2.0}]
    assert larger_request([{"CPU": 4.0}], nodes) == [{"CPU": 6.0}]
    group = [{"node:__internal_head__": 0.001}]
    assert larger_request(group, nodes) == group
