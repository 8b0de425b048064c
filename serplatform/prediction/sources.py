"""Which recordings a user means: files, folders, and lists of paths.

A recording is named as it was given; nothing that cannot be used disappears without a reason.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from serplatform.corpora.audio import AUDIO_SUFFIXES

#: stands for a list of paths on standard input
STDIN = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One recording.

    Attributes:
        path: of the file.
        name: how results name it, printable.
    """

    path: Path
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refused:
    """A recording or folder that gives no result, and why."""

    name: str
    reason: str


def printable(path: str | Path) -> str:
    r"""A file name that can be written as UTF-8: bytes that are not text are escaped.

    Example:
        >>> printable("Zoë.wav"), printable(os.fsdecode(b"\xff.wav"))
        ('Zoë.wav', '\\xff.wav')
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def listed_paths(content: bytes) -> list[str]:
    r"""Paths of a list: one a line, or separated by zero bytes (``find -print0``).

    Example:
        >>> listed_paths(b"a.wav\r\n\nb c.wav\n"), listed_paths(b"a\nb.wav\0c.wav\0")
        (['a.wav', 'b c.wav'], ['a\nb.wav', 'c.wav'])
    """
    parts = content.split(b"\0") if b"\0" in content else content.splitlines()
    return [os.fsdecode(part) for part in parts if part.strip()]


def find_recordings(
    arguments: Sequence[str], listed: Sequence[str] = ()
) -> tuple[list[Source], list[Refused]]:
    """Expand what the user names into recordings, each once, in the order given.

    Folders are searched through all their folders, in sorted order, for
    :data:`~serplatform.corpora.audio.AUDIO_SUFFIXES`; links to folders are not followed. A file
    that is named itself may be called anything: whether it is audio is seen when it is read.

    Args:
        arguments: files, folders, and :data:`STDIN` where ``listed`` belongs.
        listed: paths read from standard input.

    Returns:
        Recordings, and folders that hold none or cannot be read.
    """
    found: dict[str, Source] = {}
    refused: list[Refused] = []
    for argument in arguments:
        for given in listed if argument == STDIN else (argument,):
            path = Path(given)
            # a name that is too long, or whose folder is closed, is refused when it is read
            paths = _inside(path, refused) if os.path.isdir(path) else [path]
            for file in paths:
                found.setdefault(os.path.realpath(file), Source(path=file, name=printable(file)))
    return list(found.values()), refused


def _inside(folder: Path, refused: list[Refused]) -> list[Path]:
    """Audio files below a folder."""
    faults: list[Refused] = []

    def unreadable(error: OSError) -> None:
        name = printable(error.filename or folder)
        faults.append(Refused(name=name, reason=f"cannot be read ({error.strerror})"))

    files = []
    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        files += [Path(parent, n) for n in sorted(names) if _suffix(n) in AUDIO_SUFFIXES]
    if not files and not faults:
        known = ", ".join(sorted(AUDIO_SUFFIXES))
        faults.append(
            Refused(name=printable(folder), reason=f"no audio file in this folder ({known})")
        )
    refused.extend(faults)
    return files


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
