"""Requests to object storage: bounded in time, tried again where that helps, clear when not.

Every request has a time limit of its own, and all attempts at one together end within the
caller's patience. An object is written in one piece, which the service shows whole or not at all.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
import random
import re
import time
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeVar

from serplatform.artifacts.files import atomic_path
from serplatform.errors import ArtifactError, BadInputError, SerplatformError
from serplatform.storage.location import Location

T = TypeVar("T")
Kind = Literal["missing", "bucket", "denied", "quota", "unreachable"]

#: seconds that a connection, and a request in which no byte moves, may take
CONNECT_TIMEOUT = 5.0
REQUEST_TIMEOUT = 10.0

#: seconds over which a request is tried again, unless SERPLATFORM_STORAGE_PATIENCE says otherwise
PATIENCE = 60.0

#: the same for the first request of a command, on which nothing depends yet
FIRST_PATIENCE = 3.0

#: requests at a time where many files are moved
PARALLEL = 8

_BLOCK = 4 << 20  # bytes read at a time

#: what an SDK's message says → kind of error; the first that fits counts
_KINDS: dict[str, Kind] = {
    r"SLOW_DOWN|THROTTLING|SERVICE_UNAVAILABLE|INTERNAL_FAILURE": "unreachable",
    r"quota|HTTP status 507|insufficient ?storage|EntityTooLarge|STORAGE_FULL": "quota",
    r"NO_SUCH_BUCKET|bucket does not exist|PermanentRedirect|HTTP status 301": "bucket",
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|EXPIRED|ExpiredToken"
    r"|InvalidToken|UNRECOGNIZED_CLIENT|HTTP status 40[13]|INVALID_CLIENT_TOKEN"
    r"|MISSING_AUTHENTICATION|PERMISSION_DENIED|UNAUTHENTICATED|no credentials": "denied",
}

_REMEDY: dict[Kind, str] = {
    "missing": "it was removed, or the address is wrong",
    "bucket": "check the bucket's name, region and endpoint (AWS_ENDPOINT_URL)",
    "denied": "credentials are missing, wrong or expired, or do not allow it: renew them "
    "(environment, profile or role) and give the same command again",
    "quota": "the storage is full or over its quota: make room and give the same command again",
    "unreachable": "check the network and the endpoint (AWS_ENDPOINT_URL), then try again",
}


class RemoteError(SerplatformError):
    """Object storage did not do what was asked of it; a missing bucket is the user's error.

    ``where`` is a URI, ``action`` what was tried (``write``), ``reason`` what the service said.
    """

    def __init__(self, kind: Kind, where: str, action: str, reason: str) -> None:
        self.kind = kind
        self.where = where
        if kind == "bucket":
            self.exit_code = BadInputError.exit_code
        super().__init__(f"{where}: cannot {action} ({reason}); {_REMEDY[kind]}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """An object.

    Attributes:
        size: bytes.
        time: of its last change by the service's clock, in nanoseconds (whole seconds).
    """

    size: int
    time: int


def patience() -> float:
    """Seconds over which a request is tried again.

    Raises:
        BadInputError: the environment variable is not a number.
    """
    text = os.environ.get("SERPLATFORM_STORAGE_PATIENCE", str(PATIENCE))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise BadInputError(f"SERPLATFORM_STORAGE_PATIENCE={text}: must be a number of seconds")
    return value


@lru_cache(maxsize=16)
def remote(location: Location) -> Remote:
    """The place's client; one a process, however often it is asked for."""
    return Remote(location)


