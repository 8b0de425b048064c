"""A run or an ensemble on object storage, and this node's working copy of it.

Processes work in a local directory, as they do for a local run, and publish whole files from it.
Each file that is the same on both sides has a mark below ``.published``: its size and time on
each side. A file without a mark, or of another size or time, is still to be published. So what
could not be published is known after any crash, and the next process publishes it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path

from serplatform.artifacts.files import write_json
from serplatform.artifacts.layout import RunLayout
from serplatform.errors import ArtifactError, SerplatformError
from serplatform.storage.cache import cache_folder
from serplatform.storage.location import Location, address, parse
from serplatform.storage.remote import (
    Entry,
    Remote,
    RemoteError,
    in_order,
    in_parallel,
    remote,
    writing_order,
)

_ORIGIN = ".origin.json"
_MARKS = ".published"

#: seconds for which nothing is published after the storage could not be reached
PAUSE = 15.0


def working_copy(location: Location) -> Path:
    """This node's directory for a run or ensemble on object storage; made when it is new."""
    path = cache_folder() / "runs" / location.identity / location.name
    if not (path / _ORIGIN).is_file():
        write_json(path / _ORIGIN, {"uri": str(location)})
    return path


def local_path(text: str | Path) -> Path:
    """A local path as it is; for a URI on object storage, its working copy."""
    place = parse(text)
    return working_copy(place) if isinstance(place, Location) else place


