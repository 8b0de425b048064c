"""A search that trackers are told of, played from records: nothing is trained."""

from __future__ import annotations

from pathlib import Path

from serplatform.artifacts.files import SCHEMA_VERSION, write_json
from serplatform.artifacts.trial import TrialRecord
from serplatform.run_directory import RunDirectory
from serplatform.studies.study import Suggestion
from serplatform.tracking.base import TrackedRun
from serplatform.tracking.watch import SearchWatch
from serplatform.training.recovery import PROGRESS_FILE
from serplatform.training.trial import TrialReport
from tests.support.synthetic_run import make_run


class Silent:
    """An observer that shows nothing."""

    def trial_started(self, suggestion: object) -> None: ...
    def trial_progressed(self, suggestion: object, report: object) -> None: ...
    def trial_retried(self, suggestion: object, error: str) -> None: ...
    def trial_ended(self, record: object) -> None: ...


def planned_run(path: Path) -> tuple[TrackedRun, list[TrialRecord]]:
    """A run of which no trial has begun, and how its trials will end: complete, pruned, failed."""
    directory = RunDirectory(make_run(path, num_trials=2))
    records = directory.records()
    for file in directory.record_files():
        file.unlink()
    assert {r["state"] for r in records.values()} == {"complete", "pruned", "failed"}
    return TrackedRun(directory, directory.read_run()), list(records.values())


def watch(run: TrackedRun, **trackers: str) -> SearchWatch:
    """What a process that begins or resumes the search makes."""
    found = SearchWatch(run, trackers)
    found.observer = Silent()
    return found


def play(
    told: SearchWatch,
    record: TrialRecord,
    *,
    first: int = 0,
    last: int | None = None,
    run: TrackedRun | None = None,
    resumed: bool = False,
) -> None:
    """Tell of a trial's epochs ``first`` to ``last`` (excluded); without ``last``, of its end.

    With ``run`` its record is written, as a search does before it tells.
    """
    suggestion = Suggestion(
        number=record["trial"],
        architecture=record["architecture"],
        values=record["params"],
        paper=record.get("paper", False),
        resumed=resumed,
    )
    told.trial_started(suggestion)
    for step, entry in enumerate(record["history"][first:last], first + 1):
        report = TrialReport(
            step=step, objective=0.0, epoch=entry["epoch"], max_epochs=9, fold=entry["fold"],
            num_folds=3, done=False, history=entry,
        )  # fmt: skip
        told.trial_progressed(suggestion, report)
    if last is None:
        if run is not None:
            run.directory.write_record(record)
        told.trial_ended(record)


def save_state(run: TrackedRun, record: TrialRecord, epochs: int) -> None:
    """What a killed trial has saved of itself."""
    progress = {
        "schema_version": SCHEMA_VERSION,
        "trial": record["trial"],
        "architecture": record["architecture"],
        "values": record["params"],
        "seed": 0,
        "fold": 0,
        "trainer_state": None,
        "history": record["history"][:epochs],
        "fold_dev": [],
        "seconds": 1.0,
        "num_parameters": 1,
        "peak_memory_mb": 1.0,
    }
    state = run.directory.state_directory(record["trial"])
    write_json(state / PROGRESS_FILE, progress, checksum=True)
