"""Find the alignment file of an utterance, and read text in the encodings that occur."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

from serplatform.alignment.base import AlignmentFailure
from serplatform.corpora.base import Utterance


class FileIndex:
    """Alignment files, found by utterance id or by audio name.

    Names are compared after Unicode composition, suffixes without regard to case.

    Args:
        directory: searched with all its sub-folders; None where each utterance's files lie in
            the one folder that ``folder_of`` names.
        kind: of the files, as a failure calls them.
        folder_of: the folder of an audio file's alignments.
    """

    def __init__(
        self,
        directory: Path | None,
        kind: str,
        folder_of: Callable[[Path], Path] = lambda p: p.parent,
    ) -> None:
        self.directory = directory
        self.kind = kind
        self._folder_of = folder_of
        self._folders: dict[Path, dict[tuple[str, str], list[Path]]] = {}

    def forget(self) -> None:
        """Look again at what files there are."""
        self._folders.clear()

    def find(self, utterance: Utterance, suffix: str) -> Path | AlignmentFailure:
        """The file of an utterance: named by its id, else by its audio file.

        Where several sub-folders hold that name, it is the one whose path ends most like that
        of the audio's folder, else the one in a folder called after the speaker.

        Args:
            utterance: whose file.
            suffix: in lower case, with the dot.

        Returns:
            The path, or why there is none.
        """
        folder = self.directory or self._folder_of(utterance.path)
        if folder not in self._folders:
            self._folders[folder] = self._list(folder)
        for stem in dict.fromkeys((Path(utterance.utterance_id).name, utterance.path.stem)):
            paths = self._folders[folder].get((composed(stem), suffix), [])
            for fit in (
                lambda p: _common_tail(p.parent, utterance.path.parent),
                lambda p: composed(p.parent.name) == composed(utterance.speaker_id),
                lambda p: p.stem == stem,  # noqa: B023
            ):
                best = max(map(fit, paths), default=0)
                paths = [path for path in paths if fit(path) == best]
            if len(paths) > 1:
                listed = ", ".join(str(path.relative_to(folder)) for path in paths[:3])
                reason = f"several {self.kind} files of that name"
                return AlignmentFailure(reason, listed)
            if paths:
                return paths[0]
        return AlignmentFailure(f"no {self.kind} file", utterance.utterance_id)

    def paths(self, utterance: Utterance, *suffixes: str) -> list[Path]:
        """The files that an utterance has, of some suffixes."""
        found = (self.find(utterance, suffix) for suffix in suffixes)
        return [path for path in found if isinstance(path, Path)]

    def _list(self, folder: Path) -> dict[tuple[str, str], list[Path]]:
        found: dict[tuple[str, str], list[Path]] = {}
        for path in sorted(folder.glob("*") if self.directory is None else folder.rglob("*")):
            if not path.name.startswith("."):
                found.setdefault((composed(path.stem), path.suffix.lower()), []).append(path)
        return found


def composed(name: str) -> str:
    """A name with its letters and marks composed (NFC), as most systems write it."""
    return unicodedata.normalize("NFC", name)


def _common_tail(one: Path, other: Path) -> int:
    """How many folders, counted from the last, have the same names."""
    pairs = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: composed(pair[0]) == composed(pair[1]), pairs))


def decode_text(content: bytes) -> str:
    """Decode a text file of unknown encoding.

    Args:
        content: its bytes.

    Returns:
        The text without a byte order mark. The encoding is UTF-8, UTF-16 (with a byte order
        mark, or seen by its zero bytes), else Windows-1252, else Latin-1, which reads any byte.

    Example:
        >>> decode_text("déjà".encode("utf-16")), decode_text("it’s déjà".encode("cp1252"))
        ('déjà', 'it’s déjà')
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    head = content[:200]
    if head.count(0) > len(head) // 4:
        encoding = "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
        return content.decode(encoding, errors="replace")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")
