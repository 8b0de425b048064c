"""Put extracted shards together: the dataset directory, ``dataset.json`` last of all."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from serplatform.alignment.tokens import RULES, text_notes, tokens
from serplatform.artifacts.dataset import ALIGNMENT_SCHEMA, DatasetDescription, FeatureRecord, Shard
from serplatform.artifacts.files import (
    SCHEMA_VERSION,
    atomic_path,
    file_sha256,
    read_parquet,
    write_json,
    write_text,
)
from serplatform.artifacts.records import PluginRecord
from serplatform.config import digest
from serplatform.corpora.audio import TARGET_RATE, summarize_notes
from serplatform.corpora.base import Corpus, Manifest, RejectedUtterance, Utterance
from serplatform.corpora.validate import class_notes, column_notes
from serplatform.distributed.extraction import ShardReport
from serplatform.environment import versions
from serplatform.errors import SerplatformError
from serplatform.features.base import FeatureExtractor
from serplatform.features.fingerprint import find_copies
from serplatform.labels import class_order
from serplatform.protocols.selection import components, overlapping_spans

_SHOWN = 3  # examples in a note


class DatasetRequest(TypedDict):
    """What determines a dataset, as ``dataset.json`` records it.

    ``source``, ``root``, ``alignments``: paths, where files are read. ``contents``,
    ``alignment_files``: digests of what is read. ``version``, ``fingerprints``: of the extraction.
    ``speakers_differ``: absent in older datasets, and where it is false.
    """

    corpus: str
    source: str | None
    root: str | None
    options: dict[str, Any]
    label_map: dict[str, str]
    max_duration: float | None
    align: str
    alignments: str | None
    alignment_files: str | None
    contents: str
    version: int
    fingerprints: int
    speakers_differ: NotRequired[bool]
    plugins: NotRequired[list[PluginRecord]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assembly:
    """All that goes into a dataset.

    Attributes:
        out: the dataset directory.
        partial: directory of the shards' files.
        corpus: it came from.
        manifest: utterances that were extracted, and what was left out before.
        reports: of all shards, in order; at least one has rows.
        extractors: by feature name.
        request: what ``dataset.json`` records of the request.
    """

    out: Path
    partial: Path
    corpus: Corpus
    manifest: Manifest
    reports: Sequence[ShardReport]
    extractors: Mapping[str, FeatureExtractor]
    request: DatasetRequest

    @property
    def filled(self) -> list[ShardReport]:
        """Shards that have rows."""
        return [report for report in self.reports if report.rows]

    @cached_property
    def kept(self) -> list[Utterance]:
        """The manifest's utterances without those that the extraction left out."""
        lost = {r.utterance_id for report in self.reports for r in report.rejections}
        return [u for u in self.manifest.utterances if u.utterance_id not in lost]


def assemble(assembly: Assembly) -> DatasetDescription:
    """Write the dataset.

    Returns:
        The content of ``dataset.json``.
    """
    a = assembly
    rejections = [*a.manifest.rejections, *(r for report in a.reports for r in report.rejections)]
    tables = [read_parquet(report.table(a.partial)) for report in a.filled]
    rows = pa.concat_tables(tables)
    listed = a.manifest.listed or len(a.manifest.utterances) + len(a.manifest.rejections)
    if listed != len(rows) + len(rejections):
        raise SerplatformError(
            f"{a.corpus.name}: {listed} utterances were listed, but {len(rows)} are kept and "
            f"{len(rejections)} are left out; this is an error of serplatform, please report it"
        )
    by_emotion, by_speaker, by_gender, by_rate = (
        Counter(value for value in rows[column].to_pylist() if value)
        for column in ("emotion", "speaker_id", "gender", "sampling_rate")
    )
    copies = _find_copies(a, rows)
    features = {name: _move_shards(a, name) for name in a.extractors}
    place = rows.schema.get_field_index("group_id")
    rows = rows.set_column(place, rows.schema.field(place), pa.array(copies.groups, pa.string()))
    _write_tables(a.out / "utterances.parquet", rows.schema, _divided(rows, map(len, tables)))
    _write_tables(
        a.out / "alignment.parquet",
        ALIGNMENT_SCHEMA,
        (read_parquet(report.alignment(a.partial)) for report in a.filled if report.spans),
    )
    write_text(a.out / "rejected.csv", rejected_csv(rejections))
    unaligned = [entry for report in a.reports for entry in report.unaligned]
    names = ["utterances.parquet", "alignment.parquet", "rejected.csv"]
    if unaligned:
        write_text(a.out / "unaligned.csv", _csv(["utterance_id", "reason", "detail"], unaligned))
        names.append("unaligned.csv")
    classes = _classes(a.corpus, by_emotion)
    aligned: Counter[str] = sum((Counter(report.aligned) for report in a.filled), Counter())
    meta: DatasetDescription = {
        "schema_version": SCHEMA_VERSION,
        "corpus": a.corpus.name,
        "title": a.corpus.title,
        "language": a.corpus.language,
        "licence": a.corpus.licence,
        "synthetic": a.manifest.synthetic,
        "classes": list(classes),
        "counts": {
            "listed": listed,
            "utterances": len(rows),
            "rejected": len(rejections),
            "speakers": len(by_speaker),
            "by_emotion": {name: by_emotion[name] for name in classes},
            "by_speaker": dict(sorted(by_speaker.items())),
            "by_gender": dict(sorted(by_gender.items())),
            "by_reason": dict(Counter(r.reason for r in rejections).most_common()),
            "seconds": round(sum(sum(table["duration"].to_pylist()) for table in tables), 3),
            "copies": {kind: sum(map(len, groups)) for kind, groups in copies.found.items()},
        },
        "features": features,
        "alignment": dict(aligned.most_common()),
        "word_rules": RULES,
        "unaligned": dict(Counter(reason for _, reason, _ in unaligned).most_common()),
        "notes": [*a.manifest.notes, *_notes(a, by_rate, copies)],
        "default_protocol": a.corpus.choose_protocol(a.kept),
        "versions": versions(),
        "fingerprint": _fingerprint(a, classes, features),
        "files": {name: file_sha256(a.out / name) for name in names},
        "request": dict(a.request),
    }
    if "plugins" in a.request:
        meta["plugins"] = a.request["plugins"]
    write_json(a.out / "dataset.json", meta, checksum=True)
    return meta


