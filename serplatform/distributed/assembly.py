"""Put extracted shards together: the dataset directory, ``dataset.json`` last of all."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from serplatform.alignment.tokens import RULES, text_notes, tokens
from serplatform.artifacts.dataset import (
    ALIGNMENT_SCHEMA,
    DatasetDescription,
    FeatureRecord,
    Shard,
    content_digests,
)
from serplatform.artifacts.files import (
    SCHEMA_VERSION,
    atomic_path,
    csv_text,
    file_sha256,
    read_parquet,
    write_json,
    write_text,
)
from serplatform.config import digest
from serplatform.corpora.about import About
from serplatform.corpora.audio import TARGET_RATE, summarize_notes
from serplatform.corpora.base import Corpus, Manifest, Utterance
from serplatform.corpora.validate import class_notes, column_notes
from serplatform.distributed.extraction import DatasetRequest, ShardReport
from serplatform.environment import versions
from serplatform.errors import BadInputError, SerplatformError
from serplatform.features.base import FeatureExtractor
from serplatform.features.fingerprint import find_copies
from serplatform.features.names import file_stem
from serplatform.labels import class_order
from serplatform.protocols.selection import components, overlapping_spans

_SHOWN = 3  # examples in a note


def assemble(
    out: Path,
    partial: Path,
    *,
    corpus: Corpus,
    about: About,
    manifest: Manifest,
    reports: Sequence[ShardReport],
    extractors: Mapping[str, FeatureExtractor],
    request: DatasetRequest,
) -> DatasetDescription:
    """Write the dataset into ``out`` from the shards in ``partial``; return its ``dataset.json``.

    ``reports`` are those of all shards, in order; at least one has rows.
    """
    lost = [r for report in reports for r in report.rejections]
    rejections = [*manifest.rejections, *lost]
    lost_ids = {r.utterance_id for r in lost}
    kept = [u for u in manifest.utterances if u.utterance_id not in lost_ids]
    filled = [report for report in reports if report.rows]
    tables = [read_parquet(report.table(partial)) for report in filled]
    rows = pa.concat_tables(tables)
    listed = manifest.listed or len(manifest.utterances) + len(manifest.rejections)
    if listed != len(rows) + len(rejections):
        raise SerplatformError(
            f"{corpus.name}: {listed} utterances were listed, but {len(rows)} are kept and "
            f"{len(rejections)} are left out; this is an error of serplatform, please report it"
        )
    by_emotion, by_speaker, by_gender, by_rate = (
        Counter(value for value in rows[column].to_pylist() if value)
        for column in ("emotion", "speaker_id", "gender", "sampling_rate")
    )
    copies = _find_copies(manifest, rows)
    features = _features(extractors, filled, partial, out)
    digests = [report.digest for report in filled]
    place = rows.schema.get_field_index("group_id")
    rows = rows.set_column(place, rows.schema.field(place), pa.array(copies.groups, pa.string()))
    ends = itertools.accumulate(map(len, tables))
    parts = (
        rows.slice(end - len(table), len(table)) for end, table in zip(ends, tables, strict=True)
    )
    _write_tables(out / "utterances.parquet", rows.schema, parts)
    _write_tables(
        out / "alignment.parquet",
        ALIGNMENT_SCHEMA,
        (read_parquet(report.alignment(partial)) for report in filled if report.spans),
    )
    left_out = [(r.utterance_id, r.path, r.reason) for r in rejections]
    write_text(out / "rejected.csv", csv_text([["utterance_id", "path", "reason"], *left_out]))
    unaligned = [entry for report in reports for entry in report.unaligned]
    names = ["utterances.parquet", "alignment.parquet", "rejected.csv"]
    if unaligned:
        head = ["utterance_id", "reason", "detail"]
        write_text(out / "unaligned.csv", csv_text([head, *unaligned]))
        names.append("unaligned.csv")
    classes = _classes(corpus, by_emotion)
    aligned: Counter[str] = sum((Counter(report.aligned) for report in filled), Counter())
    meta: DatasetDescription = {
        "schema_version": SCHEMA_VERSION,
        "corpus": corpus.name,
        "title": about.title,
        "language": about.language,
        "licence": about.licence,
        "synthetic": manifest.synthetic,
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
        "notes": [*manifest.notes, *_notes(reports, kept, by_rate, copies)],
        "default_protocol": corpus.choose_protocol(kept),
        "versions": versions(),
        "row_digests": digests,
        "fingerprint": _fingerprint(corpus.name, digests, kept, classes, features),
        "files": {name: file_sha256(out / name) for name in names},
        "request": dict(request),
    }
    if "plugins" in request:
        meta["plugins"] = request["plugins"]
    write_json(out / "dataset.json", meta, checksum=True)
    return meta


def add_features(
    out: Path,
    partial: Path,
    meta: DatasetDescription,
    manifest: Manifest,
    reports: Sequence[ShardReport],
    extractors: Mapping[str, FeatureExtractor],
    request: DatasetRequest,
) -> DatasetDescription:
    """Add the features of ``reports`` to the dataset in ``out``, which stays whole meanwhile.

    Its fingerprint is that of a dataset prepared with all of them at once (of a dataset of an
    earlier version, which does not hold what that is made of, one of its own).

    Raises:
        BadInputError: other utterances can be read now than then.
    """
    filled = [report for report in reports if report.rows]
    table = read_parquet(out / "utterances.parquet")
    columns = [read_parquet(report.table(partial))["utterance_id"] for report in filled]
    ids = [name for column in columns for name in column.to_pylist()]
    if ids != table["utterance_id"].to_pylist():
        raise BadInputError(
            f"{out}: other recordings can be read now than when the dataset was made, so nothing "
            "can be added to it; --overwrite makes it anew"
        )
    features = meta["features"] | _features(extractors, filled, partial, out)
    known = {u.utterance_id: u for u in manifest.utterances}
    kept = [known[name] for name in ids]
    if "row_digests" in meta:
        digests, classes = meta["row_digests"], meta["classes"]
        fingerprint = _fingerprint(meta["corpus"], digests, kept, classes, features)
    else:
        shards = {name: content_digests(entry["shards"]) for name, entry in features.items()}
        fingerprint = digest({"added_to": meta["fingerprint"], "features": shards})
    earlier = [*meta.get("earlier_fingerprints", []), meta["fingerprint"]]
    extended: DatasetDescription = {
        **meta,
        "features": features,
        "fingerprint": fingerprint,
        "earlier_fingerprints": earlier,
    }
    if "plugins" in request:
        both = [*meta.get("plugins", []), *request["plugins"]]
        extended["plugins"] = list({plugin["name"]: plugin for plugin in both}.values())
        extended["request"] = meta.get("request", {}) | {"plugins": extended["plugins"]}
    write_json(out / "dataset.json", extended, checksum=True)
    return extended


def _features(
    extractors: Mapping[str, FeatureExtractor],
    filled: Sequence[ShardReport],
    partial: Path,
    out: Path,
) -> dict[str, FeatureRecord]:
    """What ``dataset.json`` says of extracted features; their shards are moved into ``out``."""
    return {
        name: {
            "dim": extractor.dim,
            "frame_shift": extractor.frame_shift,
            "frame_length": extractor.frame_length,
            "unit": extractor.unit,
            "spec": extractor.spec(),
            "shards": _move_shards(name, filled, partial, out),
        }
        for name, extractor in extractors.items()
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Copies:
    """Utterances that share a recording."""

    #: first utterance of each row's group, its own name where it is alone
    groups: list[str]
    #: by how they were found, the ids of each group of at least two
    found: dict[str, list[list[str]]]
    #: groups of several speakers, as speakers
    across: list[list[str]]


#: how copies were found → what a note calls them
_KINDS = {
    "identical": "share {} recording(s), sample by sample",
    "by_sound": "are copies by their sound, in {} group(s), which differ in level, place, noise, "
    "codec or length",
    "overlapping": "are spans of one file that overlap, in {} group(s)",
}


def _find_copies(manifest: Manifest, table: pa.Table) -> _Copies:
    """Group the rows: equal audio, equal parent, overlapping spans of a file, copies by sound.

    A synthetic corpus makes every file anew, so that nothing in it was copied: its voices,
    which are alike as no two takes of a person are, are not compared by sound.
    """
    names = ["utterance_id", "speaker_id", "start", "end", "audio_hash", "parent_id", "fingerprint"]
    rows = {name: table[name].to_pylist() for name in names}
    path_of = {u.utterance_id: u.path for u in manifest.utterances}
    file_of = {path: _file_identity(path) for path in set(path_of.values())}
    files = [file_of[path_of[name]] for name in rows["utterance_id"]]
    spans = overlapping_spans(files, rows["start"], rows["end"])
    hashes = rows["audio_hash"]
    groups = components(hashes, rows["parent_id"], spans)
    sounds = [] if manifest.synthetic else rows["fingerprint"]
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


def _move_shards(name: str, filled: Sequence[ShardReport], partial: Path, out: Path) -> list[Shard]:
    """Rename a feature's shards into the dataset, numbered without gaps."""
    shards: list[Shard] = []
    for number, report in enumerate(filled):
        entry = report.files[name]
        file = f"{file_stem(name)}-{number:05d}.arrow"
        (partial / entry["file"]).replace(out / file)
        shards.append({**entry, "file": file})
    return shards


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


