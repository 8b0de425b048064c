"""Has every node publish what it could not publish when it was made."""

from __future__ import annotations

from serplatform.errors import SerplatformError
from serplatform.run_directory import RunDirectory
from serplatform.storage.mirror import not_published
from serplatform.storage.remote import RemoteError


def publish_everywhere(run: RunDirectory) -> None:
    """Publish the finished trials of a run on object storage that lie on one node alone.

    Then bring all records here. Ray must be connected; nothing is done for a local run.

    Raises:
        SerplatformError: a node cannot publish; the message says which, and where the work lies.
    """
    if not run.mirror.is_remote:
        return
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["NodeID"] != here]
    if not nodes:
        return
    publish = ray.remote(num_cpus=0, max_retries=0)(_publish_here)
    answers = [
        publish.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        ).remote(run.address)
        for node in nodes
    ]
    faults = []
    for answer in answers:
        try:
            faults.append(ray.get(answer))
        except ray.exceptions.RayError:  # the node is gone, and its trials are not recorded
            continue
    if found := [fault for fault in faults if fault is not None]:
        raise SerplatformError("\n".join(found))
    try:
        run.mirror.pull("trials")
    except RemoteError as error:
        raise not_published(run.mirror, error) from error


def _publish_here(address: str) -> str | None:
    """Publish finished trials of this node's working copy; the fault if that is not possible."""
    mirror = RunDirectory(address).mirror
    if not mirror.is_remote:
        return None
    try:
        for number in mirror.finished_here():
            mirror.push_trial(number)
    except RemoteError as error:
        return str(not_published(mirror, error))
    return None
