"""Everything that ``serplatform prepare`` does: a corpus in, an Arrow dataset out."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import inspect
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import serplatform
from serplatform import plugins
from serplatform.alignment.base import NONE, get_aligner
from serplatform.artifacts.dataset import DatasetDescription
from serplatform.artifacts.files import SCHEMA_VERSION, remove_own, unfinished_folder, write_json
from serplatform.config import digest
from serplatform.console import say
from serplatform.corpora.about import About, about
from serplatform.corpora.audio import MAX_DURATION
from serplatform.corpora.base import CORPORA, Corpus, Manifest
from serplatform.corpora.paths import holds
from serplatform.corpora.validate import is_text, validate
from serplatform.datasets.dataset import Dataset
from serplatform.distributed.assembly import add_features, assemble
from serplatform.distributed.cluster import connect
from serplatform.distributed.dataset_target import (
    UNFINISHED_FILES,
    check_encoders,
    existing,
    partial_folder,
    remove_dataset,
)
from serplatform.distributed.extraction import (
    DatasetRequest,
    ExtractionProgress,
    ShardReport,
    ShardTask,
    announce,
    extract_shards,
    shard_size,
)
from serplatform.errors import ArtifactError, BadInputError, SerplatformError, unknown_name
from serplatform.features.base import FEATURES, FeatureExtractor
from serplatform.features.extract import relative_path
from serplatform.features.fingerprint import FINGERPRINT_VERSION
from serplatform.features.names import at_speed, family_of, split_speed
from serplatform.storage.cache import cache_folder, unwritable_cache
from serplatform.storage.destination import DATASET, check_directory
from serplatform.storage.location import Location
from serplatform.storage.outgoing import dataset_description, dataset_folder, upload_dataset

#: changes when the same request would give other contents
EXTRACTION_VERSION = 1
_LEAST_SPACE = 2**20  # bytes; a disk with less is full
_SHOWN = 10  # reasons in an error

Progress = Callable[[ExtractionProgress], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareSummary:
    """What was prepared, at a path or URI (``address``) and on this machine (``path``).

    ``meta`` is its ``dataset.json``; ``reused``: it was there already and nothing was done;
    ``shards_reused``: how many shards an interrupted call had left whole; ``added_to``: the
    features that the dataset had already, where others were added.
    """

    path: Path
    address: str
    meta: DatasetDescription
    seconds: float
    reused: bool
    shards: int = 0
    shards_reused: int = 0
    added_to: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The object that ``--json`` prints."""
        names = ("corpus", "title", "synthetic", "classes", "counts", "default_protocol", "notes")
        return {
            "path": self.address,
            **{name: dict(self.meta)[name] for name in names},
            "features": list(self.meta["features"]),
            "fingerprint": self.meta["fingerprint"],
            "seconds": round(self.seconds, 3),
            "reused": self.reused,
            "shards": self.shards,
            "shards_reused": self.shards_reused,
            "added_to": list(self.added_to),
        }


