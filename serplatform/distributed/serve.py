"""Copies of a web application, run by Ray Serve on this machine."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

from serplatform.distributed import local_ray
from serplatform.distributed.cluster import connect, disconnect
from serplatform.errors import BadInputError, SerplatformError

_NAME = "serplatform"
#: requests of one copy that Ray passes on; the application says itself when they are too many
_ONGOING = 1000


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

    connect("local", num_cpus=replicas)
    try:
        with local_ray.said_when_slow("Loading models"):
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": host, "port": port},
                logging_config=quiet,
            )
            deployment = serve.deployment(
                num_replicas=replicas,
                max_ongoing_requests=_ONGOING,
                ray_actor_options={"num_cpus": 1},
                logging_config=quiet,
            )(serve.ingress()(Replica))
            try:
                serve.run(deployment.bind(), name=_NAME, route_prefix="/")
            except RuntimeError as error:
                raise SerplatformError(f"the service does not start: {error}") from error
        yield
    finally:
        disconnect()
