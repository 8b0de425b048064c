"""The files that stages exchange: schemas, atomic writing, checked reading.

Nothing here is a pickle. Every file is written to a temporary name beside its target, flushed
to disk and renamed, so that a half-written file is never read as whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from serplatform.errors import ArtifactError, BadInputError

SCHEMA_VERSION = 1

#: Columns that datasets made before November 2026 lack; readers fill them with null.
#: ``group_id`` names the first utterance of those that stay in one part (copies, a file and its
#: segments); ``fingerprint`` is what copies were found by.
LATER_COLUMNS = (pa.field("group_id", pa.string()), pa.field("fingerprint", pa.binary()))

#: Columns of ``utterances.parquet``; times in seconds. Corpora may add columns of their own.
UTTERANCE_SCHEMA = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("duration", pa.float64(), nullable=False),
        pa.field("speaker_id", pa.string(), nullable=False),
        pa.field("gender", pa.string()),
        pa.field("session", pa.string()),
        pa.field("emotion", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("language", pa.string()),
        pa.field("split", pa.string()),
        pa.field("fold", pa.string()),
        pa.field("parent_id", pa.string(), nullable=False),
        pa.field("audio_hash", pa.string(), nullable=False),
        pa.field("sampling_rate", pa.int32(), nullable=False),
        pa.field("level_db", pa.float64()),
        pa.field("speech_start", pa.float64(), nullable=False),
        pa.field("speech_end", pa.float64(), nullable=False),
        *LATER_COLUMNS,
    ]
)

#: Columns of ``alignment.parquet``; ``tier`` is ``word`` or ``phone``, times in seconds
#: from the start of the utterance.
ALIGNMENT_SCHEMA = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("tier", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)


def posterior_schema(classes: list[str]) -> pa.Schema:
    """Columns of a posterior table: one row an utterance, fold and part; rows sum to 1."""
    return pa.schema(
        [
            pa.field("utterance_id", pa.string(), nullable=False),
            pa.field("speaker_id", pa.string(), nullable=False),
            pa.field("fold", pa.int32(), nullable=False),
            pa.field("part", pa.string(), nullable=False),
            pa.field("truth", pa.string(), nullable=False),
            *(pa.field(f"p_{name}", pa.float64(), nullable=False) for name in classes),
        ]
    )


def sweep_partial(target: str | Path) -> None:
    """Remove what processes that were killed had half written beside ``target``."""
    target = Path(target)
    for partial in target.parent.glob(f".{target.name}.*.partial"):
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on success flush it and rename it over it.

    On an exception the temporary file is removed and ``target`` is left as it was.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(target: str | Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: str | Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    write_bytes(target, text.encode())


#: key of a JSON object's own checksum
_CHECKSUM = "checksum"


def write_json(target: str | Path, value: Any, *, checksum: bool = False) -> None:
    """Write a JSON file atomically; NaN and infinity are refused.

    Args:
        target: the file.
        value: its content.
        checksum: put the SHA-256 of a dictionary's content into it, which :func:`read_json`
            compares and leaves out: a changed digit is still JSON.
    """
    if checksum:
        value = {**value, _CHECKSUM: _content_sha256(value)}
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path, what: str = "file") -> Any:
    """Read a JSON file of ours.

    Raises:
        ArtifactError: it is missing, not JSON, or not what its checksum says.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such {what}") from None
    except (ValueError, RecursionError) as error:  # not text, not JSON, or numbers without end
        raise ArtifactError(f"{path}: the {what} is damaged ({error}); write it again") from None
    if isinstance(value, dict) and _CHECKSUM in value:
        recorded = value.pop(_CHECKSUM)
        if recorded != _content_sha256(value):
            raise ArtifactError(
                f"{path}: the {what} is damaged or was edited (its content is not what its "
                "checksum says); write it again"
            )
    return value


@contextlib.contextmanager
def damaged_content(path: str | Path, what: str) -> Iterator[None]:
    """Blame a file of ours for what goes wrong while its content is used.

    For readers of JSON whose values may be of any kind: what they stumble over is the file's
    fault, not the program's.

    Raises:
        ArtifactError: in the place of a missing key, a value of another kind, an absurd name.
    """
    try:
        yield
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        IndexError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        found = f"{type(error).__name__}: {error}"
        raise ArtifactError(
            f"{path}: the {what} is damaged ({found[:200]}); write it again"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        raise ArtifactError(
            f"{path}: the {what} is damaged (it names a file that cannot be: {error.strerror}); "
            "write it again"
        ) from None


def _content_sha256(value: dict[str, Any]) -> str:
    """SHA-256 (hex) of a JSON object's content, however it is spaced and ordered."""
    plain = json.loads(json.dumps(value, allow_nan=False))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_parquet(target: str | Path, table: pa.Table) -> None:
    """Write a Parquet file atomically, with checksummed pages."""
    with atomic_path(target) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_parquet(path: str | Path, what: str = "table") -> pa.Table:
    """Read a Parquet file of ours, verifying its page checksums.

    Raises:
        ArtifactError: it is missing, truncated or altered.
    """
    path = Path(path)
    try:
        return pq.read_table(path, page_checksum_verification=True, partitioning=None)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such {what}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path}: the {what} is damaged ({error}); write it again") from None


#: file by which a directory is known → what it then holds
_MARKERS = {
    "dataset.json": "a dataset",
    "run.json": "a run",
    "ensemble.json": "an ensemble",
    "bundle.json": "a bundle",
}


def refuse_foreign(out: str | Path, own: str) -> None:
    """See that a directory to write to holds nothing of another kind.

    Args:
        out: the directory, which need not exist.
        own: the file by which what will be written is known, e.g. ``run.json``.

    Raises:
        BadInputError: it holds a dataset, run, ensemble or bundle of another kind.
    """
    for marker, what in _MARKERS.items():
        if marker != own and Path(out, marker).exists():
            raise BadInputError(f"{out}: holds {what} ({marker}); give another directory")


def file_sha256(path: str | Path) -> str:
    """SHA-256 (hex) of a file's contents, read in blocks."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
