"""When a trial counts as hanging, and what one that ran out of memory asks for next."""

from __future__ import annotations

import pytest

from serplatform.distributed.room import make_room, widened
from serplatform.distributed.watchdog import FACTOR, FIRST_LIMIT, LEAST_LIMIT, PAUSE, Watchdog


def watch(dog, trials, seconds, *, begin=0.0, step=1.0):
    """Look every ``step`` seconds; return (time, trial, limit) of each that is overdue."""
    found, now = [], begin
    while now <= begin + seconds:
        found += [(now, name, limit) for name, limit in dog.look(trials, now)]
        now += step
    return found


def test_before_any_epoch_of_its_architecture_a_trial_has_the_first_limit():
    trials = {"a": ("moma", 0)}
    assert watch(Watchdog(), trials, FIRST_LIMIT - 1) == []
    (found,) = watch(Watchdog(), trials, FIRST_LIMIT + 1)
    assert found == (FIRST_LIMIT, "a", FIRST_LIMIT)


def test_the_limit_follows_the_slowest_epoch_of_the_same_architecture():
    dog = Watchdog()
    trials = {"a": ("moma", 0), "b": ("csa", 0)}
    watch(dog, trials, 100)
    dog.heard("a", 100.0)
    assert dog.limit("moma") == FACTOR * 100
    assert dog.limit("csa") == FIRST_LIMIT
    dog.heard("a", 101.0)
    assert dog.limit("moma") == FACTOR * 100
    dog.heard("b", 100.5 + 1.0)
    quick = Watchdog()
    quick.look(trials, 0.0)
    quick.heard("a", 1.0)
    assert quick.limit("moma") == LEAST_LIMIT


def test_an_epoch_starts_the_clock_again():
    dog = Watchdog(limit=10.0)
    trials = {"a": ("moma", 0), "b": ("moma", 0)}
    assert watch(dog, trials, 9) == []
    dog.heard("a", 9.0)
    assert watch(dog, trials, 5, begin=10.0) == [(10.0, "b", 10.0)]


def test_another_attempt_and_workers_that_wait_for_room_start_it_again():
    dog = Watchdog(limit=10.0)
    assert watch(dog, {"a": ("moma", None)}, 50) == []
    assert watch(dog, {"a": ("moma", ("x",))}, 9, begin=51) == []
    assert watch(dog, {"a": ("moma", ("y",))}, 9, begin=61) == []
    assert watch(dog, {"a": ("moma", ("y",))}, 2, begin=71) == [(71.0, "a", 10.0)]


def test_time_in_which_the_driver_stood_still_does_not_count():
    dog = Watchdog(limit=10.0)
    trials = {"a": ("moma", 0)}
    watch(dog, trials, 5)
    assert dog.look(trials, 500.0) == []
    assert dog.look(trials, 500.0 + PAUSE) != []


def test_zero_means_never():
    assert watch(Watchdog(limit=0.0), {"a": ("moma", 0)}, 1e6, step=1e3) == []


class FakeTrial:
    def __init__(self, *bundles):
        from ray import tune

        self.placement_group_factory = tune.PlacementGroupFactory(list(bundles))

    def update_resources(self, factory):
        self.placement_group_factory = factory


@pytest.mark.parametrize(
    ("reason", "asks"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", 0.5),
        ("the process that trained it was ended because memory ran low", 0.5),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", 0.5),
        ("MemoryError", 0.5),
        ("RuntimeError: shapes do not fit", 0.25),
        ("the process that trained it died: SIGSEGV", 0.25),
    ],
)
def test_only_want_of_memory_asks_for_more_room(monkeypatch, reason, asks):
    node = {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 1.0}}
    monkeypatch.setattr("ray.nodes", lambda: [node])
    trial = FakeTrial({"CPU": 4.0, "GPU": 0.25})
    make_room(trial, reason)
    assert trial.placement_group_factory.bundles == [{"CPU": 4.0, "GPU": asks}]


def test_nobody_asks_for_more_than_one_gpu_or_one_nodes_cores():
    nodes = [{"CPU": 4.0}, {"CPU": 6.0, "GPU": 2.0}]
    assert widened([{"CPU": 1.0, "GPU": 1.0}], nodes) == [{"CPU": 1.0, "GPU": 1.0}]
    assert widened([{"CPU": 1.0, "GPU": 2.0}], nodes) == [{"CPU": 1.0, "GPU": 2.0}]
    assert widened([{"CPU": 4.0}], nodes) == [{"CPU": 6.0}]
    group = [{"node:__internal_head__": 0.001}]
    assert widened(group, nodes) == group
