"""A trial of several workers: a Ray Train worker group (DDP) inside a Ray Tune function.

The workers run the same loop as a one-worker trial; only rank 0 writes files.
"""

from __future__ import annotations

from typing import Any

from serplatform.distributed.task_codec import CONFIG_KEY, report_to_result, start_trial
from serplatform.errors import SerplatformError


def train_worker(config: dict[str, Any]) -> None:
    """The training function of one Ray Train worker."""
    import ray.train

    rank = ray.train.get_context().get_world_rank()
    try:
        trial = start_trial(config[CONFIG_KEY], distributed=True, rank=rank)
        if trial.finished:
            return
        while True:
            report = trial.step()
            ray.train.report(report_to_result(report))
            if report.done:
                return
    except SerplatformError as error:
        # the same error on every rank: the settings or the numbers are at fault
        ray.train.report(
            {"done": True, "failure": str(error), "objective": float("nan"), "epoch_step": 0}
        )


def train_driver(config: dict[str, Any]) -> None:
    """The Tune function of one trial: starts a worker group and forwards its reports."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    workers = config["workers"]
    gpus = float(config["gpus_per_worker"])
    resources: dict[str, float] = {"CPU": 1.0}
    if gpus:
        resources["GPU"] = gpus
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=config,
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=bool(gpus),
            resources_per_worker=resources,
            placement_strategy="PACK",
        ),
        run_config=RunConfig(
            storage_path=config["scratch"],
            callbacks=[TuneReportCallback()],
            failure_config=FailureConfig(max_failures=config["retries"]),
        ),
    )
    trainer.fit()