def rejected_csv(rejections: Sequence[RejectedUtterance]) -> str:
    """The text of ``rejected.csv``: utterance_id, path, reason."""
    rows = [(r.utterance_id, r.path, r.reason) for r in rejections]
    return _csv(["utterance_id", "path", "reason"], rows)


def _csv(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([names, *rows])
    return stream.getvalue()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Copies:
    """Utterances that share a recording.

    Attributes:
        groups: first utterance of each row's group, its own name where it is alone.
        found: by how they were found, the ids of each group of at least two.
        across: groups of several speakers, as speakers.
    """

    groups: list[str]
    found: dict[str, list[list[str]]]
    across: list[list[str]]


#: how copies were found → what a note calls them
_KINDS = {
    "identical": "share {} recording(s), sample by sample",
    "by_sound": "are copies by their sound, in {} group(s), which differ in level, place, noise, "
    "codec or length",
    "overlapping": "are spans of one file that overlap, in {} group(s)",
}


def _find_copies(assembly: Assembly, table: pa.Table) -> _Copies:
    """Group the rows: equal audio, equal parent, overlapping spans of a file, copies by sound.

    A synthetic corpus makes every file anew, so that nothing in it was copied: its voices,
    which are alike as no two takes of a person are, are not compared by sound.
    """
    names = ["utterance_id", "speaker_id", "start", "end", "audio_hash", "parent_id", "fingerprint"]
    rows = {name: table[name].to_pylist() for name in names}
    path_of = {u.utterance_id: u.path for u in assembly.manifest.utterances}
    file_of = {path: _file_identity(path) for path in set(path_of.values())}
    files = [file_of[path_of[name]] for name in rows["utterance_id"]]
    spans = overlapping_spans(files, rows["start"], rows["end"])
    hashes = rows["audio_hash"]
    groups = components(hashes, rows["parent_id"], spans)
    sounds = [] if assembly.manifest.synthetic else rows["fingerprint"]
    pairs = find_copies(sounds, groups)
    alike = components(range(len(hashes)), pairs=pairs)
    groups = components(groups.tolist(), alike.tolist())
    ids, speakers = rows["utterance_id"], rows["speaker_id"]
    first = np.unique(groups, return_index=True)[1]
    return _Copies(
        groups=[ids[first[group]] for group in groups],
        found={
            "identical": _shared(hashes, ids),
            "by_sound": _shared(alike.tolist(), ids),
            "overlapping": _shared(spans, ids),
        },
        across=[
            sorted(set(names))
            for names in _shared(groups.tolist(), speakers)
            if len(set(names)) > 1
        ],
    )


def _shared(keys: Sequence[Hashable], names: Sequence[str]) -> list[list[str]]:
    """The names of each key that has several, in the order of the keys' first appearance."""
    members: dict[Hashable, list[str]] = defaultdict(list)
    for key, name in zip(keys, names, strict=True):
        members[key].append(name)
    return [each for each in members.values() if len(each) > 1]


def _file_identity(path: Path) -> Hashable:
    """The same for all names of a file, over links of either kind."""
    try:
        found = path.stat()
    except OSError:  # it lay on the worker that read it
        return str(path)
    return found.st_dev, found.st_ino


def _classes(corpus: Corpus, by_emotion: Counter[str]) -> tuple[str, ...]:
    """Label order: the corpus's own where it has one, without classes that are absent."""
    if corpus.classes is None or not set(by_emotion) <= set(corpus.classes):
        return class_order(set(by_emotion))
    return tuple(name for name in corpus.classes if by_emotion[name])


def _move_shards(assembly: Assembly, name: str) -> FeatureRecord:
    """Rename a feature's shards into the dataset; return its entry in ``dataset.json``."""
    extractor = assembly.extractors[name]
    shards: list[Shard] = []
    for number, report in enumerate(assembly.filled):
        entry = report.files[name]
        file = f"{name}-{number:05d}.arrow"
        (assembly.partial / entry["file"]).replace(assembly.out / file)
        shards.append({**entry, "file": file})
    return {
        "dim": extractor.dim,
        "frame_shift": extractor.frame_shift,
        "frame_length": extractor.frame_length,
        "unit": extractor.unit,
        "spec": extractor.spec(),
        "shards": shards,
    }


def _divided(table: pa.Table, lengths: Iterable[int]) -> Iterator[pa.Table]:
    """The rows of a table in parts of so many rows."""
    first = 0
    for length in lengths:
        yield table.slice(first, length)
        first += length


def _write_tables(target: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write tables one after another into one file."""
    with (
        atomic_path(target) as temporary,
        temporary.open("wb") as stream,
        pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        empty = True
        for table in tables:
            writer.write_table(table.cast(schema))
            empty = False
        if empty:
            writer.write_table(schema.empty_table())


def _notes(assembly: Assembly, by_rate: Counter[int], copies: _Copies) -> Iterator[str]:
    """Sentences on what was found in the recordings and their alignments."""
    reports = assembly.reports
    for rate, number in sorted(by_rate.items()):
        if rate < TARGET_RATE:
            yield (
                f"{number} utterances were recorded at {rate} Hz: they hold nothing above "
                f"{rate // 2} Hz, which is filled with silence"
            )
    for kind, groups in copies.found.items():
        if groups:
            mark = ", " if kind == "overlapping" else " = "
            yield (
                f"{sum(map(len, groups))} utterances {_KINDS[kind].format(len(groups))}, and stay "
                f"in one part of every split: {_examples(groups, mark)}"
            )
    if copies.across:
        yield (
            f"{len(copies.across)} group(s) that share a recording have several speakers "
            f"({_examples(copies.across, ' + ')}), who are never in different parts then; if that "
            "is wrong, correct the speakers or leave the copies out"
        )
    yield from class_notes(assembly.kept)
    yield from column_notes(assembly.kept)
    failed = Counter(reason for report in reports for _, reason, _ in report.unaligned)
    for reason, number in failed.most_common():
        yield f"{number} utterances could not be aligned (unaligned.csv): {reason}"
    repaired: Counter[str] = sum((Counter(r.alignment_notes) for r in reports), Counter())
    for note, number in repaired.most_common():
        yield f"{number} alignments: {note}"
    yield from text_notes(u.text for u in assembly.kept)
    noted = dict.fromkeys(entry for report in reports for entry in report.audio_notes)
    yield from summarize_notes(noted)  # once per file


def _examples(groups: Sequence[Sequence[str]], mark: str) -> str:
    """The first groups, and the first members of each."""
    shown = [mark.join([*g[:_SHOWN], *["…"] * (len(g) > _SHOWN)]) for g in groups[:_SHOWN]]
    return "; ".join([*shown, *["…"] * (len(groups) > _SHOWN)])


def _fingerprint(
    assembly: Assembly,
    classes: Sequence[str],
    features: Mapping[str, FeatureRecord],
) -> str:
    """Hash of contents and specifications; where the dataset lies does not matter.

    The version of the rules of words counts where an earlier one reads other words.
    """
    texts = {u.text or "" for u in assembly.kept}
    reread = any(tokens(text) != tokens(text, 1) for text in texts)
    return digest(
        {
            **({"word_rules": RULES} if reread else {}),
            "schema_version": SCHEMA_VERSION,
            "corpus": assembly.corpus.name,
            "classes": list(classes),
            "rows": [report.digest for report in assembly.filled],
            "features": {
                name: {
                    "spec": entry["spec"],
                    "shards": [shard["sha256"] for shard in entry["shards"]],
                }
                for name, entry in features.items()
            },
        }
    )
