"""A trial of several workers: a Ray Train worker group (DDP) inside a Ray Tune function.

The workers run the same loop as a one-worker trial; only rank 0 writes files.

When Tune stops such a trial it kills the function, and with it the controller that would have
given the group's resources back. Ray leaves that to a detached actor that asks the dashboard
whether the controller lives; where no dashboard runs, it never gets an answer, and the next
trial waits for ever (ray-project/ray issues 54305, 47440, 65443). So the group's id is written
down when it starts, and :func:`free_groups` removes it when the trial has left Tune.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

from serplatform.distributed.task_codec import (
    CONFIG_KEY,
    failure_result,
    report_to_result,
    start_trial,
)
from serplatform.errors import SerplatformError

#: seconds that the controller of a stopped trial's worker group is given to die
CONTROLLER_GRACE = 30.0


def train_worker(config: dict[str, Any]) -> None:
    """The training function of one Ray Train worker."""
    import ray.train

    rank = ray.train.get_context().get_world_rank()
    try:
        trial = start_trial(config[CONFIG_KEY], distributed=True, rank=rank)
        while not trial.finished:
            ray.train.report(report_to_result(trial.step()))
    except (SerplatformError, OSError) as error:
        # settings and numbers are the same on every rank, and so is a fault in them
        failure = failure_result(error)
        if failure is None:
            raise
        ray.train.report(failure)


def train_driver(config: dict[str, Any]) -> None:
    """The Tune function of one trial: starts a worker group and forwards its reports."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    gpus = float(config["gpus_per_worker"])
    resources: dict[str, float] = {"CPU": 1.0}
    if gpus:
        resources["GPU"] = gpus
    _forgo_cleaner()
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=config,
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config["workers"],
            use_gpu=bool(gpus),
            resources_per_worker=resources,
            placement_strategy="PACK",
        ),
        run_config=RunConfig(
            storage_path=config["scratch"],
            callbacks=[TuneReportCallback(), _group_recorder(Path(config["groups"]))],
            failure_config=FailureConfig(max_failures=config["retries"]),
        ),
    )
    trainer.fit()


def _group_recorder(directory: Path) -> Any:
    """A Ray Train callback that writes down the placement group of each worker group."""
    import ray
    from ray.train.v2._internal.execution.callback import WorkerGroupCallback

    class GroupRecorder(WorkerGroupCallback):
        def after_worker_group_start(self, worker_group: Any) -> None:
            state = worker_group.get_worker_group_state()
            group = state.placement_group_handle.placement_group
            directory.mkdir(parents=True, exist_ok=True)
            controller = str(ray.get_runtime_context().get_actor_id())
            (directory / group.id.hex()).write_text(controller, encoding="ascii")

    return GroupRecorder()


def _forgo_cleaner() -> None:
    """Do without Ray's detached cleaner: one process a trial that outlives it for nothing."""
    import ray.train.v2.api.data_parallel_trainer as api
    from ray.train.v2._internal.execution.callback import WorkerGroupCallback

    if hasattr(api, "PlacementGroupCleanerCallback"):
        api.PlacementGroupCleanerCallback = WorkerGroupCallback


def free_groups(directory: Path) -> threading.Thread:
    """Remove the placement groups that were written down in ``directory``, in a thread.

    A group is removed once its controller is dead: a living one would take the loss of its
    workers for a failure, and start another group that nobody knows of.
    """
    thread = threading.Thread(target=_free_groups, args=(directory,), daemon=True)
    thread.start()
    return thread


def _free_groups(directory: Path) -> None:
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    deadline = time.monotonic() + CONTROLLER_GRACE
    while names := _names(directory):
        for name in names:
            file = directory / name
            controller = file.read_text(encoding="ascii")
            if _is_alive(controller) and time.monotonic() < deadline:
                continue
            with contextlib.suppress(ValueError):  # removed already
                remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))
            file.unlink(missing_ok=True)
        time.sleep(0.1)


def _names(directory: Path) -> list[str]:
    return os.listdir(directory) if directory.is_dir() else []


def _is_alive(actor: str) -> bool:
    """Whether the cluster still counts an actor as alive, or as about to be."""
    from ray._private.state import actors

    return str(actors(actor).get("State", "DEAD")) != "DEAD"
