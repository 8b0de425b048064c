"""Fetch a corpus's archive: resumable, checked, and unpacked without leaving its folder."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import stat
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from serplatform.corpora.base import Archive
from serplatform.errors import BadInputError, SerplatformError
from serplatform.storage.destination import Kind, check_directory
from serplatform.storage.location import Location

_BLOCK = 1 << 20  # bytes
_ATTEMPTS = 4
_TIMEOUT = 60.0  # seconds without an answer
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)

#: called with the bytes that are there and the bytes expected
Progress = Callable[[int, int], None]


def archive_url(archive: Archive, url: str | None = None) -> str:
    """The address to fetch: the one given, the environment's, or the archive's own."""
    mirror = os.environ.get(archive.variable)
    chosen = url or mirror or archive.url
    if urllib.parse.urlparse(chosen).scheme not in ("http", "https"):
        given = "--url " if url else f"{archive.variable}="
        raise BadInputError(f"{given}'{chosen}' is not an http:// or https:// address")
    return chosen


def corpus_folder(archive: Archive, folder: str) -> Path:
    """See that an archive can be unpacked into a folder, which holds nothing else."""
    name = re.escape(archive.file)
    kind = Kind(name="this corpus", left=rf"{name}(\.partial)?|{archive.folders}")
    place = check_directory(folder, kind, "DIR")
    if isinstance(place, Location):
        raise BadInputError(f"DIR {place}: a corpus is unpacked into a directory of this machine")
    return place


def fetch(
    archive: Archive,
    folder: Path,
    *,
    url: str | None = None,
    progress: Progress | None = None,
    pause: float = 2.0,
) -> Path:
    """Download an archive, or resume a download that was stopped, and verify its checksum.

    What is not whole yet ends in ``.partial``. ``progress`` is called as bytes arrive; ``pause``:
    seconds before the second attempt, doubled before each further one.

    Raises:
        BadInputError: the address is wrong.
        SerplatformError: the server fails repeatedly, or the checksum is another.
    """
    address = archive_url(archive, url)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / archive.file
    if target.is_file() and _md5(target) == archive.md5:
        return target
    partial = folder / f"{archive.file}.partial"
    for attempt in range(_ATTEMPTS):
        try:
            _resume(address, partial, archive.num_bytes, progress)
            break
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500:
                raise SerplatformError(
                    f"{address}: the server answers {error.code} ({error.reason}); another "
                    f"address can be given by --url or {archive.variable}"
                ) from None
            failure: Exception = error
        except _NETWORK_ERRORS as error:
            failure = error
        if attempt == _ATTEMPTS - 1:
            raise SerplatformError(
                f"{address}: cannot be fetched ({failure}); what has arrived is kept, the same "
                "command resumes it"
            ) from None
        time.sleep(pause * 2**attempt)
    found = _md5(partial)
    if found != archive.md5:
        partial.unlink()
        raise SerplatformError(
            f"{address}: the file's MD5 checksum is {found}, not {archive.md5}; it was removed: "
            "give the command again, or another address by --url"
        )
    partial.replace(target)
    return target


def _resume(address: str, partial: Path, expected: int, progress: Progress | None) -> None:
    """Append what is missing to ``partial``."""
    have = partial.stat().st_size if partial.exists() else 0
    if have >= expected:
        return
    request = urllib.request.Request(address)  # noqa: S310 - the scheme is checked
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
        resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if resumed else 0
        with partial.open("ab" if resumed else "wb") as stream:
            while block := answer.read(_BLOCK):
                stream.write(block)
                have += len(block)
                if progress is not None:
                    progress(have, expected)
    if have < expected:
        raise ConnectionError(f"the connection ended after {have} of {expected} bytes")


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip archive, and return its number of files; whole files are left as they are.

    Nothing is written if any member would leave the folder, or is a link.

    Raises:
        SerplatformError: the archive is damaged, unsafe, or too large for the disk.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            members = [member for member in content.infolist() if not member.is_dir()]
            errors = [reason for member in members if (reason := _reason_against(member))]
            if errors:
                raise SerplatformError(f"{archive}: not unpacked, {errors[0]}")
            folder.mkdir(parents=True, exist_ok=True)
            needed = sum(member.file_size for member in members)
            if needed > shutil.disk_usage(folder).free:
                raise SerplatformError(
                    f"{folder}: {needed / 1e6:.0f} MB are needed, more than free"
                )
            for member in members:
                target = folder / member.filename
                if target.is_file() and target.stat().st_size == member.file_size:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(f".{target.name}.partial")
                with content.open(member) as source, temporary.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _BLOCK)
                temporary.replace(target)
            return len(members)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SerplatformError(f"{archive}: is damaged ({error}); remove it, fetch again") from None


def _reason_against(member: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return f"'{member.filename}' would leave the folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return f"'{member.filename}' is a link"
    return None
