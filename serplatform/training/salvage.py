"""Finds damage in the saved state of an unfinished trial, and makes the rest of it usable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serplatform.artifacts import file_sha256, read_json, read_parquet, remove_own, write_json
from serplatform.errors import ArtifactError
from serplatform.run_directory import STATE_FILES

PROGRESS_FILE = "progress.json"
_KEYS = (
    "schema_version",
    "architecture",
    "values",
    "seed",
    "fold",
    "trainer_state",
    "history",
    "fold_dev",
    "seconds",
    "num_parameters",
    "peak_memory_mb",
)


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
        progress = _read_progress(state)
        for fold in range(int(progress["fold"])):
            table = read_parquet(state / f"fold-{fold}.parquet", "posteriors of a fold")
            table.validate(full=True)
    except (ArtifactError, TypeError, ValueError) as error:
        remove_own(state, STATE_FILES)
        return f"{error}: the trial begins again"
    if progress["trainer_state"] is None:
        return None
    try:
        _check_trainer(state / Path(str(progress["trainer_state"])).name)
    except (ArtifactError, OSError) as error:
        fold = int(progress["fold"])
        history = [entry for entry in progress["history"] if entry["fold"] < fold]
        progress.update(
            trainer_state=None, history=history, seconds=sum(entry["seconds"] for entry in history)
        )
        write_json(state / PROGRESS_FILE, progress, checksum=True)
        return f"{error}: the trial goes on from the beginning of fold {fold}"
    return None


def _read_progress(state: Path) -> dict[str, Any]:
    path = state / PROGRESS_FILE
    progress = read_json(path, "trial state")
    lacking = [key for key in _KEYS if not isinstance(progress, dict) or key not in progress]
    if lacking:
        raise ArtifactError(f"{path}: the trial state lacks {', '.join(lacking)}")
    return dict(progress)


def _check_trainer(directory: Path) -> None:
    """Compare a training state with its checksums.

    Raises:
        ArtifactError: a file is missing or damaged.
        OSError: it cannot be read.
    """
    path = directory / "state.json"
    description = read_json(path, "training state")
    try:
        tensors = description["tensors"]
        file, expected = directory / Path(tensors["file"]).name, tensors["sha256"]
    except (KeyError, TypeError):
        raise ArtifactError(f"{path}: the training state is incomplete") from None
    if not file.exists() or file_sha256(file) != expected:
        raise ArtifactError(f"{file}: the training state is missing, truncated or altered")
