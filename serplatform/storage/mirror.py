"""A run or an ensemble on object storage, and this node's working copy of it.

Processes work in a local directory, as they do for a local run, and publish whole files from it.
Beside each file that is the same on both sides lies a mark with its size and time on each; a file
without a mark, or of another size or time, is yet to be published. So what could not be
published is known after any crash, and is published by whoever comes by next.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from serplatform.artifacts.files import write_json
from serplatform.artifacts.layout import RunLayout
from serplatform.errors import ArtifactError, SerplatformError
from serplatform.storage.cache import cache_folder
from serplatform.storage.location import Location, address, parse
from serplatform.storage.remote import Entry, Remote, RemoteError, in_parallel, remote

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


def origin(path: Path) -> Location | None:
    """Where the file or directory of a working copy is published; None for other paths."""
    for folder in (path, *path.absolute().parents):
        try:
            uri = json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))["uri"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        place = parse(uri)
        if not isinstance(place, Location):
            return None
        inner = path.absolute().relative_to(folder.absolute()).as_posix()
        return place if inner == "." else place.child(inner)
    return None


def shown(path: Path) -> str:
    """What to call a path to the user: the URI that it is the working copy of, or itself."""
    place = origin(path)
    return str(path) if place is None else str(place)


def recorded(path: Path) -> str:
    """What to record of a path: the URI that it is the working copy of, or the absolute path."""
    place = origin(path)
    return address(path) if place is None else str(place)


class Mirror:
    """What a working copy and its origin have in common, and what each has alone.

    Args:
        location: on object storage.
        path: the working copy.
    """

    def __init__(self, location: Location, path: Path) -> None:
        self.location = location
        self.path = path
        self._paused_until = 0.0
        self._pushed_at = 0.0
        self._push_cost = 0.0

    @classmethod
    def of(cls, path: Path) -> Mirror | None:
        """The mirror of a working copy's top directory; None for other directories."""
        if not (path / _ORIGIN).is_file():
            return None
        place = origin(path)
        return None if place is None else cls(place, path)

    @property
    def remote(self) -> Remote:
        return remote(self.location)

    # -- from the storage

    def pull(self, *prefixes: str, within: float | None = None) -> list[str]:
        """Bring files here that are new or other there; drop what was removed there.

        Files that were changed here and not published stay.

        Args:
            prefixes: files or folders, relative; none: everything.
            within: seconds for each request; None: ``remote.patience()``.

        Returns:
            keys of all files that the storage has there.
        """
        found: dict[str, Entry] = {}
        for prefix in prefixes or ("",):
            found |= self._look(prefix, within)
        in_parallel(partial(self._bring, key, entry) for key, entry in found.items())
        for key in self._marked(prefixes):
            if key not in found:
                self._drop(key)
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

    def _drop(self, key: str) -> None:
        if not self._is_pending(key):
            (self.path / key).unlink(missing_ok=True)
            self._mark_file(key).unlink(missing_ok=True)

    # -- to the storage

    def pending(self, prefix: str = "") -> list[str]:
        """Files that are yet to be published, in the order in which that must happen."""
        start = self.path / prefix
        files = [start] if start.is_file() else _files(start)
        keys = [file.relative_to(self.path).as_posix() for file in files]
        return sorted((key for key in keys if self._is_pending(key)), key=_rank)

    def push(self, keys: Iterable[str], *, within: float | None = None) -> None:
        """Publish files; those of one rank (see :func:`_rank`) together, lower ranks first.

        Raises:
            RemoteError: one could not be published; those of higher ranks are then left.
        """
        ranks: dict[int, list[str]] = {}
        for key in keys:
            ranks.setdefault(_rank(key)[0], []).append(key)
        for rank in sorted(ranks):
            in_parallel(partial(self._push, key, within) for key in ranks[rank])

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
            return  # replaced or removed meanwhile: not to be published any more
        entry = self.remote.entry(key, within=within)
        if entry is None or entry.size != size:
            raise RemoteError("unreachable", self.remote.uri(key), "write it", "it is not whole")
        self._set_mark(key, entry, before)

    def remove(
        self,
        prefix: str,
        *,
        keep: Callable[[str], bool] = lambda key: False,
        within: float | None = None,
    ) -> None:
        """Remove objects below a prefix, and their marks, except those to ``keep``."""
        gone = [key for key in self.remote.list(prefix, within=within) if not keep(key)]
        in_parallel(partial(self.remote.delete, key, within=within) for key in gone)
        for key in gone:
            self._mark_file(key).unlink(missing_ok=True)

    def attempt(self, action: Callable[[float], object]) -> bool:
        """Do something that may as well be done later; False when it could not be done.

        Args:
            action: called with the seconds that its requests may take; not called for
                :data:`PAUSE` seconds after it failed.
        """
        if time.monotonic() < self._paused_until:
            return False
        try:
            action(5.0)
        except RemoteError:
            self._paused_until = time.monotonic() + PAUSE
            return False
        return True

    # -- trials

    def claim(self, number: int, within: float | None = None) -> None:
        """Say on the storage that this node's process goes on with a trial (its ``owner`` file)."""
        self.push(self.pending(f"{_state(number)}/owner"), within=within)

    def check_claim(self, number: int, claim: str, within: float | None = None) -> None:
        """See that no other node has gone on with a trial since it was claimed.

        Raises:
            SerplatformError: one has, or the trial is recorded.
        """
        try:
            owner = self.remote.read(f"{_state(number)}/owner", within=within).decode()
        except RemoteError as error:
            if error.kind != "missing":
                raise
            recorded = self.remote.entry(_record(number), within=within)
            owner = claim if recorded is None else ""  # it could not be published then
        if owner != claim:
            raise SerplatformError(
                f"trial {number}: another process has gone on with it, or recorded it"
            )

    def push_trial(self, number: int, within: float | None = None) -> None:
        """Publish a trial that is recorded here: models and posteriors, then the record.

        A trial that another node has recorded meanwhile is taken from there instead.
        """
        record = _record(number)
        there = self.remote.entry(record, within=within)
        if there is not None and self._is_pending(record):
            self.remote.fetch(record, self.path / record)
            self._set_mark(record, there)
            return
        keys = [*self.pending(_models(number))]
        for key in (_posteriors(number), _record(number)):
            keys += self.pending(key)
        self.push(keys, within=within)
        self.remove(_state(number), within=within)

    def push_state(
        self, number: int, *, share: float, force: bool, claim: str | None = None
    ) -> None:
        """Publish an unfinished trial's state as far as the storage can be reached.

        Args:
            number: of the trial.
            claim: what its ``owner`` file must hold.
            share: of the time that publishing may take, unless ``force``.
            force: publish now.
        """
        since = time.monotonic() - self._pushed_at
        if not force and self._push_cost > share * since:
            return
        begun = time.monotonic()
        folder = _state(number)

        def action(within: float) -> None:
            if claim is not None:
                self.check_claim(number, claim, within)
            models = self.pending(_models(number))
            self.push([*models, *self.pending(folder)], within=within)
            self.remove(folder, keep=lambda key: (self.path / key).exists(), within=within)

        if self.attempt(action):
            self._pushed_at = time.monotonic()
            self._push_cost = self._pushed_at - begun

    def pull_state(self, number: int, *, exact: bool = False, within: float | None = None) -> None:
        """Bring an unfinished trial's state here, unless what is here has got further.

        Args:
            number: of the trial.
            exact: take the storage's in any case.
            within: seconds for each request.
        """
        folder = _state(number)
        progress = f"{folder}/progress.json"
        there = self.remote.list(folder, within=within)
        if not exact and progress in there and self._is_pending(progress):
            theirs = json.loads(self.remote.read(progress, within=within))
            if _epochs(self.path / progress) >= len(theirs.get("history", [])):
                return
        elif not exact and self._is_pending(progress):
            return
        for file in _files(self.path / folder):
            key = file.relative_to(self.path).as_posix()
            if key not in there or self._is_pending(key):
                file.unlink(missing_ok=True)
        for key in sorted(there, key=_rank):
            self._bring(key, there[key])

    def finished_here(self, age: float = 0.0) -> list[int]:
        """Trials that were recorded here ``age`` seconds ago, and are yet to be published."""
        latest = time.time() - age
        return [
            int(key[-10:-5])
            for key in self.pending("trials")
            if (self.path / key).stat().st_mtime <= latest
        ]

    def push_all(self, within: float | None = None) -> None:
        """Publish everything that is yet to be, finished trials first."""
        for number in self.finished_here():
            self.push_trial(number, within)
        self.push(self.unpublished(), within=within)

    def unpublished(self) -> list[str]:
        """Files that should be on the storage and are not; without those of open trials."""
        found = self.pending()
        if not (self.path / "run.json").exists():
            return found
        return [key for key in found if not _of_trial(key)]

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