def _notes(
    reports: Sequence[ShardReport],
    kept: Sequence[Utterance],
    by_rate: Counter[int],
    copies: _Copies,
) -> Iterator[str]:
    """Sentences on what was found in the recordings and their alignments."""
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
        speakers = sorted({tuple(names) for names in copies.across})
        yield (
            f"{len(copies.across)} group(s) that share a recording have several speakers "
            f"({_examples(speakers, ' + ')}), who are never in different parts then; if that "
            "is wrong, correct the speakers or leave the copies out"
        )
    yield from class_notes(kept)
    yield from column_notes(kept)
    failed = Counter(reason for report in reports for _, reason, _ in report.unaligned)
    for reason, number in failed.most_common():
        yield f"{number} utterances could not be aligned (unaligned.csv): {reason}"
    repaired: Counter[str] = sum((Counter(r.alignment_notes) for r in reports), Counter())
    for note, number in repaired.most_common():
        yield f"{number} alignments: {note}"
    yield from text_notes(u.text for u in kept)
    noted = dict.fromkeys(entry for report in reports for entry in report.audio_notes)
    yield from summarize_notes(noted)  # once per file


def _examples(groups: Sequence[Sequence[str]], mark: str) -> str:
    """The first groups, and the first members of each."""
    shown = [mark.join([*g[:_SHOWN], *["…"] * (len(g) > _SHOWN)]) for g in groups[:_SHOWN]]
    return "; ".join([*shown, *["…"] * (len(groups) > _SHOWN)])


def _fingerprint(
    corpus: str,
    digests: Sequence[str],
    kept: Sequence[Utterance],
    classes: Sequence[str],
    features: Mapping[str, FeatureRecord],
) -> str:
    """Hash of contents and specifications; where the dataset lies does not matter.

    The version of the rules of words counts where an earlier one reads other words.
    """
    texts = {u.text or "" for u in kept}
    reread = any(tokens(text) != tokens(text, 1) for text in texts)
    return digest(
        {
            **({"word_rules": RULES} if reread else {}),
            "schema_version": SCHEMA_VERSION,
            "corpus": corpus,
            "classes": list(classes),
            "rows": list(digests),
            "features": {
                name: {"spec": entry["spec"], "shards": content_digests(entry["shards"])}
                for name, entry in features.items()
            },
        }
    )
