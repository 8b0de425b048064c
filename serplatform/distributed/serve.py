"""Copies of a web application, run by Ray Serve on this machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from serplatform.console import say
from serplatform.distributed import local_ray
from serplatform.distributed.cluster import connect, disconnect
from serplatform.errors import BadInputError, SerplatformError

_NAME = "serplatform"
#: requests of one copy that Ray passes on; the application says itself when they are too many
_ONGOING = 1000
#: seconds in which a busy machine may start what takes a few
_PATIENCE = 300.0
#: Of Ray's processes: workers would have the lowest priority, and somebody waits for what a service
#: says; on a busy machine what listens would be killed for not being there within 5 s.
_ENVIRONMENT = {
    "RAY_worker_niceness": "0",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(_PATIENCE),
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serplatform.serving.loading.middlewares",
}


def check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened at, before Ray is started."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family):
            pass
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(
            f"--host {host} --port {port}: cannot be listened at ({reason}); choose another port"
        ) from None


@contextlib.contextmanager
def served(
    build: Callable[..., Any], settings: object, *, host: str, port: int, replicas: int
) -> Iterator[None]:
    """Serve ``build(settings)``, an ASGI application, ``replicas`` times, until the block ends.

    Raises:
        BadInputError: Ray Serve is not installed.
        SerplatformError: Ray or the application does not start; nothing is left of it.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise BadInputError(
            f"serve needs Ray Serve ({error.name} is not installed): "
            "pip install 'serplatform[serve]'"
        ) from None
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    quiet = {"log_level": "ERROR", "enable_access_log": False}

    class Replica:
        """Loads the models where it runs."""

        def __serve_build_asgi_app__(self) -> Any:
            return build(settings)

    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    connect("local", num_cpus=replicas)
    try:
        with local_ray.said_when_slow("Loading models"):
            _start(
                proxy_location="HeadOnly",
                http_options={"host": host, "port": port},
                logging_config=quiet,
            )
            deployment = serve.deployment(
                num_replicas=replicas,
                max_ongoing_requests=_ONGOING,
                health_check_timeout_s=_PATIENCE,
                ray_actor_options={"num_cpus": 1},
                logging_config=quiet,
            )(serve.ingress()(Replica))
            try:
                serve.run(deployment.bind(), name=_NAME, route_prefix="/")
            except RuntimeError as error:
                raise SerplatformError(f"the service does not start: {error}") from error
            _wait_until_it_answers(host, port)
        yield
    finally:
        disconnect()


def _start(**options: Any) -> None:
    """Start Ray Serve, which waits a minute for its proxy; the proxy itself does not give up."""
    import ray
    from ray import serve

    reason = ""
    for _ in range(3):
        try:
            serve.start(**options)
            return
        except (TimeoutError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[0]
            say(f"Ray Serve is slow to start ({reason}); waiting on.")
    raise SerplatformError(
        f"Ray Serve could not be started on this machine ({reason}); {local_ray.load()}: wait "
        "until it has less to do, then give the same command again. Nothing was left behind"
    )


def _wait_until_it_answers(host: str, port: int) -> None:
    """Wait until what listens knows of the application, which is loaded by now."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(here, port, timeout=5)
        with (
            contextlib.suppress(OSError, http.client.HTTPException, ValueError),
            contextlib.closing(connection),
        ):
            connection.request("GET", "/-/routes")
            if "/" in json.loads(connection.getresponse().read()):
                return
        time.sleep(0.2)
    raise SerplatformError(
        f"nothing answers at {host}:{port} after {_PATIENCE:.0f} s; {local_ray.load()}: wait until "
        "it has less to do, then give the same command again. Nothing was left behind"
    )
