"""Connect to Ray: a cluster that runs already, or one of this machine's own."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from serplatform.distributed import local_ray, ray_internals
from serplatform.distributed.head_watch import DRIVER_ENVIRONMENT
from serplatform.errors import BadInputError
from serplatform.plugins import NO_ENTRY_POINTS

#: Environment of every process of ours on the cluster. Ray Train looks at its workers' reports
#: at this interval (2 s by default, which is one report every 2 s at most).
WORKER_ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"}


#: what is to be undone when this process leaves its cluster
_while_connected = contextlib.ExitStack()


def connect(address: str | None = None, num_cpus: int | None = None) -> None:
    """Start or join a Ray cluster; nothing happens when this process is connected already.

    Args:
        address: of a running cluster; None starts one on this machine, unless ``RAY_ADDRESS``
            names one.
        num_cpus: CPUs that a cluster started here offers; None means all of them.

    Raises:
        BadInputError: no cluster can be reached there.
        SerplatformError: none can be started on this machine.
    """
    culprit = _culprit(address)
    address = address or os.environ.get("RAY_ADDRESS") or None  # Ray would follow it by itself
    if address == "local":
        address = None
    for name, value in {
        **WORKER_ENVIRONMENT,
        **({} if address is None else DRIVER_ENVIRONMENT),
    }.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        if address is not None and address != "auto":
            _check_reachable(address, culprit)
        return
    if address is None:
        local_ray.start(num_cpus)
    else:
        _join(address, culprit)
    log = logging.getLogger(__name__).info
    _while_connected.enter_context(ray_internals.printed_lines_to(lambda line: log("%s", line)))


def disconnect() -> None:
    """Leave the cluster that :func:`connect` joined, or end the one that it started."""
    local_ray.end_started()
    _while_connected.close()


def _culprit(address: str | None) -> str:
    """What the user gave that names the cluster, as they know it."""
    if address is None:
        return f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS')}"
    from_variable = os.environ.get("SERPLATFORM_ADDRESS") == address and not any(
        word.partition("=")[0] == "--address" for word in sys.argv
    )
    return f"SERPLATFORM_ADDRESS={address}" if from_variable else f"--address {address}"


def _join(address: str, culprit: str) -> None:
    """Join a cluster that runs."""
    import ray

    inherited = {name: os.environ[name] for name in (NO_ENTRY_POINTS,) if name in os.environ}
    where = address
    if address == "auto":  # to Ray, RAY_ADDRESS says where that is
        where = os.environ.get("RAY_ADDRESS", "auto")
        if where in ("", "auto"):
            where = _cluster_of_this_machine() or ""
        if not where:
            raise BadInputError(f"{culprit}: no Ray cluster runs on this machine; {_REMEDY}")
        os.environ["RAY_ADDRESS"] = where
        culprit += f", that is {where}"
    _check_reachable(where, culprit)
    try:
        with (
            local_ray.said_when_slow(f"Joining the Ray cluster {address}"),
            ray_internals.impatient_join(),
        ):
            ray.init(
                address=address,
                runtime_env={"env_vars": {**WORKER_ENVIRONMENT, **inherited}},
                namespace="serplatform",
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInputError(
            f"{culprit}: no Ray cluster can be reached there ({reason}); {_REMEDY}"
        ) from None


def _cluster_of_this_machine() -> str | None:
    """Address of the cluster that ``ray start`` noted here, or of one that runs here; never that
    of the Ray that another command of ours has for itself."""
    import psutil

    running = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or [""]
        options = dict(word.lstrip("-").split("=", 1) for word in words if "=" in word)
        if Path(words[0]).name == "raylet" and not local_ray.is_own(options.get("temp_dir", "")):
            running.append(options.get("gcs-address", ""))
    noted = ray_internals.noted_address()
    return noted if noted in running or not running else running[0]


_REMEDY = (
    "give HOST:PORT of its head, `auto` on a machine of the cluster, or leave it out (unset the "
    "variable) for a Ray of this machine's own"
)


def _check_reachable(address: str, culprit: str) -> None:
    """Refuse at once what Ray would try to reach for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon:
        return  # `auto`, `local`: Ray knows at once
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
            return
    except (OSError, ValueError, OverflowError) as error:
        raise BadInputError(
            f"{culprit}: no Ray cluster answers there ({error}); {_REMEDY}"
        ) from None


#: Where a cluster started by ``ray up`` keeps its own description, on the head node.
BOOTSTRAP_CONFIG = Path("~/ray_bootstrap_config.yaml")

#: Environment variable that says what a cluster may grow to where Ray keeps no such description
#: (KubeRay's): ``CPU=64,GPU=8``.
MAX_RESOURCES = "SERPLATFORM_MAX_RESOURCES"


#: Stands for the nodes that a cluster is yet to start, among its resources.
TO_COME = "node:to-come"


def largest_resources(
    present: Mapping[str, float], bootstrap: Path = BOOTSTRAP_CONFIG
) -> dict[str, float]:
    """What the cluster offers now (``present``), or may grow to where it scales by itself.

    :data:`TO_COME` is among the resources where it may grow.

    Raises:
        BadInputError: :data:`MAX_RESOURCES` is set to something else than resources.
    """
    grown: dict[str, float] = {}
    if text := os.environ.get(MAX_RESOURCES):
        try:
            for part in text.split(","):
                name, amount = part.split("=")
                grown[name.strip()] = float(amount)
        except ValueError:
            raise BadInputError(
                f"{MAX_RESOURCES}={text}: not resources; write, for example, CPU=64,GPU=8"
            ) from None
    else:
        for node in nodes_to_come(bootstrap):
            for name, number in node.items():
                grown[name] = grown.get(name, 0.0) + number
    larger = {
        name: max(present.get(name, 0.0), grown.get(name, 0.0)) for name in {*present, *grown}
    }
    return larger | ({TO_COME: 1.0} if larger != dict(present) else {})


def nodes_to_come(bootstrap: Path = BOOTSTRAP_CONFIG) -> list[dict[str, float]]:
    """Resources of each node that a cluster started by ``ray up`` may have; none without one."""
    try:
        description = yaml.safe_load(bootstrap.expanduser().read_text(encoding="utf-8"))
        types = description["available_node_types"]
        head = description["head_node_type"]
        left = int(description["max_workers"])
        nodes = []
        for name, kind in types.items():
            count = 1 if name == head else min(left, int(kind.get("max_workers", left)))
            left -= 0 if name == head else count
            amounts = (kind.get("resources") or {}).items()
            nodes += count * [{resource: float(amount) for resource, amount in amounts}]
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        return []  # not such a description
    return nodes


def node_sizes() -> list[dict[str, float]]:
    """Resources of each node that runs or may be started; Ray must be connected.

    Empty where the nodes that may be started are known by their sum alone.
    """
    if os.environ.get(MAX_RESOURCES):
        return []
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]] + nodes_to_come()
