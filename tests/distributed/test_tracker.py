"""What the driver of a search answers when it is asked for a trial."""

from __future__ import annotations

import time
from pathlib import Path
from unittest import mock

import pytest

from serplatform.distributed.tune.placement import Placement, SearchLimits, SearchPlan
from serplatform.distributed.tune.tracker import TrialTracker
from serplatform.run_directory import RunDirectory
from serplatform.studies.order import NoTrial


@pytest.mark.parametrize("end", ["time", "interrupt"])
def test_there_is_no_trial_later_where_the_search_is_over(tmp_path: Path, end: str) -> None:
    """Tune asks again and again where no trial runs, and does not ask whether it may stop."""
    studies = mock.Mock(num_asked=0, num_in_flight=0)
    studies.ask.return_value = NoTrial.LATER  # sizes are still to be decided
    limits = SearchLimits(seconds=60.0)
    tracker = TrialTracker(
        RunDirectory(tmp_path),
        studies,
        SearchPlan(dataset="", seed=0, objective="uar", limits=limits),
        Placement(concurrent=1, threads=1, gpus=0.0, workers=1),
        mock.Mock(),
    )
    assert tracker.next_config("a") is NoTrial.LATER
    if end == "time":
        tracker._deadline = time.monotonic()
    else:
        tracker.interrupted.set()
    assert tracker.next_config("b") is NoTrial.NEVER
