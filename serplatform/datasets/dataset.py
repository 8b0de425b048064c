"""Read a prepared dataset: tables, and frames in memory maps (``mapped_shards.py``).

Opening a dataset directory reads ``dataset.json`` and the utterance table only; the uncompressed
Arrow IPC files of features are mapped when they are first used. Passing a dataset to another
process sends its path, and the other process opens it again.

Shapes: N utterances, T frames, D feature dimension.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from serplatform.arrays import FloatArray, IntArray
from serplatform.artifacts.dataset import (
    ALIGNMENT_SCHEMA,
    LATER_COLUMNS,
    UTTERANCE_SCHEMA,
    DatasetDescription,
    read_dataset_description,
)
from serplatform.artifacts.files import file_sha256, read_parquet
from serplatform.artifacts.layout import DATASET, did_you_mean
from serplatform.datasets.mapped_shards import (
    MappedFrames,
    MappedPages,
    damaged,
    map_shard,
    rows_of,
)
from serplatform.errors import ArtifactError, BadInputError, unknown_name
from serplatform.features.names import split_speed, with_directory
from serplatform.inputs.clips import FeatureFrames
from serplatform.inputs.config import JOIN, feature_parts
from serplatform.inputs.selection import FrameSelection, common_shift, join_frames, joined_spec
from serplatform.storage.cache import local_dataset
from serplatform.storage.location import Location, parse

_AGAIN = "prepare the dataset again"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureInfo:
    """What a stored feature is.

    Attributes:
        dim: D, values a frame.
        frame_shift: seconds from one frame to the next; ``frame_length``: seconds a frame covers.
        unit: of a value.
        spec: every parameter of its extractor.
        resampled: joined features of a shorter frame shift, and that shift, seconds.
    """

    name: str
    dim: int
    frame_shift: float
    frame_length: float
    unit: str
    spec: Mapping[str, object]
    resampled: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def selection(self, *, trim: bool = False) -> FrameSelection:
        """What is read of it."""
        return FrameSelection(
            feature=self.name,
            spec=self.spec,
            frame_shift=self.frame_shift,
            trim=trim,
            resampled=self.resampled,
        )


class Dataset:
    """A prepared dataset, opened for reading; make one with :meth:`open`.

    Attributes:
        path: its directory on this node.
        address: what other processes open it by: an absolute path, or a URI.
        meta: contents of ``dataset.json``.
        utterances: N rows of ``artifacts.UTTERANCE_SCHEMA`` and the corpus's own columns.
        cache: values derived from the files, kept for the life of the object.
        pages: of the memory maps.
    """

    def __init__(
        self,
        path: Path,
        meta: DatasetDescription,
        utterances: pa.Table,
        address: str | None = None,
    ) -> None:
        self.path = path
        self.address = address or str(path)
        self.meta = meta
        self.utterances = utterances
        self.cache: dict[Hashable, Any] = {}
        self.pages = MappedPages()
        self._mapped: dict[str, MappedFrames] = {}

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Open a dataset directory.

        Args:
            path: a local directory, or a URI; from object storage it is brought into this
                node's cache first (``storage.cache``).

        Raises:
            ArtifactError: a file is missing, truncated, altered, of another schema version,
                or disagrees with another; the message names it.
            BadInputError: it is a URI that cannot be used.
            RemoteError: it is on object storage that cannot be read.
        """
        place = parse(path)
        directory = _local_directory(local_dataset(place))
        meta = read_dataset_description(directory)
        _check_shards(directory, meta)
        utterances = read_parquet(directory / "utterances.parquet", "utterance table")
        for later in LATER_COLUMNS:
            if later.name not in utterances.column_names:
                utterances = utterances.append_column(
                    later, pa.nulls(utterances.num_rows, later.type)
                )
        _check_utterances(directory, meta, utterances)
        return cls(directory, meta, utterances, str(place) if isinstance(place, Location) else None)

    def __reduce__(self) -> tuple[Callable[[str], Dataset], tuple[str]]:
        return Dataset.open, (self.address,)

    def __repr__(self) -> str:
        speakers = len(self.meta["counts"]["by_speaker"])
        return (
            f"Dataset({self.address!r}): {self.meta['title']}, {len(self)} utterances of "
            f"{speakers} speakers; {', '.join(self.classes)}; {', '.join(self.feature_names)}"
        )

    def __len__(self) -> int:
        return self.utterances.num_rows

    @property
    def fingerprint(self) -> str:
        """Hash of the dataset's contents and feature specifications."""
        return self.meta["fingerprint"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Label order of the corpus."""
        return tuple(self.meta["classes"])

    @property
    def synthetic(self) -> bool:
        """Whether the speech is machine-made."""
        return self.meta["synthetic"]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Features that the dataset holds of its clips; for other speeds see :meth:`speeds`."""
        return tuple(name for name in self.meta["features"] if split_speed(name)[0] == name)

    @cached_property
    def utterance_ids(self) -> list[str]:
        """N utterance ids, in the order of the rows."""
        return self.utterances.column("utterance_id").to_pylist()

    @cached_property
    def speaker_ids(self) -> list[str]:
        """N speaker ids, in the order of the rows."""
        return self.utterances.column("speaker_id").to_pylist()

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each utterance id."""
        return {utterance_id: row for row, utterance_id in enumerate(self.utterance_ids)}

    @cached_property
    def alignment(self) -> pa.Table:
        """Word and phone spans (``artifacts.ALIGNMENT_SCHEMA``); without rows where there are none.

        Raises:
            ArtifactError: the file is listed in dataset.json but is missing or damaged.
        """
        if "alignment.parquet" not in self.meta["files"]:
            return ALIGNMENT_SCHEMA.empty_table()
        path = self.path / "alignment.parquet"
        table = read_parquet(path, "alignment table")
        _require_columns(table, ALIGNMENT_SCHEMA, path)
        return table

    def class_counts(self) -> dict[str, int]:
        """Utterances of each class, in label order, zeros included."""
        counts = dict.fromkeys(self.classes, 0)
        for item in self.utterances.column("emotion").value_counts().to_pylist():
            counts[item["values"]] = counts.get(item["values"], 0) + item["counts"]
        return counts

    def lacking(self, feature: str) -> list[str]:
        """The features that ``feature`` is, or joins, and that the dataset does not hold."""
        return [part for part in feature_parts(feature) if part not in self.meta["features"]]

    def speeds(self, feature: str) -> tuple[float, ...]:
        """Other speeds of the clips at which ``feature``, or all that it joins, is held, ascending.

        The clips themselves are at speed 1, which is not among them.
        """
        held: dict[str, set[float]] = {part: set() for part in feature_parts(feature)}
        for name in self.meta["features"]:
            plain, speed = split_speed(name)
            if plain != name and plain in held:
                held[plain].add(speed)
        return tuple(sorted(set.intersection(*held.values())))

    def training_speeds(self, feature: str) -> tuple[float, ...]:
        """:meth:`speeds`, of which there must be one.

        Raises:
            BadInputError: the dataset holds none.
        """
        if speeds := self.speeds(feature):
            return speeds
        names = map(with_directory, feature.split(JOIN))
        raise BadInputError(
            f"{self.path}: data.speeds = true trains on clips at other speeds too, and the dataset "
            f"holds '{feature}' at none; prepare it again with --features '{','.join(names)}' "
            "--speeds 0.9,1.1 to add them"
        )

    def feature_info(self, name: str) -> FeatureInfo:
        """What the feature ``name`` is; names with ``+`` between are joined frame by frame, those
        of a shorter frame shift averaged to the longest.

        Raises:
            BadInputError: the dataset does not hold it, or features cannot be joined.
        """
        parts = feature_parts(name)
        if len(parts) > 1:
            infos = [self.feature_info(part) for part in parts]
            shift, shorter = common_shift({info.name: info.frame_shift for info in infos})
            return FeatureInfo(
                name=JOIN.join(parts),
                dim=sum(info.dim for info in infos),
                frame_shift=shift,
                frame_length=max(info.frame_length for info in infos),
                unit="; ".join(dict.fromkeys(info.unit for info in infos)),
                spec=joined_spec({info.name: info.spec for info in infos}),
                resampled=shorter,
            )
        (name,) = parts
        features = self.meta["features"]
        if name not in features:
            raise BadInputError(
                f"{self.path}: {unknown_name('feature', name, self.feature_names)} "
                f"Prepare the dataset with --features {with_directory(name)} to add it."
            )
        entry = features[name]
        return FeatureInfo(
            name=name,
            dim=entry["dim"],
            frame_shift=float(entry["frame_shift"]),
            frame_length=float(entry["frame_length"]),
            unit=entry["unit"],
            spec=dict(entry["spec"]),
        )

    def dims(self, name: str) -> dict[str, int]:
        """Each feature that ``name`` is, or joins, to its values a frame."""
        return {part: self.feature_info(part).dim for part in feature_parts(name)}

    def mapped(self, name: str) -> MappedFrames:
        """Frames of one feature in memory maps; its shards are mapped on the first call.

        Raises:
            ArtifactError: a shard is missing, truncated or disagrees with the tables.
            BadInputError: the dataset does not hold the feature.
        """
        if name not in self._mapped:
            self._mapped[name] = self._map(name)
        return self._mapped[name]

    def num_frames(self, name: str) -> IntArray:
        """(N,) frames of each utterance; of joined features those of the shortest."""
        return np.asarray(np.min([part.num_frames for part in self._parts(name)], axis=0))

    def frames(self, name: str, row: int) -> FloatArray:
        """(T, D) frames of one utterance: a read-only view, or a copy where features are joined."""
        return join_frames([part.frames(row) for part in self._parts(name)])

    def _parts(self, name: str) -> list[FeatureFrames]:
        """Joined features at their common frame shift."""
        selection = self.feature_info(name).selection()
        return [selection.resample(part, self.mapped(part)) for part in feature_parts(name)]

    def check(self) -> list[str]:
        """Verify every checksum and row order; return one sentence per error."""
        errors: list[str] = []
        for file, expected in self.meta["files"].items():
            errors += _checksum_errors(self.path / file, expected)
        for name, entry in self.meta["features"].items():
            before = len(errors)
            for shard in entry["shards"]:
                errors += _checksum_errors(self.path / shard["file"], shard["sha256"])
            if len(errors) == before:
                errors += self._order_errors(name)
        return errors

    def _order_errors(self, name: str) -> list[str]:
        """Compare the ids of every shard with the utterance table's, and look for NaN."""
        errors: list[str] = []
        first = 0
        for shard in self.meta["features"][name]["shards"]:
            path = self.path / shard["file"]
            try:
                batch, _ = map_shard(path)
                ids, _, _ = rows_of(batch, shard, path)
            except ArtifactError as error:
                errors.append(str(error))
                continue
            if ids != self.utterance_ids[first : first + len(ids)]:
                errors.append(f"{path}: its rows are not in the order of utterances.parquet")
            values = batch.column("frames").values.to_numpy(zero_copy_only=True)
            if not np.isfinite(values).all():
                errors.append(f"{path}: holds values that are not finite")
            first += shard["rows"]
        return errors

    def _map(self, name: str) -> MappedFrames:
        dim = self.feature_info(name).dim
        values: list[FloatArray] = []
        starts: list[IntArray] = []
        lengths: list[IntArray] = []
        first = 0
        for shard in self.meta["features"][name]["shards"]:
            path = self.path / shard["file"]
            batch, region = map_shard(path)
            self.pages.regions.append(region)
            ids, begins, sizes = rows_of(batch, shard, path)
            if len(ids) != shard["rows"] or int(sizes.sum()) != shard["frames"] * dim:
                raise damaged(
                    path,
                    f"holds {len(ids)} rows and {int(sizes.sum())} values, where "
                    f"dataset.json says {shard['rows']} rows and {shard['frames']} frames of "
                    f"{dim}",
                )
            if (sizes % dim).any() or (sizes < dim).any():
                raise damaged(path, "has a row that is not whole frames")
            for position in {0, len(ids) - 1} if ids else ():
                wanted = self.utterance_ids[first + position]
                if ids[position] != wanted:
                    raise damaged(
                        path,
                        f"row {position} is '{ids[position]}', where utterances.parquet has "
                        f"'{wanted}'",
                    )
            values.append(batch.column("frames").values.to_numpy(zero_copy_only=True))
            starts.append(begins)
            lengths.append(sizes // dim)
            first += len(ids)
        shards = [np.full(len(start), i, dtype=np.int64) for i, start in enumerate(starts)]
        empty = np.zeros(0, dtype=np.int64)
        return MappedFrames(
            values=tuple(values),
            shard=np.concatenate([empty, *shards]),
            start=np.concatenate([empty, *starts]),
            num_frames=np.concatenate([empty, *lengths]),
            dim=dim,
            pages=self.pages,
        )


def _require_columns(table: pa.Table, schema: pa.Schema, path: Path) -> None:
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise damaged(path, f"has no column {', '.join(missing)}")


def _local_directory(path: Path) -> Path:
    """The path of a directory that holds a dataset."""
    directory = path.absolute()
    if not directory.exists():
        raise ArtifactError(
            f"{path}: no such dataset directory; make one with 'serplatform prepare'"
            f"{did_you_mean(path, DATASET)}"
        )
    if not (directory / "dataset.json").is_file():
        raise ArtifactError(
            f"{path}: holds no dataset.json, so it is not a (finished) dataset; make one of "
            f"recordings or a table by: serplatform prepare {shlex.quote(str(path))} --out DATA"
        )
    return directory


def _check_shards(directory: Path, meta: DatasetDescription) -> None:
    """Compare every feature's shards with what dataset.json says, by rows and by size."""
    errors = []
    total = meta["counts"]["utterances"]
    for name, entry in meta["features"].items():
        rows = sum(shard["rows"] for shard in entry["shards"])
        if rows != total:
            errors.append(f"feature '{name}' has {rows} rows for {total} utterances")
        for shard in entry["shards"]:
            file = directory / shard["file"]
            if not file.is_file():
                errors.append(f"{file.name} is missing")
            elif file.stat().st_size != shard["bytes"]:
                errors.append(
                    f"{file.name} has {file.stat().st_size} bytes instead of {shard['bytes']}"
                )
    if errors:
        path = directory / "dataset.json"
        raise ArtifactError(f"{path}: the dataset is not whole; {_AGAIN}:", errors)


def _check_utterances(directory: Path, meta: DatasetDescription, utterances: pa.Table) -> None:
    path = directory / "utterances.parquet"
    _require_columns(utterances, UTTERANCE_SCHEMA, path)
    if utterances.num_rows != meta["counts"]["utterances"]:
        raise damaged(
            path,
            f"has {utterances.num_rows} rows, where dataset.json says "
            f"{meta['counts']['utterances']}",
        )
    expected = meta["files"].get(path.name)
    if expected is None:
        raise damaged(path, "dataset.json holds no checksum of it")
    if errors := _checksum_errors(path, expected):  # labels and speakers changed by hand
        raise ArtifactError(f"{errors[0]}: it was altered; {_AGAIN}")


def _checksum_errors(path: Path, expected: str) -> list[str]:
    if not path.is_file():
        return [f"{path}: is missing"]
    found = file_sha256(path)
    if found == expected:
        return []
    return [f"{path}: its checksum is {found[:12]}…, dataset.json says {expected[:12]}…"]
