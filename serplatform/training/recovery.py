"""Damage in the saved state of an unfinished trial: found, and the rest made usable."""

from __future__ import annotations

from pathlib import Path

from serplatform.artifacts.files import read_parquet, remove_own, write_json
from serplatform.artifacts.layout import STATE_FILES
from serplatform.artifacts.records import read_record
from serplatform.artifacts.trial import TrialProgress
from serplatform.errors import ArtifactError
from serplatform.training.checkpoint import read_state

PROGRESS_FILE = "progress.json"


def repair_state(state: Path) -> str | None:
    """Check a trial's state directory; what is damaged is removed, and what needs it.

    A damaged model in training costs the fold in progress; anything else costs the trial's
    training so far.

    Returns:
        what was damaged and where the trial resumes, or None where nothing is.
    """
    if not (state / PROGRESS_FILE).exists():
        return None
    try:
        progress = read_progress(state)
        for fold in range(progress["fold"]):
            read_parquet(state / f"fold-{fold}.parquet", "posteriors of a fold")
    except ArtifactError as error:
        remove_own(state, STATE_FILES)
        return f"{error}: the trial begins again"
    if progress["trainer_state"] is None:
        return None
    try:
        read_state(state / progress["trainer_state"])
    except ArtifactError as error:
        fold = progress["fold"]
        history = [entry for entry in progress["history"] if entry["fold"] < fold]
        seconds = sum(entry.get("seconds", 0.0) for entry in history)
        kept = {**progress, "trainer_state": None, "history": history, "seconds": seconds}
        write_json(state / PROGRESS_FILE, kept, checksum=True)
        return f"{error}: the trial resumes at the beginning of fold {fold}"
    return None


def read_progress(state: Path) -> TrialProgress:
    """The content of a state directory's ``progress.json``."""
    return read_record(TrialProgress, state / PROGRESS_FILE, "trial state", "train the trial again")
