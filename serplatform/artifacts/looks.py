"""``RUN/looks/look-….json``: each time that a run's test rows were measured, and what was.

A file a look, named by what was measured: several processes and machines may look at once, a file
is there whole or not at all, and the same numbers again are the same look.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable

from serplatform.artifacts.records import Record

#: what is said of a run without test posteriors
SEALED = "sealed: test rows not opened"
UNSEAL = "`serplatform unseal RUN` opens the test rows and closes the choice of trials."


class Look(Record):
    """A look; ``measured`` is what was measured, by name, to a digest of its test posteriors."""

    time: str
    command: str
    combiner: str
    seed: int
    measured: dict[str, str]


class LookRecord(Record):
    """What a bundle keeps of a :class:`LookCount`."""

    number: int
    total: int
    complete: bool


@dataclasses.dataclass(frozen=True)
class LookCount:
    """Which look at its run's test rows a number comes from.

    Attributes:
        number: from 1.
        total: looks so far.
        complete: every look has been counted; not where the run was begun by a version that
            counted none, or cannot be written to.
    """

    number: int
    total: int
    complete: bool = True

    @property
    def short(self) -> str:
        """``look 2 of 3``; beside a number."""
        return f"look {self.number}" + (f" of {self.total}" if self.total > self.number else "")

    def as_record(self) -> LookRecord:
        """As a bundle keeps it."""
        return {"number": self.number, "total": self.total, "complete": self.complete}

    def __str__(self) -> str:
        if self.total == 1:
            text = "First look at these test rows (other runs on them are not counted)"
        else:
            text = (
                f"{self.short.capitalize()} at these test rows: a choice between looks by their "
                "test numbers is made on test rows, and the chosen number is then optimistic"
            )
        return text + ("." if self.complete else "; earlier ones may not have been counted.")


def digest_of(parts: Iterable[str | None]) -> str:
    """A digest of checksums, of which several that are all the same count once."""
    found = list(map(str, parts))
    unique = found[:1] if len(set(found)) == 1 else found
    return hashlib.sha256("\n".join(unique).encode()).hexdigest()[:32]
