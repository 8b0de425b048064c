"""Brings a tracker that may be slow or away up to date, in a thread, and never fails a search."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from serplatform.console import say
from serplatform.storage.location import redact
from serplatform.tracking.base import TrackedTrial, Tracker

#: seconds until a tracker that could not be reached is tried again; at the end of a search
PAUSE, LAST_PAUSE = 15.0, 1.0


class Delivery:
    """Trials on their way to one tracker.

    Args:
        name: of the tracker.
        tracker: only the thread calls it.
        pause: seconds until it is tried again after an error.
    """

    def __init__(self, name: str, tracker: Tracker, pause: float = PAUSE) -> None:
        self._name = name
        self._tracker = tracker
        self._pause = pause
        self._waiting: dict[int, TrackedTrial] = {}
        self._results: tuple[str, Sequence[Path]] | None = None
        self._news = threading.Event()
        self._closing = threading.Event()
        self._given_up = threading.Event()
        self._told = False
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"tracker-{name}")
        self._thread.start()

    def put(self, trial: TrackedTrial) -> None:
        """A trial has news."""
        self._waiting[trial.number] = trial
        self._news.set()

    def close(self, status: str, files: Sequence[Path], within: float) -> None:
        """Send what is left, for so many seconds at most, and say what could not be sent."""
        self._results = status, files
        self._closing.set()
        self._news.set()
        self._thread.join(within)
        self._given_up.set()
        if self._results is not None:
            trials = f"{len(self._waiting)} trial(s) and " if self._waiting else ""
            say(
                f"Note: {trials}the results could not be sent to {self._name}; "
                f"`serplatform search --resume --out {self._tracker.run.directory}` sends them."
            )

    def _run(self) -> None:
        while not self._given_up.is_set():
            self._news.wait()
            self._news.clear()
            closing = self._closing.is_set()
            try:
                self._send(closing)
            except Exception as error:  # noqa: BLE001 - libraries and servers fail in many ways
                self._tell(error)
                if closing:
                    self._given_up.wait(LAST_PAUSE)
                else:
                    self._closing.wait(self._pause)
                self._news.set()
                continue
            self._told = False
            if closing:
                return

    def _send(self, closing: bool) -> None:
        while self._waiting:
            number = min(self._waiting)
            trial = self._waiting.pop(number)
            try:
                self._tracker.update(trial.snapshot())
            except BaseException:
                self._waiting.setdefault(number, trial)
                raise
        if closing and self._results is not None:
            self._tracker.finish(*self._results)
            self._results = None

    def _tell(self, error: Exception) -> None:
        """Say once, until it is reached again, what is wrong."""
        if not self._told:
            self._told = True
            reason = redact(str(error).strip().partition("\n")[0] or type(error).__name__)
            say(
                f"Note: {self._name} does not take what is sent ({reason[:300]}); the search goes "
                "on, and what is missed is sent later."
            )
