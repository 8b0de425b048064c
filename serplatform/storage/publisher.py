"""Publishes a run's files while its search goes on, and everything left when it ends."""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType

from serplatform.errors import SerplatformError
from serplatform.storage.lease import Lease
from serplatform.storage.mirror import Mirror, not_published
from serplatform.storage.remote import RemoteError

#: seconds between two looks at what has changed, and the share of time that publishing may take
INTERVAL = 2.0
SHARE = 0.2

#: seconds that publishing may take when the search ends with an error or is interrupted
INTERRUPTED = 5.0

#: seconds after which a recorded trial is published here: by then its own process has done so
GRACE = 20.0

#: what the driver of a search writes
_RUN_FILES = ("run.json", "folds.json", "study.journal", "trials.parquet")


class Publisher(contextlib.AbstractContextManager["Publisher"]):
    """A thread that publishes what the driver of a search writes.

    What cannot be published stays where it is and is tried again; leaving the context publishes
    the rest, and raises a SerplatformError that says where it lies when that is not possible.

    Args:
        mirror: of the run; nothing is done for a local run.
        lease: of the run; nothing is published once another search has taken it over.
    """

    def __init__(self, mirror: Mirror, lease: Lease | None = None) -> None:
        self.mirror = mirror
        self.lease = lease
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def taken_over(self) -> str | None:
        """Why nothing may be published any more."""
        return None if self.lease is None else self.lease.lost

    def start(self) -> None:
        """Publish what other nodes need to begin, then what changes, in a thread.

        Raises:
            RemoteError: the storage cannot be written.
        """
        if self.mirror.is_remote:
            self.mirror.push(self.mirror.unpublished())
            self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.mirror.is_remote:
            return
        self._ended.set()
        self._thread.join()
        if self.taken_over is not None:
            raise SerplatformError(self.taken_over) from error
        try:
            self.mirror.push_all(within=None if kind is None else INTERRUPTED)
        except RemoteError as failure:
            if kind is None:
                raise not_published(self.mirror, failure) from failure

    def _run(self) -> None:
        wait = INTERVAL
        while not self._ended.wait(wait):
            begun = time.monotonic()
            self.look()
            wait = max(INTERVAL, (time.monotonic() - begun) / SHARE)

    def look(self) -> None:
        """Publish what has changed, as far as the storage can be reached."""
        if self.taken_over is not None:
            return

        def action(within: float) -> None:
            for name in _RUN_FILES:
                self.mirror.push(self.mirror.pending(name), within=within)
            self.mirror.push_finished(GRACE, within)

        self.mirror.attempt(action)
