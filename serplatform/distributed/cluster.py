"""Connect to Ray: a cluster that runs already, or one of this machine's own."""

from __future__ import annotations

import logging
import os

#: Environment of every process of ours on the cluster. Ray Train looks at its workers' reports
#: at this interval (2 s by default, which is one report every 2 s at most).
WORKER_ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"}


def connect(address: str | None = None, num_cpus: int | None = None) -> None:
    """Start or join a Ray cluster; nothing happens when this process is connected already.

    Args:
        address: of a running cluster; None starts one on this machine.
        num_cpus: CPUs that a cluster started here offers; None means all of them.
    """
    for name, value in WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return
    if address is not None:
        ray.init(
            address=address,
            namespace="serplatform",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": dict(WORKER_ENVIRONMENT)},
        )
        return
    ray.init(
        num_cpus=num_cpus,
        include_dashboard=False,
        namespace="serplatform",
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
