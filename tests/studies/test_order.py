"""Which architecture is next: by name in turn, by gain and cost, by merit; what fits the time."""

from __future__ import annotations

from collections import Counter
from typing import Any

from serplatform.studies.order import LEAST_GAIN, PATIENCE, NoTrial, TrialOrder


def record(number: int, architecture: str, uar: float, seconds: float) -> Any:
    return {
        "trial": number,
        "architecture": architecture,
        "state": "complete",
        "seconds": seconds,
        "dev": {"uar": uar, "nll": 1.0},
    }


def test_named_architectures_are_asked_in_turn_and_waited_for() -> None:
    order = TrialOrder(["a", "b"], "uar")
    order.add("b", 1.0)
    assert order.next({}, None) is NoTrial.LATER  # "a" is not timed yet
    order.add("a", 500.0)
    asked: Counter[str] = Counter()
    for _ in range(6):
        name = order.next(asked, None)
        assert isinstance(name, str)
        asked[name] += 1
    assert asked == {"a": 3, "b": 3}


def test_nothing_is_begun_that_would_not_end_in_time() -> None:
    order = TrialOrder(["slow", "quick"], "uar")
    order.add("slow", 100.0)
    order.add("quick", 5.0)
    assert order.next({"quick": 3}, 60.0) == "quick"
    assert order.next({}, 4.0) is NoTrial.NEVER
    order.ended(record(0, "quick", 0.5, 2.0))  # it takes less than was estimated
    assert order.next({}, 4.0) == "quick"
    order.ended(record(1, "quick", 0.5, 9.0))
    assert order.next({}, 4.0) is NoTrial.NEVER


def test_a_portfolio_takes_what_adds_most_for_its_time_first() -> None:
    order = TrialOrder(["cheap", "dear"], "uar", portfolio=True)
    order.add("cheap", 1.0, gains=[10.0, 2.0, LEAST_GAIN / 2])
    order.add("dear", 10.0, gains=[30.0])
    assert order.next({}, None) == "cheap"  # 10 points a second
    assert order.next({"cheap": 1}, None) == "dear"  # 3 against 2
    assert order.next({"cheap": 1, "dear": 1}, None) == "cheap"
    assert order.next({"cheap": 1}, 5.0) == "cheap"  # no time for the other


def test_time_is_shared_by_merit_and_fades_without_progress() -> None:
    order = TrialOrder(["good", "bad"], "uar", portfolio=True)
    for name in ("good", "bad"):
        order.add(name, 2.0)
    asked: Counter[str] = Counter()
    values = {"good": 0.7, "bad": 0.4}
    for number in range(PATIENCE):
        name = order.next(asked, None)
        assert isinstance(name, str)
        asked[name] += 1
        order.ended(record(number, name, values[name], 2.0))
        order.ended(record(number, name, 1.0, 2.0))  # told twice
    assert asked["good"] > 2 * asked["bad"] > 0
    for number in range(100, 100 + 4 * PATIENCE):  # never better again
        order.ended(record(number, "good", 0.6, 2.0))
    assert order.next(asked, None) == "bad"


def test_what_is_not_timed_yet_does_not_hold_a_portfolio_up() -> None:
    order = TrialOrder(["ready", "later"], "uar", portfolio=True)
    assert order.next({}, None) is NoTrial.LATER
    order.add("ready", gains=[50.0])
    assert order.next({}, None) == "ready"
    assert order.next({"ready": 9}, None) == "ready"
