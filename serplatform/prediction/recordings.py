"""Which recordings a user means: files, folders, and lists of paths.

A recording is named as it was given; nothing that cannot be used disappears without a reason.
"""

from __future__ import annotations

import codecs
import dataclasses
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

#: stands for a list of paths on standard input
STDIN = "-"
#: what names of files end with that are passed over in a folder; all others are tried
NO_AUDIO = frozenset(
    re.findall(
        r"\.\w+",
        ".csv .tsv .txt .json .jsonl .yaml .yml .toml .xml .md .rst .html .htm .css .pdf "
        ".doc .docx .odt .rtf .xls .xlsx .ods .ppt .pptx .textgrid .lab .eaf .wdseg .phseg "
        ".trs .srt .vtt .py .ipynb .sh .m .r .log .ini .cfg .db .lnk .jpg .jpeg .png .gif "
        ".svg .bmp .tif .tiff .zip .gz .tar .tgz .bz2 .xz .7z .npy .npz .pkl .pt .parquet "
        ".arrow .feather .safetensors .h5 .hdf5 .md5 .sha256 .bib .tex",
    )
)
HIDDEN = "hidden"
#: what else is passed over in folders, in words
LINKED, AGAIN = "link(s) to folders, not followed", "further name(s) of a file"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordingFile:
    """One recording: its file, and its printable name in results."""

    path: Path
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnusableRecording:
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
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        content = content.decode("utf-16", "replace").encode()
    content = content.removeprefix(codecs.BOM_UTF8)
    parts = content.split(b"\0") if b"\0" in content else content.splitlines()
    return [os.fsdecode(part) for part in parts if part.strip()]


def find_recordings(
    arguments: Sequence[str], listed: Sequence[str] = (), passed_over: Counter[str] | None = None
) -> tuple[list[RecordingFile], list[UnusableRecording]]:
    """Expand what the user names into recordings, each once, in the order given.

    Folders are searched through all their folders, in sorted order; links to folders are not
    followed. Every file is taken that is not hidden and not named like something else: whether
    it is audio is seen when it is read. A file that is named itself may be called anything.

    ``listed`` are the paths that stand for :data:`STDIN`. ``passed_over`` is filled in with what
    was passed over in folders, by kind or by the ending of names. Returned are recordings, and
    folders that hold none or cannot be read.
    """
    passed_over = Counter() if passed_over is None else passed_over
    found: dict[str, RecordingFile] = {}
    refused: list[UnusableRecording] = []
    for argument in arguments:
        for given in listed if argument == STDIN else (argument,):
            path = _existing(given)
            # a name that is too long, or whose folder is closed, is refused when it is read
            if os.path.isdir(path):
                sources = [
                    RecordingFile(path=file, name=printable(file))
                    for file in _inside(path, refused, passed_over)
                ]
            else:
                sources = [RecordingFile(path=path, name=printable(Path(given)))]
            for source in sources:
                first = found.setdefault(os.path.realpath(source.path), source)
                passed_over[AGAIN] += first.name != source.name
    return list(found.values()), refused


def _existing(given: str) -> Path:
    """The path meant: as given, or without quotes, or with / for \\, whichever exists."""
    bare = given[1:-1] if len(given) > 2 and given[0] == given[-1] == '"' else given
    for path in (given, bare, bare.replace("\\", "/")):
        if os.path.lexists(path):
            return Path(path)
    return Path(given)


def _inside(
    folder: Path, refused: list[UnusableRecording], passed_over: Counter[str]
) -> list[Path]:
    """Files below a folder that may be audio."""
    errors: list[UnusableRecording] = []
    others: Counter[str] = Counter()

    def unreadable(error: OSError) -> None:
        name = printable(error.filename or folder)
        errors.append(UnusableRecording(name=name, reason=f"cannot be read ({error.strerror})"))

    files = []
    for parent, folders, names in os.walk(folder, onerror=unreadable):
        others[HIDDEN] += sum(map(_is_hidden, [*folders, *names]))
        others[LINKED] += sum(os.path.islink(Path(parent, n)) for n in folders if not _is_hidden(n))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in sorted(name for name in names if not _is_hidden(name)):
            suffix = os.path.splitext(name)[1].lower()
            if suffix in NO_AUDIO:
                others[suffix] += 1
            else:
                files.append(Path(parent, name))
    if not files and not errors:
        told = passed_over_text(others)
        errors.append(
            UnusableRecording(
                name=printable(folder),
                reason="no audio file in this folder" + (told and f" ({told})"),
            )
        )
    refused.extend(errors)
    passed_over.update(others)
    return files


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def passed_over_text(passed_over: Counter[str]) -> str:
    """What was passed over, in words; empty where nothing was.

    Example:
        >>> passed_over_text(Counter({".csv": 2, HIDDEN: 3, ".json": 1}))
        '3 hidden, 3 not audio: 2 .csv, 1 .json'
    """
    kinds = (HIDDEN, LINKED, AGAIN)
    others = [(name, n) for name, n in passed_over.most_common() if n and name not in kinds]
    parts = [f"{passed_over[kind]} {kind}" for kind in kinds if passed_over[kind]]
    if others:
        listed = ", ".join(f"{number} {name}" for name, number in others)
        parts.append(f"{sum(number for _, number in others)} not audio: {listed}")
    return ", ".join(parts)
