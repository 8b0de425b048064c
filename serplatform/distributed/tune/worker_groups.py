"""A trial of several workers: a Ray Train worker group (DDP) inside a Ray Tune function.

The workers run the same loop as a one-worker trial; only rank 0 writes files.

When Tune stops such a trial it kills the function, and with it the controller that would have
given the group's resources back. Ray leaves that to a detached actor that asks the dashboard
whether the controller lives; where no dashboard runs, it never gets an answer, and the next
trial waits for ever (ray-project/ray issues 54305, 47440, 65443). So the group's id is written
down when it starts, and :func:`free_groups` removes it when the trial has left Tune.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any, cast

from serplatform.distributed import ray_internals
from serplatform.distributed.tune.task_codec import (
    CONFIG_KEY,
    TrialResult,
    encode_report,
    failure_result,
    start_trial,
)
from serplatform.distributed.tune.trial_errors import describe_error
from serplatform.errors import SerplatformError
from serplatform.plugins import PluginError

#: seconds that the controller of a stopped trial's worker group is given to die
CONTROLLER_GRACE = 30.0


def train_worker(config: dict[str, Any]) -> None:
    """The training function of one Ray Train worker."""
    import ray.train

    rank = ray.train.get_context().get_world_rank()
    try:
        trial = start_trial(config[CONFIG_KEY], distributed=True, rank=rank)
        while not trial.finished:
            ray.train.report(cast("dict[str, object]", encode_report(trial.step())))
    except (SerplatformError, OSError) as error:
        # settings and numbers are the same on every rank, and so is an error in them
        failure = failure_result(error)
        if failure is None or isinstance(error, PluginError):  # other hosts may have it
            raise
        ray.train.report(cast("dict[str, object]", failure))


def train_driver(config: dict[str, Any]) -> None:
    """The Tune function of one trial: starts a worker group and forwards its reports."""
    from ray import tune
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    gpus = float(config["gpus_per_worker"])
    resources: dict[str, float] = {"CPU": 1.0}
    if gpus:
        resources["GPU"] = gpus
    ray_internals.disable_cleanup_actor()
    recorder = ray_internals.group_recorder(Path(config["groups"]))
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
            callbacks=[TuneReportCallback(), recorder],
            failure_config=FailureConfig(max_failures=config["retries"]),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:  # out of retries
        reason = describe_error(error)
        result: TrialResult = {"done": True, "objective": float("nan"), "error": reason}
        tune.report(cast("dict[str, object]", result))


def group_names(directory: str | Path) -> list[str]:
    """The worker groups that a trial has started, by the ids that were written down."""
    return sorted(os.listdir(directory)) if Path(directory).is_dir() else []


def remove_group(directory: str | Path, name: str) -> None:
    """End the workers of a group and give its resources back.

    Its controller, where it lives, starts another group if there are retries left.
    """
    ray_internals.remove_placement_group(name)
    Path(directory, name).unlink(missing_ok=True)


def free_groups(directory: Path) -> threading.Thread:
    """Remove the groups that were written down in ``directory``, in a thread.

    A group is removed once its controller is dead: a living one would take the loss of its
    workers for a failure, and start another group that nobody knows of.
    """

    def free() -> None:
        deadline = time.monotonic() + CONTROLLER_GRACE
        while names := group_names(directory):
            for name in names:
                controller = (directory / name).read_text(encoding="ascii")
                if time.monotonic() >= deadline or not ray_internals.is_alive(controller):
                    remove_group(directory, name)
            time.sleep(0.1)

    thread = threading.Thread(target=free, daemon=True)
    thread.start()
    return thread
