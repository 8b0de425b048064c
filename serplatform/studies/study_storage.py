"""Where a run's Optuna studies are kept: its own journal file, or a storage that the user names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from serplatform.errors import ArtifactError, BadInputError
from serplatform.storage.destination import check_file
from serplatform.storage.location import address, redact

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

#: Environment variable with the whole URL of a storage whose recorded URL lacks its password.
STORAGE_VARIABLE = "SERPLATFORM_STORAGE"


def recorded_storage(storage: str) -> str:
    """The URL to record; its password stays in the environment of this process."""
    recorded = redact(storage)
    if recorded != storage:
        os.environ[STORAGE_VARIABLE] = storage
    return recorded


def full_storage(recorded: str) -> str:
    """An Optuna storage URL with the password that is never recorded.

    Args:
        recorded: as in ``run.json``, ``***`` in the place of what is secret.

    Raises:
        BadInputError: :data:`STORAGE_VARIABLE` does not hold the whole URL.
    """
    if "***" not in recorded:
        return recorded
    whole = os.environ.get(STORAGE_VARIABLE, "")
    if redact(whole) != recorded:
        raise BadInputError(
            f"the study's storage is {recorded}, and its password is not recorded: set the "
            f"environment variable {STORAGE_VARIABLE} to the whole URL"
        )
    return whole


def check_storage(url: str, *, connect: bool = True) -> str:
    """See that the Optuna storage that a user names can be used.

    Args:
        url: as the user wrote it.
        connect: to a database that is no file, to see that it answers.

    Returns:
        its URL, where the file of an SQLite database has its whole path.

    Raises:
        BadInputError: it is no URL, in memory only, of a kind or driver that is not there, or
            cannot be opened.
    """
    if "://" not in url:
        name = url.strip().rpartition(":")[2] or "studies.db"
        raise BadInputError(
            f"--storage '{url}': is no URL; write sqlite:///{name} for a database file, or leave "
            "it out: the run then keeps a journal of its own"
        )
    head, _, rest = url.partition("://")
    if head not in ("sqlite", "sqlite+pysqlite"):
        if connect:
            open_storage(url)
        return url
    file, mark, query = rest.removeprefix("/").partition("?")
    if not rest.startswith("/") or file in ("", ":memory:"):
        raise BadInputError(
            f"--storage {url}: names no file, and in memory nothing is kept; write e.g. "
            "sqlite:///studies.db"
        )
    path = check_file(file, "--storage", what="a SQLite database")
    if not isinstance(path, Path) or not path.parent.is_dir():
        raise BadInputError(f"--storage {url}: there is no directory for this file; make it first")
    return f"{head}:///{address(path)}{mark}{query}"


def open_storage(location: str) -> BaseStorage:
    """Open an Optuna storage: a journal file's path, or any Optuna storage URL.

    A journal whose writer was killed may end in half a line and a stale lock; both are
    removed, which loses nothing that was acknowledged. The caller must hold the run's lock.
    """
    import optuna

    from serplatform.studies.optuna_internals import StudyJournal

    if "://" in location:
        try:
            return optuna.storages.get_storage(location)
        except ImportError:
            raise BadInputError(
                f"--storage {redact(location)}: the package that reads this database is not "
                "installed, e.g. psycopg2-binary for postgresql, pymysql for mysql+pymysql"
            ) from None
        except Exception as error:  # noqa: BLE001 - each database has errors of its own
            reason = redact(str(error).strip().partition("\n")[0])
            raise BadInputError(
                f"--storage {redact(location)}: cannot be opened ({reason}); give an "
                "Optuna storage URL such as sqlite:///studies.db, or leave it out"
            ) from None
    path = Path(location)
    if path.exists():
        _cut_partial_line(path)
    for lock in (f"{location}.lock", f"{location}.lock.rename"):
        if os.path.lexists(lock):
            os.unlink(lock)
    try:
        storage = optuna.storages.JournalStorage(StudyJournal(location))
        for last in path.read_bytes().splitlines()[-1:]:
            json.loads(last)  # Optuna would notice it only when the next line is written
        return storage
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        AssertionError,
        optuna.exceptions.OptunaError,
    ) as error:
        raise ArtifactError(
            f"{location}: the study's journal is damaged ({error}); move it away and resume: "
            "it is rebuilt from the trial records"
        ) from None


def _cut_partial_line(path: Path) -> None:
    """Cut what follows the last newline of a file."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(path, end)
