"""When a trial counts as hanging."""

from __future__ import annotations

from serplatform.distributed.tune.hang_watchdog import (
    FACTOR,
    FIRST_LIMIT,
    LEAST_LIMIT,
    PAUSE,
    HangWatchdog,
)


def watch(dog, trials, seconds, *, begin=0.0, step=1.0):
    """Look every ``step`` seconds; return (time, trial, limit) of each that is overdue."""
    found, now = [], begin
    while now <= begin + seconds:
        found += [(now, name, limit) for name, limit in dog.overdue(trials, now)]
        now += step
    return found


def test_before_any_epoch_of_its_architecture_a_trial_has_the_first_limit():
    trials = {"a": ("moma", 0)}
    assert watch(HangWatchdog(), trials, FIRST_LIMIT - 1) == []
    (found,) = watch(HangWatchdog(), trials, FIRST_LIMIT + 1)
    assert found == (FIRST_LIMIT, "a", FIRST_LIMIT)


def test_the_limit_follows_the_slowest_epoch_of_the_same_architecture():
    dog = HangWatchdog()
    trials = {"a": ("moma", 0), "b": ("csa", 0)}
    watch(dog, trials, 100)
    dog.epoch_ended("a", 100.0)
    assert dog.limit("moma") == FACTOR * 100
    assert dog.limit("csa") == FIRST_LIMIT
    dog.epoch_ended("a", 101.0)
    assert dog.limit("moma") == FACTOR * 100
    dog.epoch_ended("b", 100.5 + 1.0)
    quick = HangWatchdog()
    quick.overdue(trials, 0.0)
    quick.epoch_ended("a", 1.0)
    assert quick.limit("moma") == LEAST_LIMIT


def test_an_epoch_starts_the_clock_again():
    dog = HangWatchdog(limit=10.0)
    trials = {"a": ("moma", 0), "b": ("moma", 0)}
    assert watch(dog, trials, 9) == []
    dog.epoch_ended("a", 9.0)
    assert watch(dog, trials, 5, begin=10.0) == [(10.0, "b", 10.0)]


def test_another_attempt_and_workers_that_wait_to_start_start_it_again():
    dog = HangWatchdog(limit=10.0)
    assert watch(dog, {"a": ("moma", None)}, 50) == []
    assert watch(dog, {"a": ("moma", ("x",))}, 9, begin=51) == []
    assert watch(dog, {"a": ("moma", ("y",))}, 9, begin=61) == []
    assert watch(dog, {"a": ("moma", ("y",))}, 2, begin=71) == [(71.0, "a", 10.0)]


def test_time_in_which_the_driver_stood_still_does_not_count():
    dog = HangWatchdog(limit=10.0)
    trials = {"a": ("moma", 0)}
    watch(dog, trials, 5)
    assert dog.overdue(trials, 500.0) == []
    assert dog.overdue(trials, 500.0 + PAUSE) != []


def test_zero_means_never():
    assert watch(HangWatchdog(limit=0.0), {"a": ("moma", 0)}, 1e6, step=1e3) == []
