"""Feature extraction as Ray tasks: one task per shard, resumable shard by shard.

A shard's files are written first and its record (``shard-00003.json``) last, so that a record
means a whole shard. Records carry the digest of the request: a record of another request is
never taken for one of this.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pyarrow as pa

from serplatform.alignment.base import get_aligner
from serplatform.artifacts.dataset import ALIGNMENT_SCHEMA, UTTERANCE_SCHEMA, Shard
from serplatform.artifacts.files import read_json, write_json, write_parquet
from serplatform.artifacts.records import PluginRecord
from serplatform.console import format_duration
from serplatform.corpora.base import CORPORA, RejectedUtterance, Utterance
from serplatform.errors import ArtifactError, InterruptedRunError, SerplatformError
from serplatform.features.base import FEATURES
from serplatform.features.extract import extract_shard
from serplatform.features.names import file_stem
from serplatform.features.shards import write_feature_shard
from serplatform.plugins import unpack

_SMALLEST_SHARD, _LARGEST_SHARD, _WANTED_SHARDS = 32, 128, 16
#: shards after which a worker process is replaced, so that what libraries leak stays small
#: (espeak-ng loses 2 to 3 KB per utterance)
_CALLS_PER_WORKER = 32
#: clips that are timed before a costly extraction, and tasks that share a GPU in it
_PROBED, _TASKS_PER_GPU = 4, 4
_POLL = 0.5  # seconds between looks at the keyboard


class DatasetRequest(TypedDict):
    """What determines a dataset, as ``dataset.json`` records it.

    ``source``, ``root``, ``alignments``: paths, where files are read. ``contents``,
    ``alignment_files``: digests of what is read. ``version``, ``fingerprints``: of the extraction.
    ``aligner``: the model that aligned, with the hash of its weights; absent without one.
    ``speakers_differ``: absent in older datasets, and where it is false.
    """

    corpus: str
    source: str | None
    root: str | None
    options: dict[str, object]
    label_map: dict[str, str]
    max_duration: float | None
    align: str
    alignments: str | None
    alignment_files: str | None
    contents: str
    version: int
    fingerprints: int
    speakers_differ: NotRequired[bool]
    aligner: NotRequired[dict[str, object]]
    plugins: NotRequired[list[PluginRecord]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to extract into files in ``folder``.

    Paths in the table are relative to ``root``; ``extra_columns`` are the corpus's own; ``digest``
    is that of everything that determines the shard; ``plugins`` are for ``plugins.unpack``;
    ``adds``: features of utterances whose words are known already.
    """

    number: int
    utterances: tuple[Utterance, ...]
    request: DatasetRequest
    digest: str
    root: Path
    features: tuple[str, ...]
    extra_columns: tuple[str, ...]
    folder: Path
    plugins: tuple[str, ...] = ()
    adds: bool = False

    @property
    def record(self) -> Path:
        """The file that says that the shard is whole."""
        return self.folder / f"shard-{self.number:05d}.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardReport:
    """A shard that is whole; the content of its record.

    ``digest`` is the SHA-256 of table rows and spans; ``files``: feature name to the entry for
    ``dataset.json``; ``spans``: rows of alignment; ``aligned``: source of alignment to utterances;
    ``unaligned``: utterance id, reason and detail of each; ``alignment_notes``: repair to
    utterances; ``audio_notes``: what was odd about a recording, and its path.
    """

    number: int
    request: str
    rows: int
    rejections: tuple[RejectedUtterance, ...]
    digest: str
    files: dict[str, Shard]
    spans: int
    aligned: dict[str, int]
    unaligned: tuple[tuple[str, str, str], ...] = ()
    alignment_notes: dict[str, int] = dataclasses.field(default_factory=dict)
    audio_notes: tuple[tuple[str, str], ...] = ()
    reused: bool = False

    def table(self, folder: Path) -> Path:
        """Utterance rows."""
        return folder / f"utterances-{self.number:05d}.parquet"

    def alignment(self, folder: Path) -> Path:
        """Spans; the file is there when ``spans`` is not 0."""
        return folder / f"alignment-{self.number:05d}.parquet"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractionProgress:
    """How far the extraction is; ``done`` counts rejected utterances too."""

    done: int
    total: int
    rejected: int