_names = RunLayout(Path())


def _state(trial: int) -> str:
    return _names.state_directory(trial).as_posix()


def _record(trial: int) -> str:
    return _names.record_file(trial).as_posix()


def _models(trial: int) -> str:
    return _names.models_directory(trial).as_posix()


def _posteriors(trial: int) -> str:
    return _names.posteriors_file(trial).as_posix()


def _files(folder: Path) -> list[Path]:
    """Files of a folder that are to be published: none whose path holds a hidden name."""
    if not folder.is_dir():
        return []
    found: list[Path] = []
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            found += _files(Path(entry.path))
        elif not entry.name.endswith((".lock", ".lock.rename")):
            found.append(Path(entry.path))
    return found


def _rank(key: str) -> tuple[int, str]:
    """What is named by another file comes before it."""
    last = key.rpartition("/")[2]
    if key.startswith("trials/") or last in ("progress.json", "ensemble.json", "explanations.json"):
        return 1, key
    return (2, key) if last in ("run.json", "report.html", "bundle.json") else (0, key)


def _of_trial(key: str) -> bool:
    """Whether a file is published with its trial, or while that goes on."""
    return key.startswith(("state/", "models/", "posteriors/"))


def _epochs(progress: Path) -> int:
    try:
        content: Any = json.loads(progress.read_text(encoding="utf-8"))
        return len(content.get("history", []))
    except (OSError, ValueError, AttributeError):
        return -1


