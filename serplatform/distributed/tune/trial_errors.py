"""Why an attempt at a trial failed, in one line, and more memory for the next attempt if it lacked.

Shares of a GPU or of a machine's cores divide time, not memory: what keeps the memory of a trial
free is that fewer others run at the same time. So a trial that ran out of memory asks for twice
what it had, up to one GPU, or to all the cores of the largest node.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

#: what libraries say in a RuntimeError when they get no memory
_NO_MEMORY = re.compile(r"out of memory|allocate memory|not enough memory", re.IGNORECASE)


def root_error(error: BaseException) -> BaseException:
    """The error that Ray has wrapped: of the task, or of the first worker of a group."""
    while True:
        inner = next(iter((getattr(error, "worker_failures", None) or {}).values()), None)
        inner = inner or getattr(error, "cause", None)
        if not isinstance(inner, BaseException):
            return error
        error = inner


def describe_error(error: BaseException | None) -> str:
    """One line on what happened.

    Example:
        >>> describe_error(ValueError("no such thing"))
        'ValueError: no such thing'
    """
    from ray.exceptions import RayActorError, WorkerCrashedError

    if error is None:
        return "no reason was given"
    error = root_error(error)
    text = str(error)
    if _killed_for_memory(error):
        return "the process that trained it was ended because memory ran low"
    died = isinstance(error, (RayActorError, WorkerCrashedError))
    if died and not getattr(error, "actor_init_failed", False):
        detail = text.rpartition("Worker exit detail:")[2].strip().partition("\n")[0]
        return f"the process that trained it died: {detail[:200]}"
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1].strip()


def lacked_memory(error: BaseException | None) -> bool:
    """Whether more memory may help where this happened."""
    if error is None:
        return False
    error = root_error(error)
    return (
        isinstance(error, MemoryError)
        or _killed_for_memory(error)
        or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None)
    )


def _killed_for_memory(error: BaseException) -> bool:
    from ray.exceptions import OutOfMemoryError, RayError

    return isinstance(error, OutOfMemoryError) or (
        isinstance(error, RayError) and "low on memory" in str(error)
    )


def request_more_memory(trial: Any) -> None:
    """Let a Tune trial that waits to be tried again ask for a larger share."""
    if trial.placement_group_factory is None:
        return
    import ray
    from ray import tune

    bundles = trial.placement_group_factory.bundles
    nodes = [node.get("Resources", {}) for node in ray.nodes() if node["Alive"]]
    larger = larger_request(bundles, nodes)
    if larger != bundles:
        trial.update_resources(tune.PlacementGroupFactory(larger))


def larger_request(
    bundles: Sequence[Mapping[str, float]], nodes: Sequence[Mapping[str, float]]
) -> list[dict[str, float]]:
    """What a trial of one process asks for next, on these nodes; worker groups' stay as they are.

    Example:
        >>> larger_request([{"CPU": 4.0, "GPU": 0.25}], [{"CPU": 16.0, "GPU": 1.0}])
        [{'CPU': 4.0, 'GPU': 0.5}]
        >>> larger_request([{"CPU": 3.0}], [{"CPU": 4.0}])
        [{'CPU': 4.0}]
    """
    have = [dict(bundle) for bundle in bundles]
    if len(have) != 1 or "CPU" not in have[0]:
        return have
    (asked,) = have
    name = "GPU" if asked.get("GPU") else "CPU"
    most = 1.0 if name == "GPU" else max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    asked[name] = max(asked[name], min(2 * asked[name], most))
    return have
