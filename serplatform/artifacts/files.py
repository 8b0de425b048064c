"""Atomic writing, checked reading and careful removal of the files that stages exchange.

Nothing here is a pickle. Every file is written to a temporary name beside its target, flushed
to disk and renamed, so that a half-written file is never read as whole. Only files whose names
are in our layouts are removed: other files beside them stay.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import glob
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from serplatform.errors import ArtifactError

SCHEMA_VERSION = 1


def partial_path(target: Path) -> Path:
    """The name under which a file is written before it is renamed to ``target``."""
    return target.with_name(f".{target.name}.partial")


@contextlib.contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on success flush it and rename it over it.

    On an exception the temporary file is removed and ``target`` is left as it was. What a killed
    process leaves has the name of :func:`partial_path`, and the next one writes over it.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, handle = _open_partial(target)
    try:
        yield temporary
        os.fsync(handle)
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # e.g. of a full disk
            error.filename = str(target)
        raise
    finally:
        os.close(handle)


def _open_partial(target: Path) -> tuple[Path, int]:
    """A file to write, locked; of a random name while another process writes the target too."""
    path = partial_path(target)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o666)
    with contextlib.suppress(OSError):  # taken, or renamed by another just now
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.lstat()):
            return path, handle
    os.close(handle)
    path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    return path, os.open(path, flags | os.O_EXCL, 0o666)


@contextlib.contextmanager
def unfinished_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside ``target``, to be renamed to it when it is whole; else removed.

    Those that killed processes left there are removed; who makes one holds a lock on it.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.????????.partial"):
        with contextlib.suppress(OSError), _locked(left):
            shutil.rmtree(left)
    folder = tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    try:
        with _locked(folder):
            yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: str | Path) -> Iterator[None]:
    """Hold a lock on a folder; an OSError where another process does."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def whole_name(name: str) -> str:
    """The name that a half-written file gets when it is whole; others as they are.

    Example:
        >>> whole_name(".run.json.partial"), whole_name("run.json")
        ('run.json', 'run.json')
    """
    half = re.fullmatch(r"\.(.+?)(?:\.\w{8})?\.partial", name)
    return half[1] if half else name


def remove_own(folder: Path, own: re.Pattern[str]) -> None:
    """Remove the files of ours below a folder, half-written ones too, and folders then empty.

    Args:
        folder: it goes too when nothing else is in it; a link is left.
        own: matches the relative paths of the files and folders that we write there.
    """
    if folder.is_symlink():
        return
    for parent, _, names in os.walk(folder, topdown=False):
        inner = Path(parent).relative_to(folder)
        for name in names:
            if own.fullmatch((inner / whole_name(name)).as_posix()):
                with contextlib.suppress(OSError):  # a file that stays does no harm
                    Path(parent, name).unlink()
        if inner == Path() or own.fullmatch(inner.as_posix()):
            with contextlib.suppress(OSError):  # other files are in it
                os.rmdir(parent)


def write_bytes(target: str | Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: str | Path, text: str) -> None:
    """Write a UTF-8 file atomically; bytes of file names that are not UTF-8 become ``\\udcff``.

    In JSON that is what stands for them, and what is read from it.
    """
    write_bytes(target, text.encode("utf-8", "backslashreplace"))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """The text of a CSV file with these rows."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


#: key of a JSON object's own checksum
_CHECKSUM = "checksum"


def json_bytes(value: Any, *, checksum: bool = False) -> bytes:
    """A JSON file's content; NaN and infinity are refused.

    Bytes of file names that are not UTF-8 become ``\\udcff``, which reads back as they were.

    Args:
        value: what it says.
        checksum: put the SHA-256 of a dictionary's content into it, which :func:`read_json`
            compares and leaves out: a changed digit is still JSON.
    """
    if checksum:
        value = {**value, _CHECKSUM: _content_sha256(value)}
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def write_json(target: str | Path, value: Any, *, checksum: bool = False) -> None:
    """Write :func:`json_bytes` atomically."""
    write_bytes(target, json_bytes(value, checksum=checksum))


def read_json(path: str | Path, what: str = "file") -> Any:
    """Read a JSON file of ours.

    Raises:
        ArtifactError: it is missing, cannot be read, is not JSON, or not what its checksum says.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such {what}") from None
    except OSError as error:
        raise ArtifactError(f"{path}: the {what} cannot be read ({error.strerror})") from None
    return parse_json(content, path, what)


def parse_json(content: bytes, where: str | Path, what: str = "file") -> Any:
    """The value of a JSON file's content; ``where`` names it in messages.

    Raises:
        ArtifactError: it is not JSON, or not what its checksum says.
    """
    try:
        text = content.decode()
        value = json.loads(text, parse_constant=_refuse_constant)
        if "\\u" in text:  # half of a character can be written so, and be no text
            json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
        recorded = value.pop(_CHECKSUM, None) if isinstance(value, dict) else None
        found = None if recorded is None else _content_sha256(value)
    except (ValueError, RecursionError) as error:  # not text, not JSON, or numbers without end
        raise ArtifactError(f"{where}: the {what} is damaged ({error}); write it again") from None
    if recorded != found:
        raise ArtifactError(
            f"{where}: the {what} is damaged or was edited (its content is not what its "
            "checksum says); write it again"
        )
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _content_sha256(value: dict[str, object]) -> str:
    """SHA-256 (hex) of a JSON object's content, however it is spaced and ordered."""
    plain = json.loads(json.dumps(value, allow_nan=False))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_parquet(target: str | Path, table: pa.Table) -> None:
    """Write a Parquet file atomically, with checksummed pages."""
    with atomic_path(target) as temporary:
        fill_parquet(temporary, table)


def fill_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file, with checksummed pages, to a path of :func:`atomic_path`."""
    with path.open("wb") as stream:  # Arrow itself opens no path that is not UTF-8
        pq.write_table(table, stream, compression="zstd", write_page_checksum=True)


def read_parquet(path: str | Path, what: str = "table") -> pa.Table:
    """Read a Parquet file of ours, verifying its page checksums.

    Raises:
        ArtifactError: it is missing, truncated or altered.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            # `pq.read_table` lets go of the stream in threads of its own, after it has returned:
            # a program that ends just then is aborted
            file = pq.ParquetFile(stream, page_checksum_verification=True)
            table = file.read(use_threads=False)
        table.validate(full=True)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such {what}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path}: the {what} is damaged ({error}); write it again") from None
    return table


def file_sha256(path: str | Path) -> str:
    """SHA-256 (hex) of a file's contents, read in blocks."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
