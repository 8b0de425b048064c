"""Find the alignment file of an utterance, and read text in the encodings that occur."""

from __future__ import annotations

import codecs
from pathlib import Path

from serplatform.corpora.base import Utterance


class FileIndex:
    """The alignment files under a directory, found by utterance id or by audio name.

    Args:
        directory: searched with all its sub-folders, once.
        suffixes: of the files, lower case, with the dot.
    """

    def __init__(self, directory: Path, suffixes: tuple[str, ...]) -> None:
        self.directory = directory
        self._files: dict[tuple[str, str], list[Path]] = {}
        for path in sorted(directory.rglob("*")):
            if path.suffix.lower() in suffixes and not path.name.startswith("."):
                self._files.setdefault((path.stem, path.suffix.lower()), []).append(path)

    def __len__(self) -> int:
        return sum(len(paths) for paths in self._files.values())

    def find(self, utterance: Utterance, suffix: str) -> Path | None:
        """The file of an utterance: named by its id, else by its audio file.

        Where several sub-folders hold that name, the one in a folder of the same name as
        the audio's folder; None where that decides nothing.
        """
        for stem in dict.fromkeys((utterance.utterance_id, utterance.path.stem)):
            paths = self._files.get((Path(stem).name, suffix), [])
            if len(paths) > 1:
                paths = [p for p in paths if p.parent.name == utterance.path.parent.name]
            if len(paths) == 1:
                return paths[0]
        return None


def decode_text(content: bytes) -> tuple[str, str]:
    """Decode a text file of unknown encoding.

    Args:
        content: its bytes.

    Returns:
        The text without a byte order mark, and the encoding: UTF-8, UTF-16 (with a byte
        order mark, or seen by its zero bytes), else Latin-1, which reads any byte.

    Example:
        >>> decode_text("déjà".encode("utf-16")), decode_text("déjà".encode("latin-1"))
        (('déjà', 'utf-16'), ('déjà', 'latin-1'))
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace"), "utf-16"
    head = content[:200]
    if head.count(0) > len(head) // 4:
        encoding = "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
        return content.decode(encoding, errors="replace"), encoding
    try:
        return content.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "latin-1"
