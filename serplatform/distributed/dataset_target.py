"""The folder that a dataset is written into: what lies there, and the work that is unfinished."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from serplatform.artifacts.dataset import DatasetDescription
from serplatform.distributed.extraction import DatasetRequest
from serplatform.errors import ArtifactError, BadInputError
from serplatform.storage.cache import listed_files
from serplatform.storage.destination import UNFINISHED
from serplatform.storage.location import Location

#: names of the files of a dataset that is not whole yet
UNFINISHED_FILES = re.compile(r"lock|replaced\.json|shard-\d{5}\.json|[^/]+-\d{5}\.(arrow|parquet)")


def check_encoders(where: object, specs: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Refuse two encoders of one name: their layers would be taken for those of one.

    Args:
        where: of the features.
        specs: names of features, and what determines them.
    """
    first: dict[tuple[str, str], tuple[str, Mapping[str, Any]]] = {}
    for feature, spec in specs:
        if (encoder := spec.get("encoder")) is None:
            continue
        other, known = first.setdefault((spec["kind"], encoder["name"]), (feature, encoder))
        if known != encoder:
            raise BadInputError(
                f"{where}: {other} and {feature} are of two encoders named {encoder['name']} "
                f"(SHA-256 {known['sha256'][:12]}… and {encoder['sha256'][:12]}…, or other "
                "settings); rename the directory of one, or name another dataset"
            )


def existing(
    where: Path | Location,
    read: Callable[[], DatasetDescription | None],
    request: DatasetRequest,
    specs: Mapping[str, Any],
    overwrite: bool,
) -> DatasetDescription | None:
    """The description of a whole dataset of this request; None when one is to be made.

    Features that it lacks can be added where it is local.

    Raises:
        BadInputError: another dataset lies there, and may not be overwritten.
    """
    try:
        meta = read()
    except ArtifactError:
        if overwrite:
            return None
        raise BadInputError(
            f"{where}: holds a damaged dataset or one of another version; --overwrite replaces it"
        ) from None
    if meta is None:
        return None
    stored = {name: entry["spec"] for name, entry in meta["features"].items()}
    asked: dict[str, Any] = json.loads(json.dumps(specs))
    if not overwrite:
        check_encoders(where, [*stored.items(), *asked.items()])
    lacking = asked.keys() - stored.keys()
    with_plugins = {**request, "plugins": [*request.get("plugins", [])]}
    before = meta.get("request", {})
    if lacking and isinstance(where, Path) and not overwrite:  # they may be a plugin's
        with_plugins["plugins"] = before.get("plugins", [])
        lacking = set()
    same = {"plugins": [], **before} == json.loads(json.dumps(with_plugins))
    if same and not lacking and all(stored.get(n, spec) == spec for n, spec in asked.items()):
        return meta
    if overwrite:
        return None
    raise BadInputError(
        f"{where}: holds another dataset ({meta['corpus']}, {meta['counts']['utterances']} "
        f"utterances, {', '.join(meta['features'])}), or its source has changed since, or another "
        "version of serplatform made it; name another directory, or --overwrite to replace it"
    )


def remove_dataset(out: Path, partial: Path) -> None:
    """Remove an earlier dataset's files, by its own list, its description first.

    The list lies in ``partial`` meanwhile: a call after one that was killed resumes with it.
    """
    replaced = partial / "replaced.json"
    with contextlib.suppress(FileNotFoundError):
        (out / "dataset.json").replace(replaced)
    if not replaced.exists():
        return
    content = replaced.read_bytes()
    try:
        names = set(listed_files(content, out))
    except ArtifactError:  # damaged: the shards that can still be read in it
        found = re.findall(r'"([\w.-]+-\d{5}\.arrow)"', content.decode(errors="replace"))
        names = {*found, "utterances.parquet", "alignment.parquet", "rejected.csv", "unaligned.csv"}
    for name in names:
        (out / name).unlink(missing_ok=True)
    replaced.unlink()


@contextlib.contextmanager
def partial_folder(out: Path) -> Iterator[Path]:
    """The folder of unfinished work, locked; nothing is left of it where nothing could be begun."""
    partial, is_new = out / UNFINISHED, not out.exists()
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"{partial}: cannot be made ({error.strerror}); name another") from None
    try:
        with FileLock(partial / "lock", timeout=0):
            try:
                yield partial
            except BaseException:
                if partial.is_dir() and os.listdir(partial) == ["lock"]:
                    shutil.rmtree(partial)
                    if is_new:
                        with contextlib.suppress(OSError):
                            out.rmdir()
                raise
    except Timeout:
        raise BadInputError(f"{out}: another 'prepare' is writing it; wait for it") from None
