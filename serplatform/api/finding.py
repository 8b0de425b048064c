"""What `doctor` says of one thing, and amounts of memory in words."""

from __future__ import annotations

import dataclasses
from typing import Literal

Level = Literal["ok", "note", "fault"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at; a ``fault`` keeps the program from working."""

    topic: str
    level: Level
    text: str
    remedy: str = ""


def amount_free(topic: str, free: int, least: int, of: str, remedy: str) -> Finding:
    """How many bytes are free, and a remedy where that is less than ``least``."""
    text = f"{size_text(free)} free{of}"
    return Finding(topic, "ok", text) if free >= least else Finding(topic, "note", text, remedy)


def size_text(count: int) -> str:
    """Bytes in binary units.

    Example:
        >>> size_text(3 << 29), size_text(64 << 20)
        ('1.5 GiB', '64 MiB')
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
