"""What ``--log`` says: which trackers a search is sent to, and where each one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serplatform.errors import BadInputError
from serplatform.storage.location import redact
from serplatform.tracking.base import TRACKERS


def check_log(asked: Sequence[str]) -> dict[str, str]:
    """Read texts ``NAME`` or ``NAME=TARGET``, and see that each tracker can be used.

    Returns:
        name to target, with whole paths.

    Raises:
        BadInputError: a name is unknown or named twice, a package is missing, or a target is
            missing or cannot be reached.
    """
    found: dict[str, str] = {}
    for text in asked:
        name, _, target = text.partition("=")
        tracker = TRACKERS.get(name)
        if not tracker.remote:
            raise BadInputError(f"--log {name}: is always written, below the run; leave it out")
        if name in found:
            raise BadInputError(f"--log {redact(text)}: name each tracker once")
        if "***" in target:
            raise BadInputError(
                f"--log {text}: a password is never recorded; give the whole address again"
            )
        found[name] = tracker.check(target or tracker.default or "")
    return found


def as_recorded(trackers: Mapping[str, str]) -> list[str]:
    """The texts that ask for these trackers again, without passwords."""
    return [redact(f"{name}={target}" if target else name) for name, target in trackers.items()]
