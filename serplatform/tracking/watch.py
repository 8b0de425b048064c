"""Is told by a search what happens to its trials, and keeps every tracker up to date."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serplatform.artifacts.trial import TrialRecord
from serplatform.console import say
from serplatform.errors import ArtifactError
from serplatform.tracking.base import TRACKERS, TrackedRun, TrackedTrial
from serplatform.tracking.delivery import Delivery
from serplatform.tracking.tensorboard import TensorBoard

if TYPE_CHECKING:
    from serplatform.studies.study import Suggestion
    from serplatform.training.trial import TrialReport

#: seconds that a search waits at its end for trackers, and one that is interrupted
PATIENCE, INTERRUPTED = 60.0, 5.0


class SearchWatch(contextlib.AbstractContextManager["SearchWatch"]):
    """Trackers of one search; within it, an observer that passes on what it is told.

    Args:
        run: what is tracked; its trials that have ended already are sent where they are lacking.
        trackers: name to target, besides TensorBoard.

    Attributes:
        observer: is told first; to be set before the search begins.
        results: files that show how the search ended, sent when it does.
    """

    def __init__(self, run: TrackedRun, trackers: Mapping[str, str]) -> None:
        self.observer: Any = None
        self.results: Sequence[Path] = ()
        self._run = run
        self._trackers = trackers
        self._trials: dict[int, TrackedTrial] = {}
        self._local: TensorBoard | None = None
        self._deliveries: list[Delivery] = []
        self._begun = False

    def _begin(self) -> None:
        """Send what is lacking of ended trials; not before the search has the run for itself."""
        if self._begun:
            return
        self._begun = True
        self._local = TensorBoard(TensorBoard.default or "", self._run)
        self._deliveries = [
            Delivery(name, TRACKERS.get(name)(target, self._run))
            for name, target in self._trackers.items()
        ]
        for record in self._run.directory.records().values():
            self._put(TrackedTrial.of(record))

    def trial_started(self, suggestion: Suggestion) -> None:
        """A trial was handed out; of one that an earlier process began, its epochs are known."""
        self._begin()
        self.observer.trial_started(suggestion)
        trial = TrackedTrial(
            suggestion.number,
            suggestion.architecture,
            suggestion.values,
            suggestion.paper,
            suggestion.fold,
        )
        self._trials[trial.number] = trial
        if suggestion.resumed:
            from serplatform.training.recovery import read_progress  # with it, torch

            with contextlib.suppress(ArtifactError):
                state = self._run.directory.state_directory(trial.number)
                trial.add(read_progress(state)["history"])
        self._put(trial)

    def trial_progressed(self, suggestion: Suggestion, report: TrialReport) -> None:
        """A trial trained one more epoch."""
        self.observer.trial_progressed(suggestion, report)
        if trial := self._trials.get(suggestion.number):
            trial.add([report.history])
            self._put(trial)

    def trial_retried(self, suggestion: Suggestion, error: str) -> None:
        """A trial is tried again; its epochs are the same."""
        self.observer.trial_retried(suggestion, error)

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is recorded."""
        self._begin()
        self.observer.trial_ended(record)
        trial = self._trials.pop(record["trial"], None) or TrackedTrial.of(record)
        trial.end(record)
        self._put(trial)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        status = "complete"
        if kind is None:
            self._begin()
        else:
            status = "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
        self._tell_local(lambda local: local.finish(status, self.results))
        for delivery in self._deliveries:
            delivery.close(status, self.results, PATIENCE if kind is None else INTERRUPTED)

    def _put(self, trial: TrackedTrial) -> None:
        self._tell_local(lambda local: local.update(trial))
        for delivery in self._deliveries:
            delivery.put(trial)

    def _tell_local(self, call: Any) -> None:
        """A full disk, say, must not fail a search here."""
        if self._local is None:
            return
        try:
            call(self._local)
        except OSError as error:
            self._local = None
            say(f"Note: TensorBoard's files cannot be written ({error}); the search goes on.")
