"""Notices when the head of the Ray cluster is gone, while there is time to say so.

A process that has lost Ray's control store waits in silence and is then ended by Ray from
within, with a line of its C++ log and no chance to write anything (``rpc_client.h``, after
``RAY_gcs_rpc_server_reconnect_timeout_s``; ray-project/ray issue 45570). A thread here
looks at the head by itself, first asks the search to stop, and ends the process when it cannot.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

#: Seconds for which the head may be away: a short cut of the network is outlived.
PATIENCE = 40.0

#: Seconds that a search is given to stop when its head is gone, before it is ended.
GRACE = 20.0

#: Environment of the process that drives a search: Ray ends it only after the two above.
DRIVER_ENVIRONMENT = {"RAY_gcs_rpc_server_reconnect_timeout_s": str(int(PATIENCE + GRACE) + 60)}


@contextlib.contextmanager
def watching_head(
    address: str,
    *,
    ask: Callable[[str], None],
    force: Callable[[str], None],
    patience: float = PATIENCE,
    grace: float = GRACE,
    period: float = 2.0,
) -> Iterator[None]:
    """Look every ``period`` seconds whether the control store at HOST:PORT answers.

    When it has been away for ``patience`` seconds, ``ask`` is called once with what happened, and
    ``force`` another ``grace`` seconds later, unless the context was left by then.
    """
    host, _, port = address.rpartition(":")
    place = (host.strip("[]"), int(port))
    left = threading.Event()

    def look() -> None:
        heard = time.monotonic()
        while not left.wait(period):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(place, timeout=period + 1),
            ):
                heard = time.monotonic()
            if time.monotonic() - heard >= patience:
                break
        if left.is_set():
            return
        what = (
            f"the cluster's head {place[0]} has not answered for "
            f"{time.monotonic() - heard:.0f} s; what is finished is kept"
        )
        ask(what)
        if not left.wait(grace):
            force(what)

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        left.set()
