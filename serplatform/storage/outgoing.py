"""What a command writes to object storage: made whole on this machine, then put there."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from serplatform.artifacts.dataset import DatasetDescription, parse_dataset_description
from serplatform.errors import ArtifactError, BadInputError
from serplatform.storage.cache import adopt, cache_folder, listed_files
from serplatform.storage.destination import NEW, check_directory
from serplatform.storage.location import Location, parse
from serplatform.storage.mirror import published_files
from serplatform.storage.remote import RemoteError, in_order, remote


@contextlib.contextmanager
def written_file(text: str | Path) -> Iterator[Path]:
    """A path to write a file to; for a URI on object storage it is put there at the end.

    Raises:
        BadInputError: the URI cannot be used.
        RemoteError: the storage cannot be written.
    """
    place = parse(text)
    if not isinstance(place, Location):
        yield place
        return
    remote(place).check()
    with tempfile.TemporaryDirectory(prefix="serplatform-") as folder:
        file = Path(folder) / place.name
        yield file
        remote(place).put("", file)


@contextlib.contextmanager
def new_folder(text: str | Path) -> Iterator[Path]:
    """A path for a new folder; for a URI on object storage it is put there at the end.

    Raises:
        BadInputError: something is there already.
        RemoteError: the storage cannot be written.
    """
    place = check_directory(text, NEW)
    if not isinstance(place, Location):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="serplatform-") as folder:
        made = Path(folder) / place.name
        yield made
        upload(made, place)


def upload(folder: Path, location: Location) -> None:
    """Put every file of a folder at a location, the file that describes the others last.

    Raises:
        RemoteError: one could not be written; what is there is then not taken for whole.
    """
    keys = [file.relative_to(folder).as_posix() for file in published_files(folder)]
    in_order(keys, lambda key: remote(location).put(key, folder / key))


def dataset_folder(location: Location) -> Path:
    """Where a dataset for a location is prepared on this machine."""
    return cache_folder() / "prepared" / location.identity / location.name


def dataset_description(location: Location) -> DatasetDescription | None:
    """The description of the dataset at a location; None where there is none.

    Raises:
        BadInputError: the location holds something else.
        ArtifactError: it is damaged or of another version.
        RemoteError: the storage cannot be read.
    """
    source = remote(location)
    source.check()
    try:
        return parse_dataset_description(source.read("dataset.json"), location)
    except RemoteError as error:
        if error.kind != "missing":
            raise
    if source.list().keys() & {"run.json", "ensemble.json", "bundle.json"}:
        raise BadInputError(f"{location}: holds something else than a dataset; name a new address")
    return None


def upload_dataset(folder: Path, location: Location) -> None:
    """Put a prepared dataset at a location; this machine's cache then holds it as staged.

    Raises:
        RemoteError: not all of it could be written; the dataset stays in ``folder``, and is
            put there by the next call.
    """
    target = remote(location)
    earlier: set[str] = set()
    with contextlib.suppress(RemoteError, ArtifactError):  # there is none, or it is damaged
        earlier = set(listed_files(target.read("dataset.json"), location))
    target.delete("dataset.json")  # of an earlier dataset: its files are about to go
    upload(folder, location)
    for name in earlier - {file.name for file in folder.iterdir()}:
        target.delete(name)
    adopt(folder)
    shutil.rmtree(folder.parent, ignore_errors=True)