def shard_size(num_utterances: int) -> int:
    """Utterances per shard: about sixteen shards, of 32 to 128; independent of the machine.

    Example:
        >>> shard_size(100), shard_size(1440), shard_size(20_000)
        (32, 90, 128)
    """
    wanted = -(-num_utterances // _WANTED_SHARDS)
    return min(_LARGEST_SHARD, max(_SMALLEST_SHARD, wanted))


def run_shard(task: ShardTask) -> ShardReport:
    """Extract one shard and write its files, in the calling process, on one thread."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    unpack(task.plugins)
    made = map(FEATURES.make, task.features)
    extractors = {extractor.name: extractor for extractor in made}
    request, alignments = task.request, task.request["alignments"]
    with threadpool_limits(limits=1):
        content = extract_shard(
            task.utterances,
            extractors,
            corpus=CORPORA.get(request["corpus"])(**request["options"]),
            root=task.root,
            extra_columns=task.extra_columns,
            max_duration=request["max_duration"],
            aligner=None
            if task.adds and not any(e.reads_words for e in extractors.values())
            else get_aligner(request["align"], alignments and Path(alignments)),
        )
    sources = {span["utterance_id"]: span["source"] for span in content.spans}
    report = ShardReport(
        number=task.number,
        request=task.digest,
        rows=len(content.rows),
        rejections=tuple(content.rejections),
        digest=content.digest(),
        spans=len(content.spans),
        aligned=dict(Counter(sources.values())),
        unaligned=tuple(content.unaligned),
        alignment_notes=dict(Counter(content.alignment_notes)),
        audio_notes=tuple(content.audio_notes),
        files={
            name: write_feature_shard(
                task.folder / f"{file_stem(name)}-{task.number:05d}.arrow",
                extractor,
                [row["utterance_id"] for row in content.rows],
                content.frames[name],
            )
            for name, extractor in extractors.items()
        },
    )
    schema = UTTERANCE_SCHEMA
    for name in task.extra_columns:  # the corpus's own, which are text
        schema = schema.append(pa.field(name, pa.string()))
    write_parquet(report.table(task.folder), pa.Table.from_pylist(content.rows, schema=schema))
    if content.spans:
        spans = pa.Table.from_pylist(content.spans, schema=ALIGNMENT_SCHEMA)
        write_parquet(report.alignment(task.folder), spans)
    write_json(task.record, dataclasses.asdict(report))
    return report


def finished_shard(task: ShardTask) -> ShardReport | None:
    """Read a shard's record; None when it is not whole or of another request."""
    from pydantic import TypeAdapter

    try:
        report = TypeAdapter(ShardReport).validate_python(read_json(task.record))
    except (ArtifactError, ValueError):
        return None
    paths = {task.folder / entry["file"]: entry["bytes"] for entry in report.files.values()}
    is_whole = (
        report.request == task.digest
        and all(path.is_file() and path.stat().st_size == size for path, size in paths.items())
        and report.table(task.folder).is_file()
        and (not report.spans or report.alignment(task.folder).is_file())
    )
    return dataclasses.replace(report, reused=True) if is_whole else None


def announce(tasks: Sequence[ShardTask], workers: int | None) -> str:
    """Say how long the extraction will take and how large its files will be.

    A few clips are extracted by a worker, which keeps what it loaded for the shards that follow.
    """
    import ray

    every = [utterance for task in tasks for utterance in task.utterances]
    todo = [u for task in tasks if finished_shard(task) is None for u in task.utterances]
    step = max(1, len(every) // _PROBED)
    probe = dataclasses.replace(tasks[0], utterances=tuple(every[step // 2 :: step][:_PROBED]))
    parallel, options = _workers(workers, costly=True)
    seconds, size, loading = ray.get(
        ray.remote(_time_clips).options(name="extract", **options).remote(probe)
    )
    parallel = min(parallel, len(tasks))
    took = loading + seconds * len(todo) / parallel
    kept = f" ({len(every) - len(todo)} of them are there already)" * (len(todo) < len(every))
    return (
        f"{len(every)} utterances{kept}: about {format_duration(took)} with {parallel} worker(s), "
        f"and about {_megabytes(size * len(every))} on disk"
    )


def _time_clips(task: ShardTask) -> tuple[float, float, float]:
    """Seconds and bytes a clip, and seconds before the first."""
    from threadpoolctl import threadpool_limits

    began = time.monotonic()
    unpack(task.plugins)
    extractors = {name: FEATURES.make(name) for name in task.features}
    corpus = CORPORA.get(task.request["corpus"])(**task.request["options"])
    first, *rest = [(u,) for u in task.utterances]
    with threadpool_limits(limits=1):
        extract_shard(first, extractors, corpus=corpus, root=task.root)
        loaded = time.monotonic()
        size, count = 0, 0
        for one in rest or [first]:
            content = extract_shard(one, extractors, corpus=corpus, root=task.root)
            for name, frames in content.frames.items():
                item = np.dtype(extractors[name].stored_as).itemsize
                size += sum(values.size for values in frames) * item
            count += 1
    return (time.monotonic() - loaded) / count, size / count, loaded - began


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else "less than 1 MB"


def _workers(workers: int | None, *, costly: bool) -> tuple[int, dict[str, float]]:
    """How many tasks at a time, and what each asks of Ray."""
    import ray

    resources = ray.cluster_resources()
    count, gpus = max(1, int(resources.get("CPU", 1))), resources.get("GPU", 0)
    if costly and gpus:
        count = min(count, int(gpus * _TASKS_PER_GPU))
        return min(workers or count, count), {"num_gpus": 1 / _TASKS_PER_GPU}
    return workers or count, {}


def extract_shards(
    tasks: Sequence[ShardTask],
    *,
    workers: int | None = None,
    progress: Callable[[ExtractionProgress], None] | None = None,
) -> list[ShardReport]:
    """Extract every shard that is not whole yet, as Ray tasks of one CPU each, at most ``workers``
    at a time (None: as many as the cluster has CPUs); Ray must be connected.

    Raises:
        InterruptedRunError: Ctrl-C; whole shards are kept.
        SerplatformError: a task failed.
    """
    reports = {task.number: report for task in tasks if (report := finished_shard(task))}
    sizes = {task.number: len(task.utterances) for task in tasks}

    def tell() -> None:
        if progress is not None:
            progress(
                ExtractionProgress(
                    done=sum(sizes[number] for number in reports),
                    total=sum(sizes.values()),
                    rejected=sum(len(report.rejections) for report in reports.values()),
                )
            )

    tell()
    for report in _run([task for task in tasks if task.number not in reports], workers):
        reports[report.number] = report
        tell()
    return [reports[task.number] for task in tasks]


def _run(tasks: Sequence[ShardTask], workers: int | None) -> Iterator[ShardReport]:
    """Yield reports as they come; at most ``workers`` tasks are submitted at a time."""
    import ray

    if not tasks:
        return
    costly = any(FEATURES.make(name).costly for name in tasks[0].features)
    limit, options = _workers(workers, costly=costly)
    decorate = ray.remote(num_cpus=1, max_retries=2, max_calls=_CALLS_PER_WORKER)
    remote = decorate(run_shard).options(name="extract", **options)
    waiting = list(reversed(tasks))
    running: list[Any] = []
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                running.append(remote.remote(waiting.pop()))
            done, running = ray.wait(running, num_returns=1, timeout=_POLL)
            for reference in done:
                yield ray.get(reference)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "stopped; shards that are whole are kept: give the same command again to resume"
        ) from None
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)  # what a task raised
        if isinstance(cause, SerplatformError):
            raise cause from None
        raise SerplatformError(
            f"extraction failed: {cause or error}; whole shards are kept: give the same command "
            "again to resume"
        ) from error
    finally:
        for reference in running:
            ray.cancel(reference, force=False)
