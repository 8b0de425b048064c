"""A path that may hold a corpus: what lies below it, listed once for all who look at it."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from serplatform.corpora.audio_file import AUDIO_SUFFIXES

_MOST_FILES = 1_000_000


class Place:
    """A file or directory, and the files below it by their relative paths, sorted.

    Hidden files and folders (``._01.wav``, ``.git``) are left out; links to folders are not
    followed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_directory = path.is_dir()

    @functools.cached_property
    def files(self) -> tuple[PurePosixPath, ...]:
        """All files below the directory; the file itself where it is one."""
        if not self.is_directory:
            return (PurePosixPath(self.path.name),)
        found = []
        for file in self._walk():
            found.append(file)
            if len(found) == _MOST_FILES:
                break
        return tuple(sorted(found))

    @functools.cached_property
    def audio(self) -> tuple[PurePosixPath, ...]:
        """The audio files among them, by their endings."""
        return tuple(file for file in self.files if file.suffix.lower() in AUDIO_SUFFIXES)

    @functools.cached_property
    def root(self) -> Path:
        """The directory that relative paths start from."""
        return self.path if self.is_directory else self.path.parent

    def top(self, *endings: str) -> list[Path]:
        """Files with one of these endings: the path itself, or what lies directly in it."""
        return [
            self.root / file
            for file in self.files
            if len(file.parts) == 1 and file.suffix.lower() in endings
        ]

    def has(self, name: str) -> bool:
        """Whether the path is, or directly holds, a file of this name."""
        return PurePosixPath(name) in self._names

    @functools.cached_property
    def _names(self) -> frozenset[PurePosixPath]:
        return frozenset(self.files)

    def _walk(self) -> Iterator[PurePosixPath]:
        for folder, folders, names in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            relative = PurePosixPath(Path(folder).relative_to(self.path).as_posix())
            yield from (relative / name for name in names if not name.startswith("."))
