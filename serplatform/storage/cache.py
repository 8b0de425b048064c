"""Datasets on object storage: copied ("staged") once per node into a cache folder, mapped there.

A dataset is known by the checksum of its ``dataset.json``, which holds those of its files. It is
copied under a lock into a folder of another name, each file checked as it arrives, and the folder
is renamed when all are there: an incomplete download is never taken for a whole one, and the next
process resumes it. The datasets used least recently make room for new ones; a dataset that a
process has open stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from serplatform.artifacts.dataset import parse_dataset_description
from serplatform.artifacts.files import file_sha256, write_bytes
from serplatform.errors import ArtifactError, BadInputError
from serplatform.storage.location import Location
from serplatform.storage.remote import Remote, RemoteError, in_parallel, remote

#: bytes of staged datasets that are kept, unless SERPLATFORM_CACHE_LIMIT says otherwise
CACHE_LIMIT = 64 * 2**30

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_DESCRIPTION = "dataset.json"
#: name of a staged dataset: other names beside it are never evicted
_OURS = re.compile(r"[0-9a-f]{32}")
#: held locks of the datasets that this process uses: they keep them from being evicted
_in_use: dict[Path, contextlib.ExitStack] = {}
#: what this process has staged: for its whole life it sees the same dataset
_staged_here: dict[Location, Path] = {}


def cache_folder() -> Path:
    """Where this node keeps copies: SERPLATFORM_CACHE, or ``serplatform`` in the user's cache.

    Raises:
        BadInputError: the user's cache is not known, as there is no home directory.
    """
    return _cache_folder()[0]


def _cache_folder() -> tuple[Path, str]:
    """The folder, and the environment variable that decides it."""
    if given := os.environ.get("SERPLATFORM_CACHE", "").strip():
        return Path(os.path.expanduser(given)).absolute(), "SERPLATFORM_CACHE"
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if home.is_absolute():  # the XDG specification: relative paths are ignored
        return home / "serplatform", "XDG_CACHE_HOME"
    home = Path(os.path.expanduser("~"))
    if not home.is_absolute():
        raise BadInputError(
            "the home directory is not known, so there is no folder for copies: set the "
            "environment variable SERPLATFORM_CACHE to one"
        )
    return home / ".cache" / "serplatform", "HOME"


def unwritable_cache(path: str | Path, error: OSError) -> BadInputError:
    """What to say where a file or folder in the cache cannot be written."""
    variable = _cache_folder()[1]
    why = "" if variable == "SERPLATFORM_CACHE" else f", which lies there because of {variable},"
    return BadInputError(
        f"{path}: the cache{why} cannot be written ({error.strerror or error}); set "
        "SERPLATFORM_CACHE to a folder that can be written and has room"
    )


def cache_error(error: OSError) -> BadInputError | None:
    """The error to report where a file in the cache failed; None for files elsewhere."""
    if not isinstance(error.filename, str) or not Path(error.filename).is_absolute():
        return None
    with contextlib.suppress(BadInputError):  # there is no cache
        if Path(error.filename).is_relative_to(cache_folder()):
            return unwritable_cache(error.filename, error)
    return None


def cache_limit() -> int:
    """Bytes of staged datasets that are kept.

    Raises:
        BadInputError: SERPLATFORM_CACHE_LIMIT is not a size.

    Example:
        >>> os.environ["SERPLATFORM_CACHE_LIMIT"] = "1.5G"
        >>> cache_limit()
        1610612736
        >>> del os.environ["SERPLATFORM_CACHE_LIMIT"]
    """
    text = os.environ.get("SERPLATFORM_CACHE_LIMIT")
    if text is None:
        return CACHE_LIMIT
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise BadInputError(
            f"SERPLATFORM_CACHE_LIMIT={text}: must be a size, e.g. 500M, 64G or a number of bytes"
        )
    return int(float(found[1]) * _UNITS[found[2].upper()])


def local_dataset(place: Location | Path) -> Path:
    """A dataset's directory on this node, staged where that is needed."""
    return stage(place) if isinstance(place, Location) else place


def stage(location: Location) -> Path:
    """Bring a dataset into this node's cache, unless it is there.

    Returns its local directory, which stays for as long as this process runs.

    Raises:
        ArtifactError: there is no dataset, or a file is not the one ``dataset.json`` describes.
        RemoteError: the storage cannot be read.
        BadInputError: the cache folder cannot be written, or has too little room.
    """
    if (known := _staged_here.get(location)) is not None and (known / _DESCRIPTION).is_file():
        return known
    content = _read_description(location)
    files = listed_files(content, location)
    target = _folder_of(content, "datasets")
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _use(target):
            if not (target / _DESCRIPTION).is_file():
                with _locked(target, "download", fcntl.LOCK_EX):
                    if not (target / _DESCRIPTION).is_file():
                        _download(remote(location), content, files, target)
            (target / ".used").touch()
    except OSError as error:
        raise unwritable_cache(error.filename or folder, error) from None
    _staged_here[location] = target
    return target


def _read_description(location: Location) -> bytes:
    try:
        return remote(location).read(_DESCRIPTION)
    except RemoteError as error:
        if error.kind != "missing":
            raise
    remote(location).check()
    raise ArtifactError(
        f"{location}: holds no dataset.json, so it is not a (finished) dataset; "
        "make one with 'serplatform prepare'"
    )


