"""Hands our studies' suggestions to Ray Tune, and tells them how trials ended.

Ray's own ``OptunaSearch`` tells stopped trials as complete, leaves NaN trials running, enqueues
its first points again at each construction and cannot resume from a persistent storage
(ray-project/ray issues 18847, 30838, 42221). Here Tune only asks; the studies decide.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from serplatform.search.study import Studies, Suggestion


class StudySearcher(Searcher):
    """A Tune searcher over :class:`serplatform.search.study.Studies`.

    Args:
        studies: where trials come from.
        budget: how many trials this run may have over its whole life.
        make_config: suggestion to the Tune configuration of its trial.
        on_suggested: called with each suggestion handed out.
    """

    def __init__(
        self,
        studies: Studies,
        *,
        budget: int | None,
        make_config: Callable[[Suggestion], dict[str, Any]],
        on_suggested: Callable[[Suggestion, str], None],
    ) -> None:
        super().__init__(metric="objective", mode="max")
        self._studies = studies
        self._budget = budget
        self._make_config = make_config
        self._on_suggested = on_suggested
        self.exhausted = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's configuration, or ``FINISHED`` when the budget is spent."""
        spent = self._budget is not None and self._studies.num_asked >= self._budget
        if spent and self._studies.num_in_flight == 0:
            self.exhausted = True
            return str(Searcher.FINISHED)
        suggestion = self._studies.ask()
        self._on_suggested(suggestion, trial_id)
        return self._make_config(suggestion)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to do: the studies are told from the trial's record."""

    def save(self, checkpoint_path: str) -> None:
        """Write a marker; the truth is in the Optuna storage."""
        with open(checkpoint_path, "w", encoding="utf-8") as stream:
            json.dump({"truth": "optuna storage"}, stream)

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: see :meth:`save`."""
