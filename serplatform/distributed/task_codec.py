"""How a trial's task travels to the process that trains it, and its reports back."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from serplatform.distributed.worker_start import start_worker
from serplatform.errors import SerplatformError
from serplatform.storage.remote import RemoteError

CONFIG_KEY = "task"

_STORAGE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def encode_config(
    task: dict[str, Any], *, threads: int, plugins: Sequence[str] = ()
) -> dict[str, Any]:
    """Pack a task for Tune as text, which it passes on untouched."""
    return {CONFIG_KEY: json.dumps({"task": task, "threads": threads, "plugins": list(plugins)})}


def start_trial(packed: str, *, distributed: bool = False, rank: int = 0) -> Any:
    """Set a worker process up for training and open its trial."""
    unpacked = json.loads(packed)
    start_worker(unpacked["plugins"])

    from serplatform.training.allocator import keep_freed_memory

    keep_freed_memory()

    import torch

    torch.set_num_threads(unpacked["threads"])

    from serplatform.training.trial import Trial, TrialTask

    return Trial(TrialTask(**unpacked["task"]), distributed=distributed, rank=rank)


def report_to_result(report: Any) -> dict[str, Any]:
    """A trial's report as a Tune result; the history travels as text, which Tune leaves whole."""
    result = dataclasses.asdict(report)
    result["epoch_step"] = result.pop("step")
    result["finished"] = result.pop("done")
    result["history"] = json.dumps(result["history"])
    result["host"] = os.uname().nodename
    result["record"] = json.dumps(result["record"])
    return result


def failure_result(error: SerplatformError | OSError) -> dict[str, Any] | None:
    """The result of a trial that cannot go on, or None where a second attempt may help.

    Settings or numbers at fault end the trial (``failure``); a full or read-only disk would
    end every other one as well, and ends the search (``stop``).
    """
    result = {"done": True, "objective": float("nan"), "epoch_step": 0}
    if isinstance(error, RemoteError):
        return {**result, "stop": str(error)}
    if isinstance(error, SerplatformError):
        return {**result, "failure": str(error)}
    if storage_fault(error):
        return {**result, "stop": storage_message(error)}
    return None


def storage_fault(error: OSError) -> bool:
    """Whether nothing more can be written, whatever is tried."""
    return error.errno in _STORAGE_FAULTS


def storage_message(error: OSError) -> str:
    """What is wrong with the storage, and where."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def history_entry(result: Mapping[str, Any]) -> dict[str, Any]:
    """The history entry of a Tune result."""
    entry: dict[str, Any] = json.loads(result["history"])
    return entry