def publish(path: Path) -> None:
    """Publish a working copy; nothing happens for other directories.

    Raises:
        SerplatformError: it says what is not published, and where that lies.
    """
    mirror = Mirror.of(path)
    if mirror is None:
        return
    try:
        mirror.push_all()
    except RemoteError as error:
        raise not_published(mirror, error) from error


def not_published(mirror: Mirror, error: RemoteError) -> SerplatformError:
    """The message when work stays on this node."""
    return SerplatformError(
        f"{error}\n{len(mirror.unpublished())} file(s) are not published yet; they are kept in "
        f"{mirror.path} on {os.uname().nodename}, and the same run goes on there"
    )


def ensure(path: Path) -> Path:
    """Bring a file or folder of a working copy here when it is not; other paths are left."""
    place = origin(path)
    if place is None:
        return path
    root = next(p for p in (path, *path.absolute().parents) if (p / _ORIGIN).is_file())
    mirror = Mirror.of(root)
    if mirror is not None and path.absolute() != root:
        mirror.pull(path.absolute().relative_to(root.absolute()).as_posix())
    return path


def open_copy(text: str | Path, *, without: tuple[str, ...] = ("models", "state")) -> Path:
    """A run, ensemble or bundle for reading: local paths as they are, from a URI a copy.

    Args:
        text: path or URI.
        without: folders that are left out; :func:`ensure` brings what is needed of them.

    Raises:
        ArtifactError: there is nothing at the URI.
        RemoteError: the storage cannot be read.
    """
    place = parse(text)
    if not isinstance(place, Location):
        return place
    path = working_copy(place)
    mirror = Mirror(place, path)
    there = mirror.remote.list()
    wanted = {k: e for k, e in there.items() if not k.startswith((".", "lease/"))}
    if not wanted:
        mirror.remote.check()
        if not mirror.unpublished():
            shutil.rmtree(path, ignore_errors=True)
        raise ArtifactError(f"{place}: there is nothing; check the address")
    in_parallel(
        partial(mirror._bring, key, entry)
        for key, entry in wanted.items()
        if key.partition("/")[0] not in without or "bundle.json" in wanted
    )
    for key in mirror._marked(()):
        if key not in wanted:
            mirror._drop(key)
    return path


def find_copy(text: str | Path) -> Path:
    """As :func:`open_copy`; where there is nothing at the URI, an empty working copy."""
    try:
        return open_copy(text)
    except ArtifactError:
        return local_path(text)


def target_copy(text: str | Path) -> Path:
    """A directory to write an ensemble to: for a URI its working copy.

    It holds what tells other things than an ensemble at the URI, if there are any.

    Raises:
        RemoteError: the storage cannot be read.
    """
    place = parse(text)
    if not isinstance(place, Location):
        return place
    path = working_copy(place)
    mirror = Mirror(place, path)
    mirror.remote.check()
    mirror.pull("run.json", "ensemble.json", "posteriors.parquet")
    return path
