"""How a trial's task travels to the process that trains it, and its reports back."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from serplatform.errors import SerplatformError
from serplatform.plugins import PluginError, unpack
from serplatform.storage.remote import RemoteError

if TYPE_CHECKING:
    from serplatform.training.trial import TrialReport, TrialTask, TrialTraining

CONFIG_KEY = "task"

#: errors of a storage on which nothing more can be written, whatever is tried
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


class TrialResult(TypedDict, total=False):
    """What a worker hands to Tune: a report, or why there will be none.

    ``report``: a :class:`TrialReport` as JSON, which Tune leaves whole. ``failure``: settings or
    numbers are wrong, and training again would repeat it. ``error``: a group of workers raised or
    died once too often. ``stop``: nothing more can be written, for any trial.
    """

    done: bool
    objective: float
    host: str
    report: str
    failure: str
    error: str
    stop: str


def encode_config(
    task: TrialTask, *, threads: int, plugins: Sequence[str] = ()
) -> dict[str, object]:
    """Pack a task for Tune as text, which it passes on untouched."""
    packed = {"task": dataclasses.asdict(task), "threads": threads, "plugins": list(plugins)}
    return {CONFIG_KEY: json.dumps(packed)}


def start_trial(packed: str, *, distributed: bool = False, rank: int = 0) -> TrialTraining:
    """Set a worker process up for training and open its trial."""
    unpacked = json.loads(packed)
    unpack(unpacked["plugins"])

    from serplatform.models.kernels.memory import keep_freed_memory

    keep_freed_memory()

    import torch

    torch.set_num_threads(unpacked["threads"])

    from serplatform.training.trial import TrialTask, TrialTraining

    return TrialTraining(TrialTask(**unpacked["task"]), distributed=distributed, rank=rank)


def encode_report(report: TrialReport) -> TrialResult:
    """A trial's report as a Tune result."""
    return {
        "objective": report.objective,
        "host": os.uname().nodename,
        "report": json.dumps(dataclasses.asdict(report)),
    }


def decode_report(result: TrialResult) -> TrialReport | None:
    """The report in a Tune result; None where it holds none."""
    from serplatform.training.trial import TrialReport

    return TrialReport(**json.loads(result["report"])) if "report" in result else None


def failure_result(error: SerplatformError | OSError) -> TrialResult | None:
    """The result of a trial that cannot continue; None where a second attempt may help."""
    result: TrialResult = {"done": True, "objective": float("nan")}
    if isinstance(error, (RemoteError, PluginError)):  # every other trial would meet it too
        return {**result, "stop": str(error)}
    if isinstance(error, SerplatformError):
        return {**result, "failure": str(error)}
    stop = storage_message(error)
    return None if stop is None else {**result, "stop": stop}


def storage_message(error: OSError) -> str | None:
    """What is wrong with the storage, and where; None where something else is wrong."""
    if error.errno not in _STORAGE_ERRORS:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