def _folder_of(description: bytes, kind: str) -> Path:
    """Where the cache keeps copies of one kind of the dataset with this ``dataset.json``."""
    return cache_folder() / kind / hashlib.sha256(description).hexdigest()[:32]


def fetch_tables(place: Location | Path) -> Path:
    """A directory that holds at least a dataset's description and utterance table.

    Raises:
        ArtifactError: there is no dataset, or it is damaged.
        RemoteError: the storage cannot be read.
    """
    if not isinstance(place, Location) or place in _staged_here:
        return local_dataset(place)
    content = _read_description(place)
    staged, folder = _folder_of(content, "datasets"), _folder_of(content, "tables")
    if (staged / _DESCRIPTION).is_file():
        return staged
    if not (folder / _DESCRIPTION).is_file():
        table = "utterances.parquet"
        sha256, _ = listed_files(content, place).get(table, (None, None))
        remote(place).fetch(table, folder / table, sha256=sha256)
        write_bytes(folder / _DESCRIPTION, content)
    return folder


def adopt(folder: Path) -> None:
    """Move a dataset that was made here into the cache, as if it had been staged."""
    target = _folder_of((folder / _DESCRIPTION).read_bytes(), "datasets")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        with contextlib.suppress(OSError):  # another file system: it is staged when it is opened
            folder.rename(target)
    if target.exists():
        (target / ".used").touch()


def listed_files(content: bytes, where: Location | Path) -> dict[str, tuple[str, int | None]]:
    """Files that a ``dataset.json`` names: to checksum and size, where it says so.

    Raises:
        ArtifactError: it is damaged, or a name leads out of the dataset.
    """
    meta = parse_dataset_description(content, where)
    found: dict[str, tuple[str, int | None]] = {n: (s, None) for n, s in meta["files"].items()}
    for feature in meta["features"].values():
        found |= {shard["file"]: (shard["sha256"], shard["bytes"]) for shard in feature["shards"]}
    return found


def _download(
    source: Remote, content: bytes, files: dict[str, tuple[str, int | None]], target: Path
) -> None:
    """Copy what is not there yet, then rename the folder."""
    staging = target.with_name(f"{target.name}.staging")
    staging.mkdir(exist_ok=True)
    for old in staging.iterdir():
        if old.name not in files:
            old.unlink()  # half of a file, or not of this dataset
    missing = {
        name: sha256
        for name, (sha256, size) in files.items()
        if not _is_whole(staging / name, sha256, size)
    }
    _make_room(source, files, missing, target)
    in_parallel(
        partial(source.fetch, name, staging / name, sha256=sha256)
        for name, sha256 in missing.items()
    )
    write_bytes(staging / _DESCRIPTION, content)
    if target.exists():  # a dataset whose description is gone: not one of ours any more
        shutil.rmtree(target)
    staging.rename(target)


def _is_whole(file: Path, sha256: str, size: int | None) -> bool:
    if not file.is_file() or (size is not None and file.stat().st_size != size):
        return False
    return file_sha256(file) == sha256


def _make_room(
    source: Remote,
    files: dict[str, tuple[str, int | None]],
    missing: dict[str, str],
    target: Path,
) -> None:
    """Evict the datasets used least recently, so that a new one fits limit and disk."""
    sizes = {name: entry.size for name, entry in source.list().items()}
    absent = [name for name in files if name not in sizes]
    if absent:
        raise ArtifactError(
            f"{source.location}: the dataset is not whole; put it there again:",
            [f"{name} is missing" for name in absent],
        )
    needed = sum(sizes[name] for name in missing)
    whole = sum(sizes[name] for name in files)
    others = {
        path: sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        for path in target.parent.iterdir()
        if path.is_dir() and _OURS.fullmatch(path.name) and path != target
    }
    held = sum(others.values())
    limit = cache_limit()
    for path in sorted(others, key=_last_use):
        free = shutil.disk_usage(target.parent).free
        if held + whole <= limit and needed <= free:
            return
        if evict(path):
            held -= others[path]
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise BadInputError(
            f"{target.parent}: {source.location} needs {needed / 2**30:.2f} GiB, and "
            f"{free / 2**30:.2f} GiB are free; name a folder on another disk with SERPLATFORM_CACHE"
        )


def evict(dataset: Path) -> bool:
    """Remove a staged dataset; False when a process uses it."""
    gone = dataset.with_name(f"{dataset.name}.evicted")
    try:
        with _locked(dataset, "lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
            with contextlib.suppress(FileNotFoundError):
                dataset.rename(gone)  # never half a dataset under its name
            shutil.rmtree(gone, ignore_errors=True)
    except BlockingIOError:
        return False
    return True


def _last_use(dataset: Path) -> float:
    try:
        return (dataset / ".used").stat().st_mtime
    except OSError:
        return 0.0


@contextlib.contextmanager
def _use(dataset: Path) -> Iterator[None]:
    """Keep a dataset from eviction until this process ends, or until an error inside."""
    with contextlib.ExitStack() as stack:
        if dataset not in _in_use:
            stack.enter_context(_locked(dataset, "lock", fcntl.LOCK_SH))
        yield
        _in_use.setdefault(dataset, stack.pop_all())


@contextlib.contextmanager
def _locked(dataset: Path, name: str, kind: int) -> Iterator[None]:
    """Hold a lock file beside a dataset, of one of ``flock``'s kinds."""
    file = dataset.with_name(f"{dataset.name}.{name}")
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)
