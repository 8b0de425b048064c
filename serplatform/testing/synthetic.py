"""Tiny datasets of random features, written in the format of ``serplatform prepare``.

No audio is made and none is read: frames are drawn around class means, so that a model can
learn the classes, and are spread by speaker and utterance, so that it has to generalize.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from serplatform.artifacts.dataset import ALIGNMENT_SCHEMA, UTTERANCE_SCHEMA
from serplatform.artifacts.files import (
    SCHEMA_VERSION,
    atomic_path,
    file_sha256,
    write_json,
    write_parquet,
    write_text,
)
from serplatform.config import digest

_COMMON_WORDS = ("the", "door", "is", "open", "kids", "talk", "dogs", "sit")
_PHONES = ("AA", "B", "D", "EH", "IY", "K", "L", "M", "S", "T")


def make_dataset(
    path: str | Path,
    *,
    num_speakers: int = 6,
    per_speaker: int = 12,
    classes: Sequence[str] = ("angry", "happy", "neutral", "sad"),
    features: Mapping[str, int | tuple[int, float, float]] | None = None,
    seconds: tuple[float, float] = (0.6, 1.4),
    seed: int = 0,
    separation: float = 1.5,
    num_shards: int = 2,
    num_sessions: int = 3,
    wordless: int = 0,
) -> Path:
    """Write a complete dataset directory of random, learnable features.

    Speakers take classes in turn, so every speaker has every class when ``per_speaker`` is
    at least the number of classes.

    Args:
        path: directory to make.
        num_speakers: alternately male and female; speaker i is in session i mod num_sessions.
        per_speaker: utterances of each.
        classes: label order.
        features: name to D, or to (D, frame shift, frame length) in seconds; by default
            ``{"log_mel_23": 23}`` with 10 ms and 25 ms.
        seconds: shortest and longest utterance.
        seed: everything is determined by it and by the other arguments.
        separation: distance of a class mean from the common centre; within a class,
            utterances spread by 0.5 and frames by 1 in each dimension.
        num_shards: files of each feature.
        num_sessions: recording sessions.
        wordless: utterances, the first ones, without a transcript and word times.

    Returns:
        The directory.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    features = {"log_mel_23": 23} if features is None else features
    rng = np.random.default_rng(seed)
    rows, spans = _utterances(rng, num_speakers, per_speaker, classes, seconds, num_sessions)
    for row in rows[:wordless]:
        row["text"] = None
    silent = {row["utterance_id"] for row in rows[:wordless]}
    spans = [span for span in spans if span["utterance_id"] not in silent]
    write_parquet(path / "utterances.parquet", pa.Table.from_pylist(rows, UTTERANCE_SCHEMA))
    write_parquet(path / "alignment.parquet", pa.Table.from_pylist(spans, ALIGNMENT_SCHEMA))
    write_text(path / "rejected.csv", "utterance_id,path,reason\n")
    entries = {
        name: _write_feature(path, name, kind, rows, classes, separation, num_shards, rng)
        for name, kind in features.items()
    }
    files = {
        name: file_sha256(path / name)
        for name in ("utterances.parquet", "alignment.parquet", "rejected.csv")
    }
    emotions = [row["emotion"] for row in rows]
    speakers = [str(row["speaker_id"]) for row in rows]
    write_json(
        path / "dataset.json",
        {
            "schema_version": SCHEMA_VERSION,
            "corpus": "synthetic",
            "title": "Random features for tests",
            "language": "en",
            "licence": "CC0",
            "synthetic": True,
            "classes": list(classes),
            "counts": {
                "utterances": len(rows),
                "rejected": 0,
                "speakers": num_speakers,
                "by_emotion": {name: emotions.count(name) for name in classes},
                "by_speaker": {name: speakers.count(name) for name in dict.fromkeys(speakers)},
            },
            "features": entries,
            "alignment": {"synthetic": len(rows)},
            "notes": ["The features are random numbers, not speech."],
            "default_protocol": f"speaker-kfold:{min(3, num_speakers)}",
            "versions": {},
            "fingerprint": digest([files, entries]),
            "files": files,
        },
    )
    return path