def prepare(
    corpus: str,
    source: Path | None,
    out: str | Path,
    *,
    features: Sequence[str] | None = None,
    speeds: Sequence[float] = (),
    align: str = NONE,
    alignments: Path | None = None,
    workers: int | None = None,
    options: Mapping[str, object] | None = None,
    label_map: Mapping[str, str] | None = None,
    speakers_differ: bool = False,
    max_duration: float | None = MAX_DURATION,
    overwrite: bool = False,
    described: About | None = None,
    address: str | None = None,
    progress: Progress | None = None,
) -> PrepareSummary:
    """Validate a corpus, extract its features and write the dataset.

    A call that was stopped is resumed where it was; a dataset of the same request is left as it
    is. The arguments are those of :func:`serplatform.api.prepare`; ``progress`` is called after
    each shard, and ``source`` is None for a corpus that makes its own audio.
    ``described``: what the user calls the corpus, its language and licence.

    Raises:
        BadInputError: something given is wrong, or nothing is left to prepare.
        InterruptedRunError: Ctrl-C.
    """
    began = time.monotonic()
    made = make_corpus(corpus, options or {})
    named = _extractors(FEATURES.defaults() if features is None else features, speeds)
    extractors = {extractor.name: extractor for extractor in named.values()}
    aligner = get_aligner(align, alignments)
    _check_arguments(made, source, workers, max_duration)
    place = check_directory(out, DATASET)
    location = place if isinstance(place, Location) else None
    folder = place.absolute() if isinstance(place, Path) else dataset_folder(place)
    origin = folder if source is None else source.absolute()
    given = [] if alignments is None else [alignments.absolute()]
    for path in (Path.cwd(), folder, origin, *given):
        if not is_text(path):
            shown = os.fsencode(path).decode(errors="backslashreplace")
            raise BadInputError(f"{shown}: the name is not UTF-8 text; rename the folder or file")
    said = described or About()
    manifest = validate(made.scan(origin), label_map, speakers_differ=speakers_differ)
    language = said.language or manifest.language
    if language:
        spoken = (
            dataclasses.replace(u, language=u.language or language) for u in manifest.utterances
        )
        manifest = dataclasses.replace(manifest, utterances=tuple(spoken))
    known = about(made, manifest, origin, said)
    if not manifest.utterances:
        raise _nothing_left(corpus, manifest)
    if aligner is not None:
        aligner.check(manifest.utterances)
    root = made.root(origin)
    request: DatasetRequest = {
        "corpus": corpus,
        "source": None if source is None else str(origin),
        "root": None if source is None else str(root),
        "options": dict(options or {}),
        "label_map": dict(label_map or {}),
        "max_duration": max_duration,
        "align": align if aligner is None else aligner.address,
        "alignments": None if alignments is None else str(alignments.absolute()),
        "alignment_files": _files_digest(aligner.files(manifest.utterances) if aligner else ()),
        "contents": _contents_digest(manifest, root),
        "version": EXTRACTION_VERSION,
        "fingerprints": FINGERPRINT_VERSION,
    }
    if speakers_differ:
        request["speakers_differ"] = True
    if aligner is not None and (model := aligner.spec()) is not None:
        request["aligner"] = {
            **model,
            "languages": sorted({u.language or "" for u in manifest.utterances}),
        }
    plain = {split_speed(name)[0] for name in extractors}
    request.update(plugins.made_with(corpus=[corpus], feature=plain))  # type: ignore[typeddict-item]
    specs = {name: extractor.spec() for name, extractor in extractors.items()}

    meta: DatasetDescription | None = None
    if location is not None:
        meta = existing(location, lambda: dataset_description(location), request, specs, overwrite)
        if meta is not None and _differs(meta, said):
            meta = None  # written again: what it says of itself is another
    reused = meta is not None
    if meta is None and (folder / "dataset.json").exists():
        replace = overwrite or location is not None
        meta = existing(folder, lambda: Dataset.open(folder).meta, request, specs, replace)
        reused = meta is not None and location is None
    held = () if meta is None else tuple(meta["features"])
    wanted = {name: made for name, made in named.items() if made.name not in held}
    reports: list[ShardReport] = []
    if meta is None or wanted:
        with partial_folder(folder) as partial:
            connect(address=address, num_cpus=workers)
            tasks = _tasks(manifest, root, partial, wanted, request, adds=meta is not None)
            if any(extractor.costly for extractor in wanted.values()):
                say(announce(tasks, workers))
            try:
                reports = extract_shards(tasks, workers=workers, progress=progress)
            except SerplatformError:  # libraries hide why they could not write
                if shutil.disk_usage(partial).free < _LEAST_SPACE:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from None
                raise
            if not any(report.rows for report in reports):
                raise _nothing_left(corpus, manifest, reports)
            if meta is None:
                remove_dataset(folder, partial)
                meta = assemble(
                    folder,
                    partial,
                    corpus=made,
                    about=known,
                    manifest=manifest,
                    reports=reports,
                    extractors=extractors,
                    request=request,
                )
            else:
                added = {extractor.name: extractor for extractor in wanted.values()}
                meta = add_features(folder, partial, meta, manifest, reports, added, request)
                reused = False
            remove_own(partial, UNFINISHED_FILES)
    if _differs(meta, said):
        values: Any = {**meta, **_given(said)}
        meta = values
        write_json(folder / "dataset.json", meta, checksum=True)
    if location is not None and not reused:
        upload_dataset(folder, location)
    return PrepareSummary(
        path=folder,
        address=str(place),
        meta=meta,
        seconds=time.monotonic() - began,
        reused=reused,
        shards=len(reports),
        shards_reused=sum(report.reused for report in reports),
        added_to=held if reports else (),
    )


def _given(said: About) -> dict[str, str]:
    """What the user says of the corpus, without what is not said."""
    return {name: value for name, value in dataclasses.asdict(said).items() if value}


def _differs(meta: DatasetDescription, said: About) -> bool:
    """Whether a dataset says something else of itself than the user does."""
    return not _given(said).items() <= dict(meta).items()


def ensure_demo() -> Path:
    """The default demo dataset, prepared once and kept in the user's cache folder.

    Its name carries the version of its contents.
    """
    folder = cache_folder()
    key = digest(
        {
            "schema": SCHEMA_VERSION,
            "extraction": EXTRACTION_VERSION,
            "software": serplatform.__version__,
            "features": {n: e.spec() for n, e in _extractors(FEATURES.defaults()).items()},
        }
    )
    target = folder / f"demo-{key[:12]}"
    if _is_whole(target):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(target) as temporary:
            made = temporary / "dataset"
            prepare("demo", None, made)
            if not _is_whole(target):  # another process may have been quicker
                shutil.rmtree(target, ignore_errors=True)
                with contextlib.suppress(OSError):
                    made.rename(target)
    except OSError as error:
        raise unwritable_cache(folder, error) from None
    if not _is_whole(target):
        raise ArtifactError(f"{target}: the demo dataset could not be put there; remove it")
    return target


