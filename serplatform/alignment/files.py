"""Alignments in files: find the file of an utterance, and read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import ClassVar, TypeVar

from serplatform.alignment.base import Aligner, AlignmentError
from serplatform.corpora.base import Utterance
from serplatform.corpora.text_encoding import composed, decode_text
from serplatform.errors import BadInputError

_Content = TypeVar("_Content")


class FileAligner(Aligner):
    """Reads a file per utterance, which is named by the utterance's id or by its audio file.

    Names are compared after Unicode composition, suffixes without regard to case. ``directory`` is
    searched with all its sub-folders; None: each utterance's files lie in :meth:`folder_of`.
    """

    reads_files: ClassVar[bool] = True
    #: of the files, as a failure calls them
    kind: ClassVar[str]
    #: in lower case, with the dot; the first is of the file that is needed
    suffixes: ClassVar[tuple[str, ...]]
    #: error of a corpus without any; its fields are place, count, example and reason
    none_found: ClassVar[str]

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self._folders: dict[Path, dict[tuple[str, str], list[Path]]] = {}

    def folder_of(self, audio: Path) -> Path:
        """The folder of an audio file's alignments, where no directory is given."""
        return audio.parent

    def check(self, utterances: Sequence[Utterance]) -> None:
        """Refuse a corpus in which no utterance has a file."""
        self._folders.clear()
        if not utterances or any(self.paths(u, self.suffixes[0]) for u in utterances):
            return
        first, folder = utterances[0], self.directory
        try:
            self.find(first, self.suffixes[0])
        except AlignmentError as error:
            raise BadInputError(
                self.none_found.format(
                    place="beside the audio" if folder is None else f"under {folder}",
                    count=len(utterances),
                    example=first.utterance_id,
                    reason=error.reason,
                )
            ) from None

    def files(self, utterances: Sequence[Utterance]) -> tuple[Path, ...]:
        wanted = ((utterance, suffix) for utterance in utterances for suffix in self.suffixes)
        return tuple(path for each in wanted for path in self.paths(*each))

    def find(self, utterance: Utterance, suffix: str) -> Path:
        """The file of an utterance: named by its id, else by its audio file.

        Of several, it is the one whose path ends most like that of the audio's folder, else the one
        in a folder called after the speaker. AlignmentError: there is none, or several fit equally.
        """
        folder = self.directory or self.folder_of(utterance.path)
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
                raise AlignmentError(f"several {self.kind} files of that name", listed)
            if paths:
                return paths[0]
        raise AlignmentError(f"no {self.kind} file", utterance.utterance_id)

    def paths(self, utterance: Utterance, suffix: str) -> list[Path]:
        """The file that an utterance has, if it has one."""
        try:
            return [self.find(utterance, suffix)]
        except AlignmentError:
            return []

    def _list(self, folder: Path) -> dict[tuple[str, str], list[Path]]:
        found: dict[tuple[str, str], list[Path]] = {}
        for path in sorted(folder.glob("*") if self.directory is None else folder.rglob("*")):
            if not path.name.startswith("."):
                found.setdefault((composed(path.stem), path.suffix.lower()), []).append(path)
        return found


def _common_tail(one: Path, other: Path) -> int:
    """How many folders, counted from the last, have the same names."""
    pairs = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: composed(pair[0]) == composed(pair[1]), pairs))


def parse_file(path: Path, parse: Callable[[str], _Content], damaged: str) -> _Content:
    """What ``parse`` makes of a file's text; an AlignmentError where it raises ValueError."""
    try:
        return parse(decode_text(path.read_bytes())[0])
    except (ValueError, OSError) as error:
        raise AlignmentError(damaged, str(error)) from None