def _find_copy_of(path: Path) -> tuple[Path, Location, str] | None:
    """The working copy that holds a path, its origin, and the path's key in it."""
    for folder in (path, *path.absolute().parents):
        try:
            place = parse(json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))["uri"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        inner = path.absolute().relative_to(folder.absolute()).as_posix()
        return (folder, place, inner) if isinstance(place, Location) else None
    return None


def origin(path: Path) -> Location | None:
    """Where the file or directory of a working copy is published; None for other paths."""
    if (found := _find_copy_of(path)) is None:
        return None
    _, place, inner = found
    return place if inner == "." else place.child(inner)


def shown(path: Path) -> str:
    """What to call a path to the user: the URI that it is the working copy of, or itself."""
    return str(origin(path) or path)


def recorded(path: Path) -> str:
    """What to record of a path: the URI that it is the working copy of, or the absolute path."""
    return str(origin(path) or address(path))


class Mirror:
    """What a working copy and its origin have in common, and what each has alone.

    A local directory has a mirror too, without a location: nothing is pending in it, and pulling,
    publishing and claiming do nothing.
    """

    def __init__(self, location: Location | None, path: Path) -> None:
        self.location = location
        self.path = path
        self._paused_until = 0.0
        self._pushed_at = 0.0
        self._push_cost = 0.0

    @classmethod
    def of(cls, path: Path) -> Mirror:
        """The mirror of a working copy's top directory, or of a local directory."""
        return cls(origin(path) if (path / _ORIGIN).is_file() else None, path)

    @property
    def is_remote(self) -> bool:
        """Whether the directory is a working copy of a place on object storage."""
        return self.location is not None

    @property
    def remote(self) -> Remote:
        """The client of the origin."""
        if self.location is None:
            raise ValueError(f"{self.path}: is not on object storage")
        return remote(self.location)

    # -- from the storage

    def pull(
        self, *prefixes: str, without: Collection[str] = (), within: float | None = None
    ) -> list[str]:
        """Bring files here that are new or other there; remove what was removed there.

        Files that were changed here and not published stay.

        Args:
            prefixes: files or folders, relative; none: everything.
            without: top folders that are not brought, unless they are of a bundle.
            within: seconds for each request; None: ``remote.patience()``.

        Returns:
            keys of all files that the storage has there.

        Raises:
            RemoteError: the storage cannot be read, or has no such bucket.
        """
        if not self.is_remote:
            return []
        found: dict[str, Entry] = {}
        for prefix in prefixes or ("",):
            found |= self._look(prefix, within)
        if not found and within is None:
            self.remote.check()
        in_parallel(
            partial(self._bring, key, entry)
            for key, entry in found.items()
            if key.partition("/")[0] not in without or "bundle.json" in found
        )
        for key in set(self._marked(prefixes)) - found.keys():
            if not self._is_pending(key):
                (self.path / key).unlink(missing_ok=True)
                self._mark_file(key).unlink(missing_ok=True)
        return sorted(found)

    def _look(self, prefix: str, within: float | None) -> dict[str, Entry]:
        if "." in prefix.rpartition("/")[2]:
            entry = self.remote.entry(prefix, within=within)
            return {} if entry is None else {prefix: entry}
        return {
            key: entry
            for key, entry in self.remote.list(prefix, within=within).items()
            if not key.startswith((".", "lease/"))
        }

    def _bring(self, key: str, entry: Entry) -> None:
        file = self.path / key
        mark = self._mark(key)
        if file.exists():
            if self._is_pending(key):
                return
            if mark is not None and mark[2:] == [entry.size, entry.time]:
                return
        self.remote.fetch(key, file)
        self._set_mark(key, entry)

    # -- to the storage

    def pending(self, prefix: str = "") -> list[str]:
        """Files that are still to be published, in the order in which that must happen."""
        if not self.is_remote:
            return []
        start = self.path / prefix
        keys = [prefix] if start.is_file() else self._keys(prefix)
        return sorted((key for key in keys if self._is_pending(key)), key=writing_order)

    def _keys(self, prefix: str) -> list[str]:
        return [f.relative_to(self.path).as_posix() for f in published_files(self.path / prefix)]

    def push(self, keys: Iterable[str], *, within: float | None = None) -> None:
        """Publish files, see :func:`in_order`.

        Raises:
            RemoteError: one could not be published; those that name it are then left.
        """
        in_order(keys, lambda key: self._push(key, within))

    def _push(self, key: str, within: float | None) -> None:
        file = self.path / key
        try:
            before = file.stat()
            content: bytes | Path = file
            if key.endswith(".journal"):  # it may grow now: whole lines only
                content = file.read_bytes()
                content = content[: content.rfind(b"\n") + 1]
            size = self.remote.put(key, content, within=within)
        except FileNotFoundError:
            return  # replaced or removed meanwhile: no longer to be published
        entry = self.remote.entry(key, within=within)
        if entry is None or entry.size != size:
            raise RemoteError("unreachable", self.remote.uri(key), "write it", "it is not whole")
        self._set_mark(key, entry, before)

    def _remove(self, keys: Collection[str], within: float | None) -> None:
        """Remove objects and their marks."""
        in_parallel(partial(self.remote.delete, key, within=within) for key in keys)
        for key in keys:
            self._mark_file(key).unlink(missing_ok=True)

    def attempt(self, action: Callable[[float], object]) -> bool:
        """Do something that can be done later as well; False when it could not be done now.

        Args:
            action: called with the seconds that its requests may take; not called for
                :data:`PAUSE` seconds after it failed.
        """
        if not self.is_remote:
            return True
        if time.monotonic() < self._paused_until:
            return False
        try:
            action(5.0)
        except RemoteError:
            self._paused_until = time.monotonic() + PAUSE
            return False
        return True

    # -- trials

    def claim_trial(self, number: int) -> None:
        """Tell other nodes that a process of this one resumes a trial (its ``owner`` file)."""
        owner = f"{_LAYOUT.state_directory(number)}/owner"
        self.attempt(lambda within: self.push(self.pending(owner), within=within))

    def check_claim(self, number: int, claim: str) -> None:
        """See that no other node has resumed a trial since, as far as that can be known now.

        Raises:
            SerplatformError: one has, or the trial is recorded.
        """
        self.attempt(lambda within: self._check_claim(number, claim, within))

    def _check_claim(self, number: int, claim: str, within: float) -> None:
        try:
            key = f"{_LAYOUT.state_directory(number)}/owner"
            owner = self.remote.read(key, within=within).decode()
        except RemoteError as error:
            if error.kind != "missing":
                raise
            recorded = self.remote.entry(str(_LAYOUT.record_file(number)), within=within)
            owner = claim if recorded is None else ""  # it could not be published then
        if owner != claim:
            raise SerplatformError(f"trial {number}: another process has resumed or recorded it")

    def share_trial(self, number: int) -> bool:
        """Publish a recorded trial; False when that is left to a later moment."""
        return self.attempt(lambda within: self.push_trial(number, within))

    def push_trial(self, number: int, within: float | None = None) -> None:
        """Publish a trial that is recorded here: models and posteriors, then the record.

        A trial that another node has recorded meanwhile is taken from there instead.
        """
        record = str(_LAYOUT.record_file(number))
        there = self.remote.entry(record, within=within)
        if there is not None and self._is_pending(record):
            self.remote.fetch(record, self.path / record)
            self._set_mark(record, there)
            return
        files = (_LAYOUT.models_directory(number), _LAYOUT.posteriors_file(number), record)
        self.push([key for file in files for key in self.pending(str(file))], within=within)
        self._remove(self.remote.list(str(_LAYOUT.state_directory(number)), within=within), within)

    def share_state(
        self, number: int, *, share: float = 1.0, force: bool = True, claim: str | None = None
    ) -> None:
        """Publish an unfinished trial's state as far as the storage can be reached.

        Where it is not forced, publishing takes at most a ``share`` of the time; ``claim`` is what
        the trial's ``owner`` file must hold.
        """
        since = time.monotonic() - self._pushed_at
        if not force and self._push_cost > share * since:
            return
        begun = time.monotonic()
        state, models = _LAYOUT.state_directory(number), _LAYOUT.models_directory(number)

        def action(within: float) -> None:
            if claim is not None:
                self._check_claim(number, claim, within)
            self.push([*self.pending(str(models)), *self.pending(str(state))], within=within)
            there = self.remote.list(str(state), within=within)
            self._remove([key for key in there if not (self.path / key).exists()], within)

        if self.attempt(action):
            self._pushed_at = time.monotonic()
            self._push_cost = self._pushed_at - begun

    def fetch_trial(self, number: int, *, exact: bool = False, required: bool = False) -> None:
        """Bring what a trial needs to begin or to resume.

        ``exact`` takes the storage's state even where this node's has got further. Unless it is
        ``required``, a trial resumes from what is here when the storage cannot be read.
        """

        def fetch(within: float | None = None) -> None:
            self.pull(_LAYOUT.folds_file.name, within=within)
            self._fetch_state(str(_LAYOUT.state_directory(number)), exact, within)

        if self.is_remote and (required or not (self.path / _LAYOUT.folds_file).exists()):
            fetch()
        else:
            self.attempt(fetch)

    def _fetch_state(self, folder: str, exact: bool, within: float | None) -> None:
        """Bring a state here, unless what is here has got further and may be kept."""
        progress = f"{folder}/progress.json"
        there = self.remote.list(folder, within=within)
        if not exact and self._is_pending(progress):
            theirs = self.remote.read(progress, within=within) if progress in there else b""
            if _epochs((self.path / progress).read_bytes()) >= _epochs(theirs):
                return
        for key in self._keys(folder):
            if key not in there or self._is_pending(key):
                (self.path / key).unlink(missing_ok=True)
        for key in sorted(there, key=writing_order):
            self._bring(key, there[key])

    def fetch_record(self, number: int) -> None:
        """Bring the record of a trial that another node may have trained."""
        if not (self.path / _LAYOUT.record_file(number)).exists():
            self.pull(str(_LAYOUT.record_file(number)))

    def finished_here(self, age: float = 0.0) -> list[int]:
        """Trials recorded here at least ``age`` seconds ago that are still to be published."""
        latest = time.time() - age
        return [
            int(key[-10:-5])
            for key in self.pending("trials")
            if (self.path / key).stat().st_mtime <= latest
        ]

    def push_finished(self, age: float = 0.0, within: float | None = None) -> None:
        """Publish the trials of :meth:`finished_here`."""
        for number in self.finished_here(age):
            self.push_trial(number, within)

    def push_all(self, within: float | None = None) -> None:
        """Publish everything that is still to be published, finished trials first."""
        self.push_finished(within=within)
        self.push(self.unpublished(), within=within)

    def unpublished(self) -> list[str]:
        """Files that should be on the storage and are not; without those of open trials."""
        found = self.pending()
        if not (self.path / "run.json").exists():
            return found
        return [key for key in found if not key.startswith(("state/", "models/", "posteriors/"))]

    # -- marks

    def _mark_file(self, key: str) -> Path:
        return self.path / _MARKS / f"{key}.json"

    def _mark(self, key: str) -> list[int] | None:
        """Size and time here, size and time there."""
        try:
            values: list[int] = json.loads(self._mark_file(key).read_bytes())
        except (OSError, ValueError):
            return None
        return values if isinstance(values, list) and len(values) == 4 else None

    def _set_mark(self, key: str, entry: Entry, here: os.stat_result | None = None) -> None:
        here = here or (self.path / key).stat()
        mark = self._mark_file(key)
        mark.parent.mkdir(parents=True, exist_ok=True)
        temporary = mark.with_name(f".{mark.name}.{os.getpid()}")
        temporary.write_text(json.dumps([here.st_size, here.st_mtime_ns, entry.size, entry.time]))
        temporary.replace(mark)

    def _is_pending(self, key: str) -> bool:
        try:
            here = (self.path / key).stat()
        except OSError:
            return False
        mark = self._mark(key)
        return mark is None or mark[:2] != [here.st_size, here.st_mtime_ns]

    def _marked(self, prefixes: tuple[str, ...]) -> Iterator[str]:
        root = self.path / _MARKS
        for prefix in prefixes or ("",):
            single = root / f"{prefix}.json"
            for mark in [single] if single.is_file() else (root / prefix).rglob("*.json"):
                key = mark.relative_to(root).as_posix().removesuffix(".json")
                if not mark.name.startswith("."):
                    yield key


#: names relative to the run, on both sides
_LAYOUT = RunLayout(Path())


def published_files(folder: Path) -> Iterator[Path]:
    """Files below a folder that are to be published: no locks, none with a hidden name."""
    if folder.is_dir():
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from published_files(Path(entry.path))
            elif not entry.name.endswith((".lock", ".lock.rename")):
                yield Path(entry.path)


def _epochs(progress: bytes) -> int:
    try:
        return len(json.loads(progress).get("history", []))
    except (ValueError, AttributeError):
        return -1


def publish(path: Path) -> None:
    """Publish a working copy; nothing happens for other directories.

    Raises:
        SerplatformError: it says what is not published, and where that lies.
    """
    mirror = Mirror.of(path)
    try:
        mirror.push_all()
    except RemoteError as error:
        raise not_published(mirror, error) from error


def not_published(mirror: Mirror, error: RemoteError) -> SerplatformError:
    """The message when work stays on this node."""
    return SerplatformError(
        f"{error}\n{len(mirror.unpublished())} file(s) are not published yet; they are kept in "
        f"{mirror.path} on {os.uname().nodename}; resume the run there"
    )


def ensure(path: Path) -> Path:
    """Bring a file or folder of a working copy here when it is not; other paths are left."""
    if (found := _find_copy_of(path)) is not None and found[2] != ".":
        root, place, inner = found
        Mirror(place, root).pull(inner)
    return path


def open_copy(text: str | Path, *, without: tuple[str, ...] = ("models", "state")) -> Path:
    """A run, ensemble or bundle for reading: local paths as they are, from a URI a copy.

    :func:`ensure` brings what is needed of the folders that are left out.

    Raises:
        ArtifactError: there is nothing at the URI.
        RemoteError: the storage cannot be read.
    """
    place = parse(text)
    if not isinstance(place, Location):
        return place
    path = working_copy(place)
    mirror = Mirror(place, path)
    if not mirror.pull(without=without):
        if not mirror.unpublished():
            shutil.rmtree(path, ignore_errors=True)
        raise ArtifactError(f"{place}: there is nothing; check the address")
    return path


def find_copy(text: str | Path) -> Path:
    """As :func:`open_copy`; where there is nothing at the URI, an empty working copy."""
    try:
        return open_copy(text)
    except ArtifactError:
        return local_path(text)


def target_copy(text: str | Path) -> Path:
    """A directory to write an ensemble to; for a URI its working copy, with what shows which kind
    of result is there already.

    Raises:
        RemoteError: the storage cannot be read.
    """
    path = local_path(text)
    Mirror.of(path).pull("run.json", "ensemble.json", "posteriors.parquet")
    return path
