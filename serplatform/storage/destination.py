"""Where a command may write: one rule for every ``--out``, checked before anything is computed.

A directory must be new, empty, or hold what the same command wrote before; so other people's
files are never overwritten or removed.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import tempfile
from collections.abc import Collection
from pathlib import Path

from serplatform.artifacts.files import whole_name
from serplatform.errors import BadInputError, SerplatformError
from serplatform.storage.location import Location, parse
from serplatform.storage.remote import remote

#: bytes of a name; the name of the half-written file is longer
_LONGEST_NAME = 230

#: errors that are not the user's
_MACHINE_ERRORS = {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What a command writes into a directory.

    Attributes:
        name: as it stands in a sentence.
        marker: the file that identifies such a directory; empty: it has none.
        left: pattern of the names that a command leaves if it is killed before it writes the
            marker.
        sign: one of these names; without it, the others count as other people's files.
    """

    name: str
    marker: str = ""
    left: str = ""
    sign: str = ""

    def strangers(self, names: Collection[str]) -> list[str]:
        """Names that are not of this kind, where the marker is missing or not ours."""
        known = self.left if self.sign in {*names, ""} else ""
        return sorted(
            name
            for name in names
            if name == self.marker or not re.fullmatch(known, whole_name(name))
        )


#: files that mark a working copy of a place on object storage
_COPY = r"|\.published|\.origin\.json"
#: folder of a dataset that is not whole yet
UNFINISHED = ".partial"

DATASET = Kind(
    name="a dataset",
    marker="dataset.json",
    left=r"\.partial|[\w.-]+-\d{5}\.arrow|(utterances|alignment)\.parquet|(rejected|unaligned)\.csv"
    r"|dataset\.json|audio",
    sign=UNFINISHED,
)
RUN = Kind(
    name="a run",
    marker="run.json",
    left=r"\.lock|(run|folds)\.json|study\.journal(\.lock)?|lease|plugins" + _COPY,
)
ENSEMBLE = Kind(
    name="an ensemble",
    marker="ensemble.json",
    left=r"posteriors\.parquet|ensemble\.json|plugins" + _COPY,
)
BUNDLE = Kind(name="a bundle", marker="bundle.json")
#: a folder that must not exist yet, or be empty
NEW = Kind(name="this command")


def check_directory(out: str | Path, kind: Kind, option: str = "--out") -> Path | Location:
    """Check that a directory can be written to, and holds nothing but what ``kind`` describes.

    ``out`` is a path, which need not exist, or a URI, as the user wrote it with ``option``.
    Returns the place, a ``~`` in front expanded.

    Raises:
        BadInputError: it is empty, the current or home directory or a parent of them, a file,
            a link to nothing, cannot be written, or holds something else.
        SerplatformError: the storage cannot be read, the disk is full or may not be written.
    """
    place = _checked_place(out, option)
    if isinstance(place, Location):
        remote(place).check()
        names = {key.partition("/")[0] for key in remote(place).list()}
        kind = dataclasses.replace(kind, sign="")
    else:
        if place.exists() and not place.is_dir():
            raise BadInputError(f"{option} {out}: is a file; give a directory, new or empty")
        names = set(os.listdir(place)) if place.exists() else set()
    for other in (DATASET, RUN, ENSEMBLE, BUNDLE):
        if other.marker in names and kind != NEW and other.marker != kind.marker:
            raise BadInputError(
                f"{option} {out}: holds {other.name} ({other.marker}); give another directory"
            )
    own = kind.marker in names and (isinstance(place, Location) or _is_ours(place / kind.marker))
    if isinstance(place, Path) and not own:
        _refuse_common(place, out, option)
    if strangers := [] if own else kind.strangers(names):
        shown = ", ".join(strangers[:3]) + ", …" * (len(strangers) > 3)
        raise BadInputError(
            f"{option} {out}: is not empty and holds what is not of {kind.name} ({shown}); give a "
            "new or an empty directory"
        )
    if isinstance(place, Path) and not (own and kind == DATASET):  # else perhaps nothing is to do
        _try_to_write(place, out, option)
    return place


