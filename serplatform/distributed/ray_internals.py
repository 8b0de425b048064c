"""Every use of what Ray does not offer as its public interface; tried with Ray 2.60.

``tests/distributed/test_ray_internals.py`` checks that each name used here still exists with the
signature that is expected. When it fails with another Ray, look here for what the name is for.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Give a part of Ray another value for a while."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


# -- a start of Ray, and joining one


_AGENT_PORTS = (
    "metrics_agent_port",
    "metrics_export_port",
    "runtime_env_agent_port",
    "dashboard_agent_listen_port",
)


def free_ports(number: int) -> list[int]:
    """Ports that nothing listens at, below those that Linux hands out to whoever asks for any."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < number:
            port = random.SystemRandom().randrange(16_384, 32_768)
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server(("", port)))
                found.append(port)
    return found


@contextlib.contextmanager
def patient_start(watch: Callable[[int], None], wait: float) -> Iterator[None]:
    """Replace parts of Ray while it starts.

    - Each of its processes leads a session of its own, which ``watch`` is told of: a signal for
      our process group, or a terminal that closes, would end them before their driver (Ray
      shields them from SIGINT alone).
    - Neither dashboard, log monitor nor autoscaler is started, which nobody reads here: three
      Python processes, half of the time that a start takes.
    - The head is waited for as long as ``wait`` seconds and as it lives, not 30 s.
    - The ports of its two agents are given, so that it need not wait until these have imported
      what they need and tell theirs: after 15 s it would end with a fault.
    """
    from ray._private import node, services, utils
    from ray._raylet import (  # type: ignore[attr-defined]
        DASHBOARD_AGENT_LISTEN_PORT_NAME,
        persist_port,
    )

    started: list[Process] = []
    fate_shared = bool(utils.detect_fate_sharing_support())  # else Ray ends the group at the end

    class Process(services.ConsolePopen):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, start_new_session=fate_shared, **options)
            self.program = Path(words[0][0]).name
            started.append(self)
            if fate_shared:
                watch(self.pid)

    class Head(node.Node):
        def start_api_server(self, **_: Any) -> None:
            self._webui_url = ""

        def start_monitor(self) -> None: ...

        def start_log_monitor(self) -> None: ...

        def start_raylet(self, *of: Any, **options: Any) -> None:
            for name, port in zip(_AGENT_PORTS, free_ports(len(_AGENT_PORTS)), strict=True):
                setattr(self._ray_params, name, port)
            listen = self._ray_params.dashboard_agent_listen_port  # it reads this one from a file
            name = DASHBOARD_AGENT_LISTEN_PORT_NAME
            persist_port(self._session_dir, self._node_id, name, listen)
            super().start_raylet(*of, **options)

    get_node = services.get_node
    deadline = time.monotonic() + wait

    def wait_for_node(*of: Any) -> Any:
        while True:
            try:
                return get_node(*of)
            except RuntimeError as error:  # it is not there yet
                ended = [process for process in started if process.poll() is not None]
                # a connection's error: at a RuntimeError Ray would ask again
                if ended:
                    program, code = ended[0].program, ended[0].returncode
                    raise ConnectionError(f"its {program} ended with {code}") from error
                if time.monotonic() > deadline:
                    raise ConnectionError(f"its head was not there in {wait:.0f} s") from error
            time.sleep(0.2)

    with (
        replaced(services, "ConsolePopen", Process),
        replaced(services, "get_node", wait_for_node),
        replaced(services, "resolve_ip_for_localhost", lambda host: host),  # the loopback stays
        replaced(node, "Node", Head),
        own_signals(),
    ):
        yield


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Keep Ray, while it is started or joined, from meeting signals in our place.

    It has two handlers of SIGTERM: one in Python, one in C++ that ends the process with a trace.
    """
    from ray._private import ray_constants, utils

    with (
        replaced(utils, "set_sigterm_handler", lambda _: None),
        replaced(ray_constants, "RAY_DISABLE_FAILURE_SIGNAL_HANDLER", True),
    ):
        yield


@contextlib.contextmanager
def impatient_join() -> Iterator[None]:
    """Give up soon where something else than Ray answers: each of 20 tries would take 40 s."""
    from ray._private import ray_constants

    with own_signals(), replaced(ray_constants, "NUM_REDIS_GET_RETRIES", 2):
        yield


def noted_address() -> str | None:
    """Address of the cluster that ``ray start`` noted on this machine."""
    from ray._private import utils

    found: str | None = utils.read_ray_address()
    return found


@contextlib.contextmanager
def printed_lines_to(take: Callable[[str], None]) -> Iterator[None]:
    """Hand over what Ray would print on stdout, whose last line may be a program's to read."""
    from ray._private import worker

    def redirected(data: Mapping[str, Sequence[object]], *_: Any, **__: Any) -> None:
        take(" ".join(map(str, data.get("lines", ()))))

    with replaced(worker, "print_to_stdstream", redirected):
        yield


# -- trials of Ray Tune


@contextlib.contextmanager
def keeping_trial_errors() -> Iterator[Mapping[str, BaseException | None]]:
    """The last error of each Tune trial, by Tune's id; Tune keeps them as texts in files."""
    from ray.tune.experiment import Trial

    errors: dict[str, BaseException | None] = {}
    handle_error = Trial.handle_error

    def keep(trial: Any, exc: BaseException | None = None) -> None:
        errors[trial.trial_id] = exc
        handle_error(trial, exc)

    with replaced(Trial, "handle_error", keep):
        yield errors


def num_failures(trial: Any) -> int:
    """Attempts at a Tune trial that have failed."""
    return int(trial.run_metadata.num_failures)


def kill_actor(trial: Any) -> None:
    """Kill the process that trains a Tune trial."""
    import ray

    if (actor := trial.temporary_state.ray_actor) is not None:
        ray.kill(actor)


# -- worker groups of Ray Train


def group_recorder(directory: Path) -> Any:
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


def disable_cleanup_actor() -> None:
    """Do without Ray's detached cleaner: one process per trial that outlives it for nothing."""
    import ray.train.v2.api.data_parallel_trainer as api
    from ray.train.v2._internal.execution.callback import WorkerGroupCallback

    api.PlacementGroupCleanerCallback = WorkerGroupCallback


def remove_placement_group(name: str) -> None:
    """Remove a placement group by the hexadecimal form of its id, unless it is removed already."""
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    with contextlib.suppress(ValueError):
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))


def is_alive(actor: str) -> bool:
    """Whether the cluster still counts an actor as alive, or as about to be."""
    from ray._private.state import actors

    return str(actors(actor).get("State", "DEAD")) != "DEAD"


def forget_token() -> None:
    """Have Ray read its token again, which it keeps from the first connection of a process on."""
    import ray._raylet

    parts: Any = ray._raylet  # its type stubs lack it
    parts.AuthenticationTokenLoader.instance().reset_cache()
