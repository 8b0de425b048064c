"""What a search asks of the cluster, and how its trials are laid on it."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence

from serplatform.errors import BadInputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchLimits:
    """How far to go and on how much.

    Attributes:
        trials: over the life of the run, finished ones included; None: as time allows.
        seconds: wall-clock time of this process from ``begun`` on, or None.
        begun: ``time.monotonic()`` when the call was made.
        workers: processes that train one trial together.
        gpus_per_trial: of each worker; None: 1 where there are GPUs.
        concurrent: trials at a time; None: as many as fit.
        retries: times a trial that raised is tried again from its last saved epoch.
        trial_timeout: seconds an epoch may take before its process is taken to hang; 0: any;
            None: by the slowest epoch so far, see ``hang_watchdog.HangWatchdog``.
        address: of a running Ray cluster; None: this machine.
        num_cpus: of a local Ray; None: all cores.
    """

    trials: int | None = None
    seconds: float | None = None
    begun: float = dataclasses.field(default_factory=time.monotonic)
    workers: int = 1
    gpus_per_trial: float | None = None
    concurrent: int | None = None
    retries: int = 1
    trial_timeout: float | None = None
    address: str | None = None
    num_cpus: int | None = None

    def elapsed(self) -> float:
        """Seconds since the call was made."""
        return round(time.monotonic() - self.begun, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What :func:`~serplatform.distributed.tune.tuner.run_trials` needs to know of a run: its
    dataset's directory, its seed, the dev metric reported while training, the plugins that each
    worker loads first (see ``plugins.unpack``), what records the time spent, now and then, and
    whether test rows stay sealed."""

    dataset: str
    seed: int
    objective: str
    limits: SearchLimits
    plugins: tuple[str, ...] = ()
    record_time: Callable[[], object] = lambda: None
    sealed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """How trials are laid on the cluster: so many at a time, each of so many worker processes, and
    the torch threads and GPUs of each process."""

    concurrent: int
    threads: int
    gpus: float
    workers: int

    @property
    def device(self) -> str:
        """What a trial is trained on."""
        return "cuda" if self.gpus else "cpu"


def check_machine(limits: SearchLimits) -> None:
    """See that a trial fits this machine, where it is to train: Ray need not start to say so.

    Raises:
        BadInputError: it does not.
    """
    if limits.address is None and "RAY_ADDRESS" not in os.environ:
        most = {"CPU": float(limits.num_cpus or os.cpu_count() or 1), "GPU": 1e6}
        plan_placement(most, limits)


def plan_placement(
    resources: Mapping[str, float],
    limits: SearchLimits,
    nodes: Sequence[Mapping[str, float]] = (),
) -> Placement:
    """Check before anything starts that a whole trial fits the cluster.

    Args:
        resources: the cluster's total resources, as Ray counts them.
        limits: what is asked for.
        nodes: resources of each node; without them only the sums are looked at.

    Raises:
        BadInputError: a trial does not fit; it would wait for ever.
    """
    total_gpus = resources.get("GPU", 0.0)
    gpus = limits.gpus_per_trial
    if gpus is None:
        gpus = 1.0 if total_gpus >= 1 else 0.0
    if gpus > 1 and gpus != int(gpus):
        raise BadInputError(f"--gpus-per-trial {gpus}: above 1 it must be a whole number")
    if limits.workers > 1 and 0 < gpus < 1:
        raise BadInputError(
            f"--gpus-per-trial {gpus} with --workers {limits.workers}: two workers of one trial "
            "cannot share a GPU (NCCL refuses it); give 1, or --workers 1"
        )
    needed = {"CPU": float(limits.workers), "GPU": limits.workers * gpus}
    lacking = [
        f"{needed[name]:g} {name} of {resources.get(name, 0.0):g}"
        for name in needed
        if needed[name] > resources.get(name, 0.0)
    ]
    if lacking:
        raise BadInputError(
            f"one trial of {limits.workers} worker(s) needs more than the cluster has "
            f"({'; '.join(lacking)}): it would wait for ever. Lower --workers or "
            "--gpus-per-trial, or add nodes"
        )
    places = sum(_places(node, gpus) for node in nodes)
    if nodes and places < limits.workers:
        largest = max(node.get("GPU", 0.0) for node in nodes)
        raise BadInputError(
            f"one trial of {limits.workers} worker(s), each with 1 CPU and {gpus:g} GPU on one node"
            f", finds room for {places} only on {len(nodes)} node(s), the largest of which has "
            f"{largest:g} GPU: it would wait for ever. Lower --workers or --gpus-per-trial, or add "
            "nodes"
        )
    fits = _places(resources, gpus) // limits.workers
    most = (fits, limits.concurrent or fits, fits if limits.trials is None else limits.trials)
    concurrent = max(1, min(most))
    threads = 1
    if sum(name.startswith("node:") and "__" not in name for name in resources) <= 1:
        # one machine: each node has one resource `node:<address>`
        threads = max(1, int(resources.get("CPU", 0.0) // (concurrent * limits.workers)))
    return Placement(concurrent=concurrent, threads=threads, gpus=gpus, workers=limits.workers)


def _places(resources: Mapping[str, float], gpus: float) -> int:
    """Workers of 1 CPU and so many GPUs that these resources hold at a time."""
    cpus, have = int(resources.get("CPU", 0.0)), resources.get("GPU", 0.0)
    if not gpus:
        return cpus
    if gpus < 1:
        return min(cpus, int(have) * math.floor(1 / gpus + 1e-9))
    return min(cpus, int(have // gpus))
