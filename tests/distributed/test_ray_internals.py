"""The parts of Ray that are used although they are not its public interface.

Tried with Ray 2.60. When a test here fails with another Ray, its private parts have changed:
read what the name is for in ``serplatform/distributed/ray_internals.py`` (or ``orphans.py`` and
``local_ray.py`` for environment variables), adapt its use there and the expectation here, and run
the tests of ``tests/distributed`` and ``tests/faults`` with that Ray before its version is allowed.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray

from serplatform.distributed import ray_internals

TRIED = "2.60"
REMEDY = (
    f"Ray {ray.__version__} differs from Ray {TRIED}, with which serplatform was tried: adapt "
    "serplatform/distributed/ray_internals.py and this test, and run tests/distributed and "
    "tests/faults with it"
)

PRIVATE = re.compile(r"\._|\.v2\.")

#: module, name within it, names of its parameters that our use relies on; None: no function
USED = [
    ("ray._private.services", "ConsolePopen", None),
    ("ray._private.services", "get_node", ["gcs_address", "node_id"]),
    ("ray._private.services", "resolve_ip_for_localhost", ["host"]),
    ("ray._private.node", "Node.start_api_server", None),
    ("ray._private.node", "Node.start_monitor", ["self"]),
    ("ray._private.node", "Node.start_log_monitor", ["self"]),
    ("ray._private.node", "Node.start_raylet", ["self"]),
    ("ray._raylet", "DASHBOARD_AGENT_LISTEN_PORT_NAME", None),
    ("ray._raylet", "persist_port", None),
    ("ray._private.utils", "detect_fate_sharing_support", []),
    ("ray._private.utils", "set_sigterm_handler", ["sigterm_handler"]),
    ("ray._private.utils", "read_ray_address", ["temp_dir"]),
    ("ray._private.ray_constants", "RAY_DISABLE_FAILURE_SIGNAL_HANDLER", None),
    ("ray._private.ray_constants", "NUM_REDIS_GET_RETRIES", None),
    ("ray._private.worker", "print_to_stdstream", None),
    ("ray._private.state", "actors", ["actor_id"]),
    ("ray._raylet", "PlacementGroupID", None),
    ("ray.util.placement_group", "PlacementGroup.__init__", ["self", "id", "bundle_cache"]),
    ("ray.tune.experiment", "Trial.handle_error", ["self", "exc"]),
    (
        "ray.train.v2._internal.execution.callback",
        "WorkerGroupCallback.after_worker_group_start",
        ["self", "worker_group"],
    ),
    (
        "ray.train.v2._internal.execution.worker_group",
        "WorkerGroup.get_worker_group_state",
        ["self"],
    ),
    ("ray.train.v2.api.data_parallel_trainer", "PlacementGroupCleanerCallback", None),
]


@pytest.mark.parametrize(("module", "name", "parameters"), USED, ids=lambda value: str(value)[-40:])
def test_every_private_part_is_as_it_was(
    module: str, name: str, parameters: list[str] | None
) -> None:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        assert hasattr(found, part), f"{module}.{name} is gone. {REMEDY}"
        found = getattr(found, part)
    if parameters is not None:
        now = list(inspect.signature(found).parameters)
        assert now[: len(parameters)] == parameters, f"{module}.{name}{now}. {REMEDY}"


def test_every_private_part_is_listed_here() -> None:
    """What ``ray_internals`` imports of private modules, or replaces, stands in the list above."""
    source = inspect.getsource(ray_internals)
    listed = {part for _, name, _ in USED for part in name.split(".")}
    used = set(re.findall(r'replaced\(\w+, "(\w+)"', source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and PRIVATE.search(f"{node.module}."):
            private = importlib.import_module(str(node.module))
            found = {name.name: getattr(private, name.name, None) for name in node.names}
            used |= {name for name, value in found.items() if not inspect.ismodule(value)}
    assert len(used) > 8
    assert used - listed == set()


def test_no_other_file_uses_a_private_part() -> None:
    package = Path(ray_internals.__file__).parents[1]
    users = {
        file.name
        for file in package.rglob("*.py")
        if re.search(r"^\s*(from|import) ray\S*(\._|\.v2\.)", file.read_text("utf-8"), re.MULTILINE)
    }
    assert users == {"ray_internals.py"}


def test_processes_are_started_as_python_does_it() -> None:
    from ray._private import services

    assert issubclass(services.ConsolePopen, subprocess.Popen), REMEDY


def test_the_state_of_a_tune_trial_is_where_it_is_looked_for() -> None:
    from ray.tune.experiment import Trial

    trial = Trial("never trained", stub=True)
    assert ray_internals.num_failures(trial) == 0, REMEDY
    assert trial.temporary_state.ray_actor is None, REMEDY


def test_a_trials_error_is_kept_as_an_object() -> None:
    from ray.tune.experiment import Trial

    class Failed(Trial):
        local_path = None

        def __init__(self) -> None:
            super().__init__("never trained", stub=True)

    before = Trial.handle_error
    with ray_internals.keeping_trial_errors() as errors:
        trial = Failed()
        error = RuntimeError("planted")
        trial.handle_error(error)
        assert errors == {trial.trial_id: error}
    assert ray_internals.num_failures(trial) == 1, REMEDY
    assert Trial.handle_error is before


def test_the_cleanup_actor_is_what_a_trainer_would_start() -> None:
    import ray.train.v2.api.data_parallel_trainer as api

    assert "PlacementGroupCleanerCallback(" in inspect.getsource(api), REMEDY
