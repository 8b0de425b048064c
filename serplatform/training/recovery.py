"""Finds damage in the saved state of an unfinished trial, and makes the rest of it usable."""

from __future__ import annotations

from pathlib import Path

from serplatform.artifacts.files import file_sha256, read_parquet, remove_own, write_json
from serplatform.artifacts.layout import STATE_FILES
from serplatform.artifacts.records import read_record
from serplatform.artifacts.trial import TrainingState, TrialProgress
from serplatform.errors import ArtifactError

PROGRESS_FILE = "progress.json"


def mend_state(state: Path) -> str | None:
    """Check a trial's state directory; what is damaged is removed, and what needs it.

    A damaged model in training costs the fold in progress; anything else costs the trial's
    training so far.

    Returns:
        what was damaged and where the trial goes on, or None where all is well.
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
        _check_trainer(state / progress["trainer_state"])
    except (ArtifactError, OSError) as error:
        fold = progress["fold"]
        history = [entry for entry in progress["history"] if entry["fold"] < fold]
        seconds = sum(entry.get("seconds", 0.0) for entry in history)
        kept = {**progress, "trainer_state": None, "history": history, "seconds": seconds}
        write_json(state / PROGRESS_FILE, kept, checksum=True)
        return f"{error}: the trial goes on from the beginning of fold {fold}"
    return None


def read_progress(state: Path) -> TrialProgress:
    """The content of a state directory's ``progress.json``.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    return read_record(TrialProgress, state / PROGRESS_FILE, "trial state", "train the trial again")


def _check_trainer(directory: Path) -> None:
    """Compare a training state with its checksums.

    Raises:
        ArtifactError: a file is missing or damaged.
        OSError: it cannot be read.
    """
    path = directory / "state.json"
    tensors = read_record(TrainingState, path, "training state", "train again")["tensors"]
    file, expected = directory / tensors["file"], tensors["sha256"]
    if not file.exists() or file_sha256(file) != expected:
        raise ArtifactError(f"{file}: the training state is missing, truncated or altered")
