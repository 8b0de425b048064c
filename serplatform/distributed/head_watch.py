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
from collections.abc import Callable
from typing import Self

#: Seconds for which the head may be away: a short cut of the network is outlived.
PATIENCE = 40.0

#: Seconds that a search is given to stop when its head is gone, before it is ended.
GRACE = 20.0

#: Environment of the process that drives a search: Ray ends it only after the two above.
DRIVER_ENVIRONMENT = {"RAY_gcs_rpc_server_reconnect_timeout_s": str(int(PATIENCE + GRACE) + 60)}


class HeadWatch:
    """Looks every other second whether the head answers; a context manager.

    Args:
        address: HOST:PORT of the control store.
        ask: called once, with what happened, when the head has been away for ``patience``.
        force: called ``grace`` later, when the watch has not been left by then.
        patience: in seconds.
        grace: in seconds.
        period: seconds between two looks.
    """

    def __init__(
        self,
        address: str,
        *,
        ask: Callable[[str], None],
        force: Callable[[str], None],
        patience: float = PATIENCE,
        grace: float = GRACE,
        period: float = 2.0,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._place = (host.strip("[]"), int(port))
        self._ask = ask
        self._force = force
        self._patience = patience
        self._grace = grace
        self._period = period
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def _look(self) -> None:
        heard = time.monotonic()
        while not self._left.wait(self._period):
            if self._answers():
                heard = time.monotonic()
            elif time.monotonic() - heard >= self._patience:
                break
        if self._left.is_set():
            return
        what = (
            f"the cluster's head {self._place[0]} has not answered for "
            f"{time.monotonic() - heard:.0f} s; what is finished is kept"
        )
        self._ask(what)
        if not self._left.wait(self._grace):
            self._force(what)

    def _answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(self._place, timeout=self._period + 1),
        ):
            return True
        return False
