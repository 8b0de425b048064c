"""Several datasets as one, without a copy of their features.

The joined dataset is a directory like any other: its tables are written anew, and its feature
shards are links to those of the parts (hard links, or symbolic ones from another disk). Rows are
those whose label all parts have; ids are made unique by the name of the part.

Shapes: N rows of all parts.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from serplatform.arrays import IntArray
from serplatform.artifacts.dataset import (
    SOURCE_COLUMN,
    UTTERANCE_SCHEMA,
    DatasetDescription,
    FeatureRecord,
    Shard,
)
from serplatform.artifacts.files import (
    SCHEMA_VERSION,
    csv_text,
    file_sha256,
    unfinished_folder,
    write_json,
    write_parquet,
    write_text,
)
from serplatform.config import digest
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.joined_rows import (
    JoinedPart,
    find_shared,
    joined_alignment,
    joined_rows,
    people,
)
from serplatform.environment import versions
from serplatform.errors import BadInputError, unknown_name
from serplatform.features.names import file_stem
from serplatform.labels import canonical_emotion, class_order
from serplatform.storage.cache import cache_folder
from serplatform.storage.destination import NEW, check_directory
from serplatform.storage.location import Location

#: corpora of anybody's, which get the names of their directories
_GENERIC = ("csv", "audformat", "joined")


def joined(
    places: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    label_map: Mapping[str, str] | None = None,
    speakers_differ: bool = False,
) -> Path:
    """Join datasets; one that is there already and holds the same is left as it is.

    A recording that several parts hold is taken from the first, and its speaker is one. Speakers
    of one name are one person where their parts are of the same corpus.

    Args:
        places: paths or URIs, at least two.
        out: a new directory; None: one in the user's cache folder.
        label_map: label to emotion, in all parts; an empty one leaves the label out.
        speakers_differ: speakers of one name are different people everywhere.

    Raises:
        BadInputError: fewer than two labels or no feature is common, or ``out`` is in use.
    """
    if len(places) < 2:
        raise BadInputError("join needs at least two datasets")
    datasets = [Dataset.open(place) for place in places]
    prints = [dataset.fingerprint for dataset in datasets]
    if len(set(prints)) < len(prints):
        raise BadInputError("the same dataset is named twice; name each once")
    names = _names(datasets)
    parts = [
        JoinedPart(name=name, dataset=dataset, labels=_labels(dataset, label_map or {}))
        for name, dataset in zip(names, datasets, strict=True)
    ]
    known = {label for dataset in datasets for label in dataset.class_counts()}
    if unknown := sorted(set(label_map or {}) - known):
        faults = [unknown_name("label", label, known) for label in unknown]
        raise BadInputError("--map names labels that no dataset has:", faults)
    key = digest([names, prints, dict(label_map or {}), speakers_differ])
    place = cache_folder() / f"joined-{key[:12]}" if out is None else Path(out)
    if (place / "dataset.json").is_file() and Dataset.open(place).fingerprint == key:
        return place
    if out is not None and isinstance(check_directory(out, NEW), Location):
        raise BadInputError(f"--out {out}: a joined dataset links to its parts; give a local path")
    place.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(place) as folder:
        _write(folder, parts, key, dict(label_map or {}), speakers_differ=speakers_differ)
        folder.chmod(0o755)
        folder.rename(place)
    return place


def _names(datasets: Sequence[Dataset]) -> list[str]:
    """A name for each: its corpus's where that says something, else its directory's."""
    corpora = Counter(dataset.meta["corpus"] for dataset in datasets)
    found: list[str] = []
    for dataset in datasets:
        corpus = dataset.meta["corpus"]
        name = (
            corpus
            if corpus not in _GENERIC and corpora[corpus] == 1
            else dataset.address.rstrip("/").rpartition("/")[2]
        )
        numbered = (f"{name}-{count}" for count in itertools.count(2))
        found.append(next(n for n in itertools.chain([name], numbered) if n not in found))
    return found


def _labels(dataset: Dataset, label_map: Mapping[str, str]) -> list[str]:
    """The emotion of each row; empty where it is left out."""
    return [
        canonical_emotion(label_map[label]) if label_map.get(label) else label_map.get(label, label)
        for label in dataset.utterances.column("emotion").to_pylist()
    ]


def _write(
    folder: Path,
    parts: Sequence[JoinedPart],
    key: str,
    label_map: dict[str, str],
    *,
    speakers_differ: bool,
) -> None:
    """Write tables, links and ``dataset.json``."""
    shared = set.intersection(*({*part.labels} - {""} for part in parts))
    if len(shared) < 2:
        told = "; ".join(f"{p.name}: {', '.join(class_order({*p.labels} - {''}))}" for p in parts)
        raise BadInputError(
            f"fewer than two labels are in every dataset ({told}); say which are the same with "
            "--map LABEL=EMOTION"
        )
    why_not = {
        label: f"label {label} is not in every part" if label else "--map leaves its label out"
        for part in parts
        for label in {*part.labels} - shared
    }
    reasons = [why_not.get(label, "") for part in parts for label in part.labels]
    groups, again = find_shared(parts)
    reasons = [reason or twice for reason, twice in zip(reasons, again, strict=True)]
    rows = joined_rows(parts, groups, people(parts, groups, speakers_differ=speakers_differ))
    kept = [row for row, reason in zip(rows, reasons, strict=True) if not reason]
    rejected = [(r["utterance_id"], r["path"], w) for r, w in zip(rows, reasons, strict=True) if w]
    schema = pa.schema([*UTTERANCE_SCHEMA, pa.field(SOURCE_COLUMN, pa.string(), nullable=False)])
    write_parquet(folder / "utterances.parquet", pa.Table.from_pylist(kept, schema))
    ids = {row["utterance_id"] for row in kept}
    write_parquet(folder / "alignment.parquet", joined_alignment(parts, ids))
    head = ["utterance_id", "path", "reason"]
    write_text(folder / "rejected.csv", csv_text([head, *rejected]))
    first = np.cumsum([0, *(len(part.dataset) for part in parts)])
    taken = [
        np.flatnonzero([not reason for reason in reasons[first[i] : first[i + 1]]])
        for i in range(len(parts))
    ]
    features = _features(folder, parts, taken)
    why = Counter(filter(None, reasons))
    metas = [part.dataset.meta for part in parts]
    aligners = [(meta.get("request") or {}).get("aligner") for meta in metas]
    counted = {
        name: Counter(value for row in kept if (value := row[name]))
        for name in ("emotion", "speaker_id", "gender", SOURCE_COLUMN)
    }
    classes = class_order(shared)
    meta: DatasetDescription = {
        "schema_version": SCHEMA_VERSION,
        "corpus": "joined",
        "title": " + ".join(dict.fromkeys(f"{p.name} ({p.dataset.meta['title']})" for p in parts)),
        "language": _common([meta.get("language") for meta in metas]),
        "licence": "; ".join(dict.fromkeys(str(meta.get("licence") or "?") for meta in metas)),
        "synthetic": any(meta["synthetic"] for meta in metas),
        "classes": list(classes),
        "counts": {
            "listed": len(rows),
            "utterances": len(kept),
            "rejected": len(rejected),
            "speakers": len(counted["speaker_id"]),
            "by_emotion": {name: counted["emotion"][name] for name in classes},
            "by_speaker": dict(sorted(counted["speaker_id"].items())),
            "by_gender": dict(sorted(counted["gender"].items())),
            "by_source": dict(counted[SOURCE_COLUMN]),
            "by_reason": dict(why.most_common()),
            "seconds": round(sum(row["duration"] for row in kept), 3),
        },
        "features": features,
        "word_rules": min(meta.get("word_rules", 1) for meta in metas),
        "notes": [*_notes(parts, features, why)],
        "default_protocol": "corpus-loso",
        "versions": versions(),
        "fingerprint": key,
        "files": {
            name: file_sha256(folder / name)
            for name in ("utterances.parquet", "alignment.parquet", "rejected.csv")
        },
        "request": {
            "corpus": "joined",
            "label_map": label_map,
            "parts": [
                {"name": p.name, "path": p.dataset.address, "fingerprint": p.dataset.fingerprint}
                for p in parts
            ],
            **({"aligner": aligners[0]} if aligners.count(aligners[0]) == len(parts) else {}),
        },
    }
    if plugins := [one for meta in metas for one in meta.get("plugins", [])]:
        meta["plugins"] = list({one["name"]: one for one in plugins}.values())
    write_json(folder / "dataset.json", meta, checksum=True)


def _features(
    folder: Path, parts: Sequence[JoinedPart], taken: Sequence[IntArray]
) -> dict[str, FeatureRecord]:
    """What all parts hold, made in the same way; their shards are linked into ``folder``."""
    held = [part.dataset.meta["features"] for part in parts]
    common = [
        name
        for name, entry in held[0].items()
        if all(name in other and other[name]["spec"] == entry["spec"] for other in held[1:])
    ]
    if not common:
        told = "; ".join(f"{p.name}: {', '.join(h)}" for p, h in zip(parts, held, strict=True))
        raise BadInputError(
            f"no feature is in every dataset, made in the same way ({told}); prepare one again "
            "with the --features of the other"
        )
    found: dict[str, FeatureRecord] = {}
    for name in common:
        shards: list[Shard] = []
        for part, features, rows in zip(parts, held, taken, strict=True):
            frames = part.dataset.num_frames(name)
            first = 0
            for shard in features[name]["shards"]:
                inside = rows[(rows >= first) & (rows < first + shard["rows"])]
                own = inside - first
                before = shard.get("taken")
                first += shard["rows"]
                if not len(own):
                    continue
                file = f"{file_stem(name)}-{len(shards):05d}.arrow"
                _link(part.dataset.path / shard["file"], folder / file)
                made: Shard = {
                    "file": file,
                    "rows": len(own),
                    "frames": int(frames[inside].sum()),
                    "bytes": shard["bytes"],
                    "sha256": shard["sha256"],
                    "prefix": part.prefix + shard.get("prefix", ""),
                }
                if before is not None or len(own) < shard["rows"]:
                    made["taken"] = [before[k] if before else k for k in own.tolist()]
                shards.append(made)
        found[name] = {**held[0][name], "shards": shards}
    return found


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without hard links
        target.symlink_to(source.resolve())


def _common(values: Sequence[str | None]) -> str | None:
    return values[0] if len(set(values)) == 1 else None


def _notes(
    parts: Sequence[JoinedPart], features: Mapping[str, FeatureRecord], why: Counter[str]
) -> Iterator[str]:
    """Sentences on what was joined."""
    sizes = (f"{part.name} ({len(part.dataset)} utterances)" for part in parts)
    yield f"Joined of {', '.join(sizes)}."
    for reason, number in why.most_common():
        yield f"{number} utterances are left out: {reason}."
    for part in parts:
        if lacking := [name for name in part.dataset.meta["features"] if name not in features]:
            yield f"{part.name} also has {', '.join(lacking)}, which not every part has."
        yield from (f"{part.name}: {note}" for note in part.dataset.meta.get("notes", []))
