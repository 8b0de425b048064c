"""Hands our studies' suggestions to Ray Tune.

Ray's own ``OptunaSearch`` tells stopped trials as complete, leaves NaN trials running, enqueues
its first points again at each construction and cannot resume from a persistent storage
(ray-project/ray issues 18847, 30838, 42221). Here Tune only asks; the studies decide.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from serplatform.distributed.bookkeeping import Books, Unsaved


class StudySearcher(Searcher):
    """A Tune searcher that asks the books for trials."""

    def __init__(self, books: Books) -> None:
        super().__init__(metric="objective", mode="max")
        self._books = Unsaved(books)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's configuration, or ``FINISHED`` when the budget is spent."""
        config = self._books.value.next_config(trial_id)
        return str(Searcher.FINISHED) if config is None else config

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to do: the studies are told from the trial's record."""

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the truth is in the Optuna storage."""
        Path(checkpoint_path).write_text("{}", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: see :meth:`save`."""
