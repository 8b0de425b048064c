"""Put extracted shards together: the dataset directory, ``dataset.json`` last of all."""

from __future__ import annotations

import csv
import dataclasses
import io
import platform
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import serplatform
from serplatform.alignment.tokens import RULES, text_notes, tokens
from serplatform.artifacts.dataset import ALIGNMENT_SCHEMA, DatasetDescription, FeatureRecord
from serplatform.artifacts.files import (
    SCHEMA_VERSION,
    atomic_path,
    file_sha256,
    read_parquet,
    write_json,
    write_text,
)
from serplatform.config import digest
from serplatform.corpora.audio import TARGET_RATE, summarize_notes
from serplatform.corpora.base import Corpus, Manifest, RejectedUtterance, Utterance
from serplatform.corpora.validate import class_notes, column_notes
from serplatform.distributed.extraction import ShardReport, table_schema
from serplatform.errors import SerplatformError
from serplatform.features.base import FeatureExtractor
from serplatform.features.fingerprint import find_copies
from serplatform.labels import class_order
from serplatform.protocols.selection import components, overlapping_spans

_PACKAGES = ("numpy", "scipy", "soundfile", "soxr", "pyarrow", "ray")
_SHOWN = 3  # examples in a note


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assembly:
    """All that goes into a dataset.

    Attributes:
        out: the dataset directory.
        partial: directory of the shards' files.
        corpus: it came from.
        manifest: utterances that were extracted, and what was left out before.
        reports: of all shards, in order.
        extractors: by feature name.
        extra_columns: the corpus's own columns.
        request: what ``dataset.json`` records of the request (``source``, ``digest``, …).
    """

    out: Path
    partial: Path
    corpus: Corpus
    manifest: Manifest
    reports: Sequence[ShardReport]
    extractors: Mapping[str, FeatureExtractor]
    extra_columns: Sequence[str]
    request: Mapping[str, Any]


def assemble(assembly: Assembly) -> DatasetDescription:
    """Write the dataset.

    Returns:
        The content of ``dataset.json``.
    """
    a = assembly
    rejections = [*a.manifest.rejections, *(r for report in a.reports for r in report.rejections)]
    filled = [report for report in a.reports if report.rows]
    count = _count_rows(a, filled)
    listed = a.manifest.listed or len(a.manifest.utterances) + len(a.manifest.rejections)
    kept = sum(report.rows for report in filled)
    if listed != kept + len(rejections):
        raise SerplatformError(
            f"{a.corpus.name}: {listed} utterances were listed, but {kept} are kept and "
            f"{len(rejections)} are left out; this is a fault of serplatform, please report it"
        )
    copies = _find_copies(a, filled)
    features = {name: _move_shards(a, name, filled) for name in a.extractors}
    _join(
        a.out / "utterances.parquet",
        table_schema(a.extra_columns),
        [report.table(a.partial) for report in filled],
        copies.groups,
    )
    _join(
        a.out / "alignment.parquet",
        ALIGNMENT_SCHEMA,
        [report.alignment(a.partial) for report in filled if report.spans],
    )
    write_text(a.out / "rejected.csv", rejected_csv(rejections))
    unaligned = [entry for report in a.reports for entry in report.unaligned]
    names = ["utterances.parquet", "alignment.parquet", "rejected.csv"]
    if unaligned:
        write_text(a.out / "unaligned.csv", unaligned_csv(unaligned))
        names.append("unaligned.csv")
    classes = _classes(a.corpus, count.by_emotion)
    aligned: Counter[str] = sum((Counter(report.aligned) for report in filled), Counter())
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
            "utterances": kept,
            "rejected": len(rejections),
            "speakers": len(count.by_speaker),
            "by_emotion": {name: count.by_emotion[name] for name in classes},
            "by_speaker": dict(sorted(count.by_speaker.items())),
            "by_gender": dict(sorted(count.by_gender.items())),
            "by_reason": dict(Counter(r.reason for r in rejections).most_common()),
            "seconds": round(count.seconds, 3),
            "copies": {kind: sum(map(len, groups)) for kind, groups in copies.found.items()},
        },
        "features": features,
        "alignment": dict(aligned.most_common()),
        "word_rules": RULES,
        "unaligned": dict(Counter(reason for _, reason, _ in unaligned).most_common()),
        "notes": [
            *a.manifest.notes,
            *_notes(a, count, copies),
            *_alignment_notes(a),
            *_audio_notes(a),
        ],
        "default_protocol": a.corpus.choose_protocol(_kept(a)),
        "versions": _versions(),
        "fingerprint": _fingerprint(a, classes, filled, features),
        "files": {name: file_sha256(a.out / name) for name in names},
        "request": dict(a.request),
    }
    write_json(a.out / "dataset.json", meta, checksum=True)
    return meta


def rejected_csv(rejections: Sequence[RejectedUtterance]) -> str:
    """The text of ``rejected.csv``: utterance_id, path, reason."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["utterance_id", "path", "reason"])
    writer.writerows([r.utterance_id, r.path, r.reason] for r in rejections)
    return stream.getvalue()


def unaligned_csv(entries: Sequence[tuple[str, str, str]]) -> str:
    """The text of ``unaligned.csv``: utterance_id, reason, detail."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["utterance_id", "reason", "detail"])
    writer.writerows(entries)
    return stream.getvalue()