def _utterances(
    rng: np.random.Generator,
    num_speakers: int,
    per_speaker: int,
    classes: Sequence[str],
    seconds: tuple[float, float],
    num_sessions: int,
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Rows of the utterance and of the alignment table."""
    rows: list[dict[str, object]] = []
    spans: list[dict[str, object]] = []
    for speaker in range(num_speakers):
        for index in range(per_speaker):
            emotion = classes[(index + speaker) % len(classes)]
            utterance_id = f"spk{speaker:02d}_{index:03d}"
            duration = round(float(rng.uniform(*seconds)), 3)
            vocabulary = (*_COMMON_WORDS, f"{emotion}ly", f"{emotion}ish")
            words = [str(w) for w in rng.choice(vocabulary, size=3)]
            start, end = round(0.05 * duration, 4), round(0.95 * duration, 4)
            spans += _alignment(rng, utterance_id, words, start, end)
            rows.append(
                {
                    "utterance_id": utterance_id,
                    "path": f"{utterance_id}.wav",
                    "start": 0.0,
                    "end": duration,
                    "duration": duration,
                    "speaker_id": f"spk{speaker:02d}",
                    "gender": "male" if speaker % 2 == 0 else "female",
                    "session": str(speaker % num_sessions + 1),
                    "emotion": emotion,
                    "text": " ".join(words),
                    "language": "en",
                    "split": None,
                    "fold": None,
                    "parent_id": utterance_id,
                    "audio_hash": hashlib.sha256(utterance_id.encode()).hexdigest(),
                    "sampling_rate": 16_000,
                    "level_db": -30.0,
                    "speech_start": start,
                    "speech_end": end,
                }
            )
    return rows, spans


def _alignment(
    rng: np.random.Generator, utterance_id: str, words: list[str], start: float, end: float
) -> list[dict[str, object]]:
    """Words of equal length between ``start`` and ``end`` (seconds), two phones each."""
    edges = np.linspace(start, end, 2 * len(words) + 1).round(4)
    spans: list[dict[str, object]] = []
    for i, word in enumerate(words):
        pieces = [("word", word, edges[2 * i], edges[2 * i + 2])]
        for half in (0, 1):
            phone = str(rng.choice(_PHONES))
            pieces.append(("phone", phone, edges[2 * i + half], edges[2 * i + half + 1]))
        spans += [
            {
                "utterance_id": utterance_id,
                "tier": tier,
                "label": label,
                "start": float(first),
                "end": float(last),
                "source": "synthetic",
            }
            for tier, label, first, last in pieces
        ]
    return spans


def _write_feature(
    path: Path,
    name: str,
    kind: int | tuple[int, float, float],
    rows: list[dict[str, object]],
    classes: Sequence[str],
    separation: float,
    num_shards: int,
    rng: np.random.Generator,
) -> dict[str, object]:
    """Write one feature's shards; return its entry of ``dataset.json``."""
    dim, frame_shift, frame_length = (kind, 0.01, 0.025) if isinstance(kind, int) else kind
    means = rng.standard_normal((len(classes), dim))
    means *= separation / np.linalg.norm(means, axis=1, keepdims=True)
    speakers = dict.fromkeys(str(row["speaker_id"]) for row in rows)
    by_speaker = {speaker: rng.normal(0, 0.3, dim) for speaker in speakers}
    shards = []
    for shard, part in enumerate(np.array_split(np.arange(len(rows)), num_shards)):
        values = []
        for row in (rows[i] for i in part):
            num_frames = 1 + int(float(str(row["duration"])) / frame_shift)
            centre = means[classes.index(str(row["emotion"]))] + by_speaker[str(row["speaker_id"])]
            centre = centre + rng.normal(0, 0.5, dim)
            frames = centre + rng.standard_normal((num_frames, dim))
            values.append((-6.0 + 2.0 * frames).astype(np.float32).ravel())
        file = path / f"{name}-{shard:05d}.arrow"
        write_shard(file, [str(rows[i]["utterance_id"]) for i in part], values)
        shards.append(
            {
                "file": file.name,
                "rows": len(part),
                "frames": sum(len(v) for v in values) // dim,
                "sha256": file_sha256(file),
                "bytes": file.stat().st_size,
            }
        )
    return {
        "dim": dim,
        "frame_shift": frame_shift,
        "frame_length": frame_length,
        "unit": "natural log of mel power" if name.startswith("log_mel") else "arbitrary",
        "spec": {"name": name, "synthetic": True},
        "shards": shards,
    }


def write_shard(path: Path, utterance_ids: list[str], values: list[np.ndarray]) -> None:
    """Write one feature shard: an uncompressed Arrow stream of one record batch."""
    offsets = np.concatenate([[0], np.cumsum([len(v) for v in values])]).astype(np.int32)
    flat = np.concatenate([np.zeros(0, np.float32), *values])
    frames = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, pa.float32()))
    batch = pa.record_batch(
        {"utterance_id": pa.array(utterance_ids, pa.string()), "frames": frames}
    )
    with atomic_path(path) as temporary, ipc.new_stream(str(temporary), batch.schema) as writer:
        writer.write_batch(batch)
