"""The result of a search in words."""

from __future__ import annotations

from serplatform.api.execute import SearchSummary
from serplatform.cli.search import describe


def summary_of(low: float | None, high: float | None) -> SearchSummary:
    found = {
        "uar": {"value": 0.5, "low": low, "high": high},
        "accuracy": {"value": 0.625, "low": low, "high": high},
    }
    return SearchSummary(
        run="run",
        status="complete",
        trials={"complete": 2, "pruned": 1, "failed": 0},
        best_trial={"trial": 1, "architecture": "csa", "dev_uar": 0.75, "params": {}},
        ensemble={"pooled": {"ensemble": found, "best_single": found}},
        report="run/report.html",
        seconds=61.0,
    )


def test_the_interval_stands_behind_the_pooled_value() -> None:
    lines = describe(summary_of(0.25, 0.75)).splitlines()
    assert lines[1] == "Best trial by mean dev: trial 1 (csa), dev uar 0.7500"
    assert lines[2].endswith("each fold's choice by its own dev rows:")
    assert lines[3] == (
        "  ensemble     test UAR 0.500 (95 % interval 0.250 to 0.750), accuracy 0.625"
    )


def test_one_speaker_has_values_without_an_interval() -> None:
    lines = describe(summary_of(None, None)).splitlines()
    assert lines[3:5] == [
        "  ensemble     test UAR 0.500, accuracy 0.625",
        "  best single  test UAR 0.500, accuracy 0.625",
    ]