def _alignment_notes(assembly: Assembly) -> Iterator[str]:
    """Sentences on utterances that could not be aligned, and on repaired alignments."""
    failed = Counter(reason for report in assembly.reports for _, reason, _ in report.unaligned)
    for reason, number in failed.most_common():
        yield f"{number} utterances could not be aligned (unaligned.csv): {reason}"
    repaired = sum((Counter(report.alignment_notes) for report in assembly.reports), Counter())
    for note, number in repaired.most_common():
        yield f"{number} alignments: {note}"
    yield from text_notes(u.text for u in _kept(assembly))


def _audio_notes(assembly: Assembly) -> list[str]:
    """Sentences on recordings that are odd and were taken."""
    noted = [(note, path) for report in assembly.reports for note, path in report.audio_notes]
    return summarize_notes(dict.fromkeys(noted))  # once a file


def _kept(assembly: Assembly) -> list[Utterance]:
    """The manifest's utterances without those that the extraction left out."""
    lost = {r.utterance_id for report in assembly.reports for r in report.rejections}
    return [u for u in assembly.manifest.utterances if u.utterance_id not in lost]


@dataclasses.dataclass
class _Count:
    """Totals over the rows that were kept."""

    by_emotion: Counter[str] = dataclasses.field(default_factory=Counter)
    by_speaker: Counter[str] = dataclasses.field(default_factory=Counter)
    by_gender: Counter[str] = dataclasses.field(default_factory=Counter)
    by_rate: Counter[int] = dataclasses.field(default_factory=Counter)
    seconds: float = 0.0


def _count_rows(assembly: Assembly, filled: Sequence[ShardReport]) -> _Count:
    count = _Count()
    for report in filled:
        table = read_parquet(report.table(assembly.partial))
        count.by_emotion.update(table["emotion"].to_pylist())
        count.by_speaker.update(table["speaker_id"].to_pylist())
        count.by_gender.update(g for g in table["gender"].to_pylist() if g)
        count.by_rate.update(table["sampling_rate"].to_pylist())
        count.seconds += sum(table["duration"].to_pylist())
    return count


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


def _find_copies(assembly: Assembly, filled: Sequence[ShardReport]) -> _Copies:
    """Group the rows: equal audio, equal parent, overlapping spans of a file, copies by sound.

    A synthetic corpus makes every file anew, so that nothing in it was copied: its voices,
    which are alike as no two takes of a person are, are not compared by sound.
    """
    names = ["utterance_id", "speaker_id", "start", "end", "audio_hash", "parent_id", "fingerprint"]
    tables = [read_parquet(r.table(assembly.partial)).select(names) for r in filled]
    rows = {name: pa.concat_tables(tables)[name].to_pylist() for name in names}
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


def _move_shards(assembly: Assembly, name: str, filled: Sequence[ShardReport]) -> FeatureRecord:
    """Rename a feature's shards into the dataset; return its entry in ``dataset.json``."""
    extractor = assembly.extractors[name]
    shards: list[Any] = []
    for number, report in enumerate(filled):
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


def _join(
    target: Path, schema: pa.Schema, parts: Sequence[Path], groups: Sequence[str] = ()
) -> None:
    """Write the tables of ``parts`` one after another; only one is in memory at a time.

    ``groups``, where given, becomes the column ``group_id``.
    """
    done = 0
    with (
        atomic_path(target) as temporary,
        temporary.open("wb") as stream,
        pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for part in parts:
            table = read_parquet(part).cast(schema)
            if groups:
                here = pa.array(groups[done : done + len(table)], pa.string())
                place = schema.get_field_index("group_id")
                table = table.set_column(place, schema.field(place), here)
                done += len(table)
            writer.write_table(table)
        if not parts:
            writer.write_table(schema.empty_table())


def _notes(assembly: Assembly, count: _Count, copies: _Copies) -> Iterator[str]:
    low = {rate: n for rate, n in sorted(count.by_rate.items()) if rate < TARGET_RATE}
    for rate, number in low.items():
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
    yield from class_notes(_kept(assembly))
    yield from column_notes(_kept(assembly))


def _examples(groups: Sequence[Sequence[str]], mark: str) -> str:
    """The first groups, and the first members of each."""
    shown = [mark.join([*g[:_SHOWN], *["…"] * (len(g) > _SHOWN)]) for g in groups[:_SHOWN]]
    return "; ".join([*shown, *["…"] * (len(groups) > _SHOWN)])


def _fingerprint(
    assembly: Assembly,
    classes: Sequence[str],
    filled: Sequence[ShardReport],
    features: Mapping[str, Any],
) -> str:
    """Hash of contents and specifications; where the dataset lies does not matter.

    The version of the rules of words counts where an earlier one reads other words.
    """
    texts = {u.text or "" for u in _kept(assembly)}
    reread = any(tokens(text) != tokens(text, 1) for text in texts)
    return digest(
        {
            **({"word_rules": RULES} if reread else {}),
            "schema_version": SCHEMA_VERSION,
            "corpus": assembly.corpus.name,
            "classes": list(classes),
            "rows": [report.digest for report in filled],
            "features": {
                name: {
                    "spec": entry["spec"],
                    "shards": [shard["sha256"] for shard in entry["shards"]],
                }
                for name, entry in features.items()
            },
        }
    )


def _versions() -> dict[str, str]:
    found = {"serplatform": serplatform.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # pragma: no cover - a stripped installation
            found[package] = "unknown"
    return found
