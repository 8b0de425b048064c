"""Gives a trial that ran out of memory more room when it is tried again.

Shares of a GPU or of a machine's cores divide time, not memory: what keeps the memory of a trial
free is that fewer others run beside it. So it asks for twice what it had, up to one GPU, or to
all the cores of the largest node.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_MEMORY = re.compile(
    r"memory ran low|out ?of ?memory|OutOfMemoryError|MemoryError|allocate memory", re.IGNORECASE
)


def make_room(trial: Any, reason: str) -> None:
    """Let a Tune trial that waits to be tried again ask for more, if memory was its trouble."""
    if not _MEMORY.search(reason) or trial.placement_group_factory is None:
        return
    import ray
    from ray import tune

    bundles = trial.placement_group_factory.bundles
    wider = widened(bundles, [node.get("Resources", {}) for node in ray.nodes() if node["Alive"]])
    if wider != bundles:
        trial.update_resources(tune.PlacementGroupFactory(wider))


def widened(
    bundles: Sequence[Mapping[str, float]], nodes: Sequence[Mapping[str, float]]
) -> list[dict[str, float]]:
    """What a trial of one process asks for next; bundles of worker groups stay as they are.

    Args:
        bundles: resources of each of its processes.
        nodes: resources of each node.

    Example:
        >>> widened([{"CPU": 4.0, "GPU": 0.25}], [{"CPU": 16.0, "GPU": 1.0}])
        [{'CPU': 4.0, 'GPU': 0.5}]
        >>> widened([{"CPU": 3.0}], [{"CPU": 4.0}])
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
