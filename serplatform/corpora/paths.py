"""Paths as tables write them, and the files that they mean."""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import Path, PurePosixPath

from serplatform.corpora.audio_file import AUDIO_SUFFIXES
from serplatform.corpora.embedded import EMBEDDING
from serplatform.corpora.text_encoding import composed

_OTHERS = """3gp aac aif aifc aiff amr au avi caf m4a mkv mov mp2 mp4 mpg nist oga opus pcm raw rf64
snd sph voc w64 wave weba webm wma"""
#: what a recording's name may end with, of sound and of video
AUDIO_ENDINGS = AUDIO_SUFFIXES | {f".{ending}" for ending in _OTHERS.split()}
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_ARCHIVE = re.compile(r"(zip|tar|gzip|rar|7z)://|.*::", re.IGNORECASE)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class RowError(Exception):
    """A row of a table cannot be an utterance; the message says why and what to do."""


def without_ending(path: PurePosixPath | str) -> str:
    """A path without the ending of an audio file, and with every other dot."""
    stem, ending = os.path.splitext(path)
    return stem if ending.lower() in AUDIO_ENDINGS else str(path)


def holds(file: Path) -> bool:
    """Whether a path is a file that can hold recordings; see ``embedded.py``."""
    return file.suffix.lower() in EMBEDDING and file.is_file()


class PathFinder:
    """Finds files below a root however their paths are written; folders are listed once.

    Names are compared after Unicode composition: macOS decomposes what it writes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, dict[str, list[str]]] = {}

    def find(self, text: str) -> tuple[Path, str]:
        """The path that a cell means, if it exists or not, and how it had to be read, else "".

        Raises:
            RowError: it can be no file here, or a file is there under nearly this name.
        """
        how = ""
        if "\0" in text:
            raise RowError("its path holds a zero byte")
        if text[:7].lower() == "file://":
            text, how = urllib.parse.unquote(urllib.parse.urlsplit(text).path), "file addresses"
        elif _ARCHIVE.match(text):
            raise RowError("lies in an archive; unpack it, and give its path")
        elif _ADDRESS.match(text):
            raise RowError("is an address on the network; fetch the file, and give its path")
        if text.startswith("~"):
            text, how = os.path.expanduser(text), "~ as the home directory"
        path = self._join(text)
        if os.path.lexists(path):
            return path, how
        if _DRIVE.match(text):
            raise RowError(
                "names a drive of another machine (Windows); give paths relative to the table"
            )
        if "\\" in text:
            how = "backslashes as slashes"
            path = self._join(text.replace("\\", "/"))
        found = path if os.path.lexists(path) else self._similar(path)
        if found is not None and found.suffix != path.suffix:
            how = "names without their ending"
        if found is None and how:
            raise RowError(f"no such file; the table's paths are read with {how}")
        return found or path, how

    def exists(self, text: str) -> bool:
        """Whether a cell means a file."""
        try:
            found = self.find(text)[0] if text else None
            return found is not None and (os.path.isfile(found) or holds(found.parent))
        except RowError:
            return False

    def _join(self, text: str) -> Path:
        return Path(os.path.normpath(os.path.join(self.root, text)))

    def _similar(self, path: Path) -> Path | None:
        """The file below the root whose name differs only in composition or lacks its ending."""
        root = Path(os.path.normpath(self.root))
        if not path.is_relative_to(root):
            return None
        here = root
        parts = path.relative_to(root).parts
        for number, part in enumerate(parts, start=1):
            names = self._names(here)
            wanted = composed(part).casefold()
            near = names.get(wanted, [])
            same = [n for n in near if composed(n) in (part, composed(part))]
            if not same and near:
                there = Path(*(here / near[0]).relative_to(root).parts)
                raise RowError(f"no such file; '{there}' is there: upper and lower case count")
            if not same and number == len(parts):
                same = [n for e in sorted(AUDIO_ENDINGS) for n in names.get(wanted + e, [])]
                if len(same) > 1:
                    raise RowError(f"may be {' or '.join(same)}; write the ending, too")
            if len(same) != 1:
                return None
            here /= same[0]
        return here

    def _names(self, folder: Path) -> dict[str, list[str]]:
        """Names in a folder by their form without case and composition."""
        key = str(folder)
        if key not in self._folders:
            listed: dict[str, list[str]] = {}
            try:
                for name in sorted(os.listdir(folder)):
                    listed.setdefault(composed(name).casefold(), []).append(name)
            except (OSError, ValueError):
                pass  # no folder: nothing is in it
            self._folders[key] = listed
        return self._folders[key]