def make_corpus(name: str, options: Mapping[str, object]) -> Corpus:
    """Make a registered corpus.

    Raises:
        BadInputError: the corpus or an option is unknown.
    """
    kind = CORPORA.get(name)
    known = [p for p in inspect.signature(kind).parameters if p not in ("args", "kwargs")]
    faults = [
        unknown_name(f"option of corpus '{name}'", key, known)
        for key in options
        if key not in known
    ]
    if faults:
        raise BadInputError(f"corpus '{name}' does not take these options:", faults)
    return kind(**options)


def _extractors(
    features: Sequence[str], speeds: Sequence[float] = ()
) -> dict[str, FeatureExtractor]:
    """Names that workers make extractors of, and the extractors, whose own names are canonical:
    of each feature, then of each of them at the other speeds."""
    known = FEATURES.names()
    faults = [
        unknown_name("feature", name, known)
        for name in features
        if split_speed(name)[0] not in known and family_of(name) is None
    ]
    if faults:
        raise BadInputError("--features names unknown features:", faults)
    if not features:
        raise BadInputError(f"--features is empty; known: {', '.join(known)}")
    asked = [*features, *(at_speed(name, speed) for speed in speeds for name in features)]
    expanded = dict.fromkeys(name for given in asked for name in FEATURES.expand(given))
    made = {name: FEATURES.make(name) for name in expanded}
    first: dict[str, str] = {}
    for name, extractor in made.items():
        known_as = first.setdefault(extractor.name, name)
        if extractor.spec() != made[known_as].spec():
            raise BadInputError(
                f"--features: {known_as} and {name} differ but would both be stored as "
                f"{extractor.name}; rename one of the directories"
            )
    check_encoders("--features", [(e.name, e.spec()) for e in made.values()])
    return {name: made[name] for name in first.values()}


def _check_arguments(
    corpus: Corpus,
    source: Path | None,
    workers: int | None,
    max_duration: float | None,
) -> None:
    faults = []
    if corpus.needs_source and source is None:
        faults.append(
            f"corpus '{corpus.name}' needs SOURCE, its directory or table: "
            f"serplatform prepare {corpus.name} SOURCE --out DIR"
        )
    if not corpus.needs_source and source is not None:
        faults.append(f"corpus '{corpus.name}' makes its own audio; leave '{source}' out")
    if workers is not None and workers < 1:
        faults.append(f"--workers {workers}: at least 1")
    if max_duration is not None and not max_duration > 0:
        faults.append(f"--max-duration {max_duration}: must be more than 0 seconds")
    if len(faults) == 1:
        raise BadInputError(faults[0])
    if faults:
        raise BadInputError("the command has faults:", faults)


def _contents_digest(manifest: Manifest, root: Path) -> str:
    """Digest of every listed utterance, with the size and time of its file where it has one."""
    total = hashlib.sha256()
    for utterance in manifest.utterances:
        values = dataclasses.asdict(utterance)
        values["path"] = relative_path(utterance.path, root)
        if not manifest.synthetic:
            try:
                within = holds(utterance.path.parent)
                found = (utterance.path.parent if within else utterance.path).stat()
                values["file"] = [found.st_size, found.st_mtime_ns]
            except OSError:
                values["file"] = None
        total.update(json.dumps(values, sort_keys=True, ensure_ascii=False).encode())
    return total.hexdigest()


def _files_digest(paths: Sequence[Path]) -> str | None:
    """Digest of name, size and time of every file; None without any."""
    found = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    return digest(found) if found else None


def _is_whole(path: Path) -> bool:
    try:
        Dataset.open(path)
    except ArtifactError:
        return False
    return True


def _tasks(
    manifest: Manifest,
    root: Path,
    partial: Path,
    extractors: Mapping[str, FeatureExtractor],
    request: DatasetRequest,
    adds: bool,
) -> list[ShardTask]:
    specs = {extractor.name: extractor.spec() for extractor in extractors.values()}
    key = digest([request, specs, *(["added"] if adds else [])])
    size = shard_size(len(manifest.utterances))
    extra_columns = tuple(sorted({key for u in manifest.utterances for key in u.extra}))
    return [
        ShardTask(
            number=number,
            utterances=manifest.utterances[first : first + size],
            request=request,
            digest=key,
            root=root,
            features=tuple(extractors),
            extra_columns=extra_columns,
            folder=partial,
            plugins=plugins.packed(request),
            adds=adds,
        )
        for number, first in enumerate(range(0, len(manifest.utterances), size))
    ]


def _nothing_left(
    corpus: str, manifest: Manifest, reports: Sequence[ShardReport] = ()
) -> BadInputError:
    rejections = [*manifest.rejections, *(r for report in reports for r in report.rejections)]
    reasons = Counter(r.reason for r in rejections)
    return BadInputError(
        f"no utterance of corpus '{corpus}' can be used; {len(rejections)} were left out:",
        [
            *(f"{number} × {reason}" for reason, number in reasons.most_common(_SHOWN)),
            *(f"note: {note}" for note in manifest.notes),
        ],
    )