class Remote:
    """Objects below one location, by their key relative to it."""

    def __init__(self, location: Location) -> None:
        self.location = location

    @cached_property
    def _filesystem(self) -> Any:
        from pyarrow import fs

        options = dict(self.location.options)
        endpoint = self.location.endpoint
        if self.location.scheme != "s3":
            from datetime import timedelta

            scheme, _, host = (endpoint or "").rpartition("://")
            return fs.GcsFileSystem(
                endpoint_override=host or None,
                scheme=options.get("scheme") or scheme or "https",
                retry_time_limit=timedelta(seconds=REQUEST_TIMEOUT),
            )
        region = options.get("region") or os.environ.get("AWS_REGION")
        region = region or os.environ.get("AWS_DEFAULT_REGION")
        if region is None and endpoint is not None:
            region = "us-east-1"  # what services that have no regions take
        if endpoint is not None and "://" not in endpoint:
            endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
        return fs.S3FileSystem(
            region=region,
            endpoint_override=endpoint,
            connect_timeout=CONNECT_TIMEOUT,
            request_timeout=REQUEST_TIMEOUT,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
            background_writes=False,
            allow_delayed_open=True,  # a small object in one request instead of three
        )

    def _path(self, key: str) -> str:
        return f"{self.location.root}/{key}" if key else self.location.root

    def uri(self, key: str) -> str:
        """Address of an object, for people."""
        return str(self.location.child(key)) if key else str(self.location)

    def check(self) -> None:
        """See that the bucket exists and may be read.

        Raises:
            RemoteError: it is not.
        """
        bucket = dataclasses.replace(self.location, key="")
        within = min(patience(), FIRST_PATIENCE)
        info = self._try("open", "", lambda: self._filesystem.get_file_info(bucket.bucket), within)
        if info.type.name == "NotFound":
            raise RemoteError("bucket", str(bucket), "open it", "there is no such bucket")

    def read(self, key: str, *, within: float | None = None) -> bytes:
        """An object's content.

        Raises:
            RemoteError: of kind ``missing`` where there is none.
        """

        def action() -> bytes:
            with self._filesystem.open_input_stream(self._path(key)) as stream:
                content: bytes = stream.read()
            return content

        return self._try("read", key, action, within)

    def fetch(self, key: str, target: Path, *, sha256: str | None = None) -> None:
        """Copy an object to a file, which appears whole or not at all.

        Raises:
            ArtifactError: the content has another checksum than ``sha256`` (hex; None: any).
        """

        def action() -> str:
            found = hashlib.sha256()
            with (
                self._filesystem.open_input_stream(self._path(key)) as stream,
                temporary.open("wb") as file,
            ):
                while content := stream.read(_BLOCK):
                    found.update(content)
                    file.write(content)
            return found.hexdigest()

        with atomic_path(target) as temporary:
            found = self._try("read", key, action)
            if sha256 is not None and found != sha256:
                raise ArtifactError(
                    f"{self.uri(key)}: its checksum is {found[:12]}…, {sha256[:12]}… was written; "
                    "put it there again"
                )

    def put(self, key: str, content: bytes | Path, *, within: float | None = None) -> int:
        """Write bytes or a file as an object in one piece; return its size in bytes.

        ``within`` is in seconds for all attempts; None: :func:`patience`.
        """
        buffer: Any = content
        if isinstance(content, Path):
            import pyarrow as pa

            # mapped: an error while reading cannot leave half of it there as if it were whole
            empty = content.stat().st_size == 0
            buffer = b"" if empty else pa.memory_map(str(content), "r").read_buffer()

        def action() -> int:
            stream = self._filesystem.open_output_stream(self._path(key))
            stream.write(buffer)
            stream.close()
            return len(buffer)

        return self._try("write", key, action, within)

    def list(self, prefix: str = "", *, within: float | None = None) -> dict[str, Entry]:
        """Every object below a prefix (a folder), by key; none where there is no such folder."""
        root = self._path(prefix)
        start = len(self.location.root) + 1

        def action() -> dict[str, Entry]:
            from pyarrow import fs

            selector = fs.FileSelector(root, recursive=True, allow_not_found=True)
            return {
                info.path[start:]: Entry(size=info.size, time=info.mtime_ns or 0)
                for info in self._filesystem.get_file_info(selector)
                if info.is_file
            }

        return self._try("list", prefix, action, within)

    def entry(self, key: str, *, within: float | None = None) -> Entry | None:
        """What is known of an object; None where there is none."""
        info = self._try(
            "look up", key, lambda: self._filesystem.get_file_info(self._path(key)), within
        )
        if not info.is_file:
            return None
        return Entry(size=info.size, time=info.mtime_ns or 0)

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self.entry(key) is not None

    def delete(self, key: str, *, within: float | None = None) -> None:
        """Remove an object; nothing happens where there is none."""
        try:
            self._try("delete", key, lambda: self._filesystem.delete_file(self._path(key)), within)
        except RemoteError as error:
            if error.kind != "missing":
                raise

    def _try(self, action: str, key: str, call: Callable[[], T], within: float | None = None) -> T:
        """Call until it succeeds, an error is one that stays, or time is up."""
        deadline = time.monotonic() + (patience() if within is None else within)
        wait = 0.5
        while True:
            try:
                return call()
            except OSError as error:
                kind, reason = classify(error)
                if kind is None:  # of this machine's own disk
                    raise
                left = deadline - time.monotonic()
                if kind != "unreachable" or left <= 0:
                    raise RemoteError(kind, self.uri(key), action, reason) from None
            time.sleep(min(wait * random.uniform(0.5, 1.0), max(0.0, left)))  # noqa: S311
            wait = min(2 * wait, 8.0)


def classify(error: OSError) -> tuple[Kind | None, str]:
    """Kind of an error and its reason for people; None for one of the local file system."""
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return "missing", "there is no such object"
    if error.errno is not None and error.filename is not None:
        return None, str(error)
    text = str(error)
    if error.errno is not None and "AWS" not in text and "GCS" not in text:
        return None, text
    reason = _brief(text)
    kinds = (kind for pattern, kind in _KINDS.items() if re.search(pattern, text, re.IGNORECASE))
    return next(kinds, "unreachable"), reason


def _brief(text: str) -> str:
    """The end of the SDK's sentence, without what the environment keeps secret."""
    reason = re.sub(r"^When [^:]*: ", "", text.strip().partition("\n")[0])
    reason = re.sub(r" \(Request ID: [^)]*\)", "", reason)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        secret = os.environ.get(name, "")
        if len(secret) > 3:
            reason = reason.replace(secret, "***")
    return reason[:300]


def in_parallel(calls: Iterable[Callable[[], object]]) -> None:
    """Make several requests at a time; the first error is raised when the others have ended."""
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        futures = [pool.submit(call) for call in calls]
    for future in futures:
        future.result()


def in_order(keys: Iterable[str], put: Callable[[str], object]) -> None:
    """Put files on storage, several at a time, each before the files that name it."""
    for _, group in groupby(sorted(keys, key=writing_order), key=lambda key: writing_order(key)[0]):
        in_parallel(partial(put, key) for key in group)


def writing_order(key: str) -> tuple[int, str]:
    """What is named by another file comes before it."""
    last = key.rpartition("/")[2]
    if key.startswith("trials/") or last in ("progress.json", "ensemble.json", "explanations.json"):
        return 1, key
    whole = ("run.json", "report.html", "bundle.json", "dataset.json")
    return (2, key) if last in whole else (0, key)
