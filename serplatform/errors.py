"""Errors a user may meet: each carries the exit code of the command that raises it.

Every message names the file or value at fault, the rule it breaks and the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class SerplatformError(Exception):
    """The work failed for a reason that a user can read (exit code 1)."""

    exit_code = 1


class BadInputError(SerplatformError):
    """Something the user gave is wrong (exit code 2).

    Args:
        message: what is wrong, where, and what to do.
        faults: all faults found, when there are several; listed one a line.
    """

    exit_code = 2

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join([message, *(f"  - {fault}" for fault in self.faults)]))


class LeakError(BadInputError):
    """Test information would reach a fit: a speaker, recording or row is on both sides."""


class ArtifactError(BadInputError):
    """A file of ours is missing, truncated, altered or of another schema version."""


class InterruptedRunError(SerplatformError):
    """The work was stopped and can be resumed (exit code 130)."""

    exit_code = 130


#: choices up to which a message lists them all, and the nearest that it names of more
_FEW, _NEAREST = 15, 3


def unknown_name(kind: str, name: str, known: Iterable[str], listed_by: str = "") -> str:
    """Say that ``name`` is not a known ``kind``, list the choices, suggest the nearest.

    Args:
        kind: what it should name.
        name: as the user wrote it.
        known: the choices.
        listed_by: the command that lists them, where they may be too many for a message.

    Example:
        >>> unknown_name("feature", "logmel", ["log_mel", "mfcc"])
        "Unknown feature 'logmel'; known: log_mel, mfcc. Did you mean 'log_mel'?"
        >>> many = ["model.gamma", *(f"model.{number}" for number in range(20))]
        >>> unknown_name("parameter", "gama", many, "serplatform COMMAND")
        "Unknown parameter 'gama'; `serplatform COMMAND` lists all 21. Did you mean 'model.gamma'?"
    """
    choices = sorted(known)
    listed = bool(listed_by) and len(choices) > _FEW
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    # a dotted name given by its last part
    last = {choice.rpartition(".")[2]: choice for choice in choices if choice not in near}
    if listed or not near:
        cutoff = 0.65 if near else 0.5
        more = difflib.get_close_matches(name.rpartition(".")[2], last, _NEAREST, cutoff)
        near = [*near, *(last[key] for key in more)][: _NEAREST if listed else 1]
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    told = f"`{listed_by}` lists all {len(choices)}" if listed else f"known: {', '.join(choices)}"
    return f"Unknown {kind} '{name}'; {told}.{hint}"