def _is_ours(marker: Path) -> bool:
    """Whether a file is one of ours or empty; other programs write a ``dataset.json`` too."""
    content = marker.read_bytes() if marker.is_file() else b"?"
    return not content or b'"schema_version"' in content


def check_file(out: str | Path, option: str = "--out", *, what: str = "text") -> Path | Location:
    """Check that a file can be written.

    ``out`` is a path or a URI, as the user wrote it with ``option``; a file that exists already
    must be of a kind of :data:`STARTS`. Returns the place, a ``~`` in front expanded.

    Raises:
        BadInputError: it is empty, a directory, no plain file, a link to nothing, cannot be
            written, or is a file of another kind.
    """
    place = _checked_place(out, option)
    if isinstance(place, Location):
        return place
    if place.is_dir() or str(out).endswith("/"):
        raise BadInputError(f"{option} {out}: is a directory; give a file")
    if _SYSTEM.match(os.path.abspath(place)) or (place.exists() and not place.is_file()):
        raise BadInputError(f"{option} {out}: is no plain file; give another")
    if place.exists():
        with place.open("rb") as stream:
            start = stream.read(1024)
        wanted = STARTS[what]
        if start and (not start.lower().startswith(wanted) if wanted else b"\0" in start):
            raise BadInputError(
                f"{option} {out}: is a file already, and not {what}; give another name"
            )
    _try_to_write(place.parent, out, option)
    return place


#: where there are no plain files
_SYSTEM = re.compile(r"/(dev(?!/shm)|proc|sys)/")
#: kind of a file → how it begins, in lower case; text holds no zero byte
STARTS = {
    "text": b"",
    "an HTML page": b"<!doctype html",
    "a SQLite database": b"sqlite format 3\0",
}


def _checked_place(out: str | Path, option: str) -> Path | Location:
    """A place whose name is valid, and whose path is not blocked by a file."""
    text = str(out)
    if not text.strip():
        raise BadInputError(f"{option} is empty; give a name, e.g. runs/first")
    variable = re.search(r"\$\{?([A-Za-z_]\w*)", text)
    if variable and variable[1] in os.environ:
        raise BadInputError(
            f"{option} {text}: the shell has not replaced ${variable[1]}; write it without single "
            "quotes"
        )
    if "\0" in text:
        raise BadInputError(f"{option} {text!r}: holds a zero byte, which no name can")
    place = parse(out)
    if isinstance(place, Location):
        return place
    whole = place.absolute()
    problem = next(
        filter(None, (_problem(part) for part in (*reversed(whole.parents), whole))), None
    )
    if problem is not None:
        raise BadInputError(f"{option} {out}: {problem}; give another place")
    return place


def _problem(part: Path) -> str | None:
    """What is wrong with one part of a path; None where nothing is."""
    if len(os.fsencode(part.name)) > _LONGEST_NAME:
        return f"{part.name[:20]}… is too long for a name"
    try:
        part.stat()
    except FileNotFoundError:
        return f"{part} is a link to nothing ({os.readlink(part)})" if part.is_symlink() else None
    except NotADirectoryError:
        return f"{part.parent} is a file"
    except OSError as error:
        return f"{part} cannot be used ({error.strerror})"
    return None


def _refuse_common(path: Path, out: str | Path, option: str) -> None:
    """Refuse the directories that everyone's files lie in."""
    place = Path(os.path.realpath(path))
    home = os.path.realpath(os.path.expanduser("~"))
    for name, common in (("current", os.path.realpath(os.curdir)), ("home", home)):
        if Path(common).is_relative_to(place):
            which = f"the {name} directory" if Path(common) == place else f"above the {name} one"
            raise BadInputError(
                f"{option} {out}: is {which}; give a new directory of its own, e.g. "
                f"{path / 'first'}"
            )


def _try_to_write(folder: Path, out: str | Path, option: str) -> None:
    """Check that something can be created in the nearest folder that exists."""
    there = next(part for part in (folder, *folder.absolute().parents) if part.exists())
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".serplatform-", dir=there))
    except OSError as error:
        wrong = SerplatformError if error.errno in _MACHINE_ERRORS else BadInputError
        raise wrong(
            f"{option} {out}: cannot be made in {there.absolute()} ({error.strerror}); give "
            "another place"
        ) from None
