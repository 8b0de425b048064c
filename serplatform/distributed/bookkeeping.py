"""What ties Tune's searcher, scheduler and callback to the books of a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Books(Protocol):
    """Keeps the books of the trials that Tune runs."""

    def next_config(self, trial_id: str) -> dict[str, Any] | None:
        """Configuration of the next trial under Tune's id, or None when there is no more."""

    def should_stop(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Take a result; True when the trial is to be pruned."""

    def retried(self, trial_id: str, error: str) -> None:
        """A trial is tried again after an error."""

    def ended(self, trial_id: str, result: Mapping[str, Any] | None, error: str | None) -> None:
        """A trial left Tune."""


class Unsaved(Generic[T]):
    """A reference that is left out of what Tune saves of itself.

    Tune pickles its searcher, scheduler and callbacks again and again for a restore that this
    program never uses: it resumes from the Optuna storage and the trial records.
    """

    def __init__(self, value: T | None = None) -> None:
        self._value = value

    @property
    def value(self) -> T:
        if self._value is None:
            raise RuntimeError("a search cannot be restored from Tune's files; use --resume")
        return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return (Unsaved, ())
