"""Explanations beside a run, as ``serplatform explain`` would leave them, without a model.

Each value follows from the position of its row, so that tests can work out what figures show.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile

from serplatform.artifacts.files import (
    SCHEMA_VERSION,
    file_sha256,
    read_json,
    write_json,
    write_parquet,
)
from serplatform.artifacts.speaker_statistics import FILE

#: what an utterance says, and its phones with their classes
WORDS = ("open", "door")
PHONES = (
    ("OW1", "vowel"),
    ("P", "consonant"),
    ("AH0", "vowel"),
    ("N", "consonant"),
    ("D", "consonant"),
    ("AO1", "vowel"),
    ("R", "consonant"),
)


def add_explanations(
    run: Path, *, trials: Sequence[int] = (0, 1), shown: int = 2, sentence: str = "open door"
) -> Path:
    """Write ``RUN/explanations/`` for the test utterances of a run's first fold.

    The first trial has two layers: on vowels the first puts twice the attention a frame that it
    puts on consonants, the second equal attention, spread more. Other trials have one layer,
    with half the attention on vowels. The first trial also samples: 0.5 of the elements, and
    0.1 more for each class after the first. Its error is half that of the window before and a
    quarter above that of the training mean, and it has the right class from the second of two
    windows on, which ends with the utterance.

    Args:
        run: with ``run.json`` and ``folds.json``.
        trials: their numbers.
        shown: utterances written whole.
        sentence: their text.

    Returns:
        the folder.
    """
    info, plan = read_json(run / "run.json"), read_json(run / "folds.json")
    classes = list(info["classes"])
    records = {n: read_json(run / "trials" / f"trial-{n:05d}.json") for n in trials}
    ids = sorted(plan["folds"][0]["test"])
    rows = [(place, name, classes[place % len(classes)]) for place, name in enumerate(ids)]
    folder = run / "explanations"
    attention, statistics, embeddings = [], [], []
    generation, framewise = [], []
    for order, (number, record) in enumerate(records.items()):
        key = {"trial": number, "architecture": record["architecture"], "fold": 0}
        for place, name, truth in rows:
            who = {"utterance_id": name, "speaker_id": f"s{place % 3}", "truth": truth}
            guess = truth if place % 2 else classes[0]
            maps = ("layer1", "layer2") if order == 0 else ("layer1",)
            for layer in maps:
                attention.append({**key, **who, "prediction": guess, **_mass(order, layer, place)})
            if order == 0:
                share = 0.5 + 0.1 * classes.index(truth)
                statistics.append({**key, **who, **_sampled(share, place, len(classes))})
                generation.append({**key, **who, **_generated(place)})
                answers = [classes.index(guess), classes.index(truth)]
                framewise.append({**key, **who, "ends": [0.6, 1.0], "classes": answers})
            angle = 2 * np.pi * (classes.index(truth) + 0.02 * place) / len(classes)
            embeddings.append(
                {
                    **key,
                    **who,
                    "prediction": guess,
                    "confidence": 0.9 - 0.001 * place,
                    "x": float(np.cos(angle)),
                    "y": float(np.sin(angle)),
                }
            )
    for table, entries in (
        ("attention", attention),
        ("statistics", statistics),
        ("generation", generation),
        ("framewise", framewise),
        ("embeddings", embeddings),
    ):
        write_parquet(folder / f"{table}.parquet", pa.Table.from_pylist(entries))
    utterances = [_utterance(place, name, truth, records, sentence) for place, name, truth in rows]
    write_json(
        folder / "utterances.json",
        {"schema_version": SCHEMA_VERSION, "utterances": utterances[:shown]},
    )
    points: list[tuple[str, int | None]] = [("random", 5), ("random", None), ("skewed", 12)]
    write_json(
        run / FILE,
        {
            "schema_version": SCHEMA_VERSION,
            "trial": trials[0],
            "architecture": records[trials[0]]["architecture"],
            "normalization": "speaker",
            "folds_hash": info["folds_hash"],
            "needs": "12 unlabelled clips of each test speaker",
            "draws": 3,
            "test_utterances": len(rows),
            "neutral": ["neutral"],
            "points": [
                {"kind": kind, "clips": clips, "uar": 0.4 + 0.1 * place, "sd": 0.02}
                for place, (kind, clips) in enumerate(points)
            ],
        },
    )
    maps_of = {number: ["layer1", "layer2"][: 2 - order] for order, number in enumerate(records)}
    tables = ("attention", "statistics", "generation", "framewise", "embeddings")
    names = (*(f"{table}.parquet" for table in tables), "utterances.json")
    write_json(
        folder / "explanations.json",
        {
            "schema_version": SCHEMA_VERSION,
            "dataset_fingerprint": info["dataset"]["fingerprint"],
            "folds_hash": info["folds_hash"],
            "classes": classes,
            "trials": [
                {
                    "trial": number,
                    "architecture": record["architecture"],
                    "dev_uar": record["dev"]["uar"],
                    "num_parameters": record.get("num_parameters"),
                    "latency_seconds": 0.001 * (1 + order),
                    "latency_utterance_seconds": 0.8,
                    "embedding": {
                        "vectors": "penultimate",
                        "dim": 8,
                        "method": "t-SNE",
                        "fold": 0,
                        "utterances": len(rows),
                        "purity": 0.6 - 0.1 * order,
                        "chance": 0.25,
                    },
                }
                for order, (number, record) in enumerate(records.items())
            ],
            "phones": {
                "notation": "arpabet",
                "sources": {"pocketsphinx-forced": len(rows)},
                "misaligned": 3,
                "least_agreement": 0.6,
            },
            "phone_tests": [
                {"trial": number, "map": layer, "p_value": 0.0004, "num_groups": 5}
                for number, layers in maps_of.items()
                for layer in layers
            ],
            "ranked_by": next(iter(records)),
            "confident_errors": [
                {
                    "utterance_id": name,
                    "speaker_id": f"s{place % 3}",
                    "fold": 0,
                    "truth": truth,
                    "prediction": classes[0],
                    "confidence": 0.9 - 0.001 * place,
                }
                for place, name, truth in rows
                if truth != classes[0] and place % 2 == 0
            ],
            "chosen_by": "confidence",
            "licence": "none",
            "files": {name: file_sha256(folder / name) for name in names},
        },
    )
    return folder


def _mass(order: int, layer: str, place: int) -> dict[str, Any]:
    """Forty frames of vowels, forty of consonants, twenty of silence."""
    vowel, consonant = {(0, "layer1"): (0.6, 0.3), (0, "layer2"): (0.4, 0.4)}.get(
        (order, layer), (0.3, 0.6)
    )
    wobble = 0.01 * (place % 3 - 1)  # differs between speakers, so that there is an interval
    return {
        "map": layer,
        "frames": 100,
        "spread": 0.9 if layer == "layer2" else 0.5 + wobble,
        "mass_vowel": vowel + wobble,
        "mass_consonant": consonant - wobble,
        "mass_silence": 1 - vowel - consonant,
        "mass_other": 0.0,
        "frames_vowel": 40,
        "frames_consonant": 40,
        "frames_silence": 20,
        "frames_other": 0,
    }


def _sampled(share: float, place: int, num_classes: int) -> dict[str, Any]:
    """Every fifth utterance is a single window, of which all is sampled."""
    if place % 5 == 4:
        return {"num_windows": 1, "sampled_share": 1.0, "elements": None}
    elements = [share] * 4
    elements[place % num_classes % 4] += 0.2
    return {"num_windows": 2 + place % 2, "sampled_share": share, "elements": elements}


def _generated(place: int) -> dict[str, Any]:
    """Two or three windows of four elements."""
    count = 1 + place % 2
    size = 1.0 + 0.1 * (place % 3)  # differs between speakers
    errors = {"error": 0.5 * size, "previous": size, "mean": 0.4 * size, "sampled": 0.5}
    return {
        "num_windows": 1 + count,
        "nll": 1.5,
        "unit": [2.0] * 4,
        **{name: [value] * 4 for name, value in errors.items()},
        **{f"{name}_over_time": [value] * count for name, value in errors.items()},
    }


def _utterance(
    place: int, name: str, truth: str, records: dict[int, dict[str, Any]], sentence: str
) -> dict[str, Any]:
    rng = np.random.default_rng(place)
    seconds, step = 0.7, 0.1
    cells = rng.integers(0, 256, (16, 68)).astype(np.uint8)
    times = np.arange(68) * 0.01 + 0.0125
    return {
        "utterance_id": name,
        "speaker_id": f"s{place % 3}",
        "text": sentence,
        "truth": truth,
        "fold": 0,
        "duration": seconds,
        "shown": seconds,
        "predictions": [
            {"trial": n, "architecture": r["architecture"], "prediction": truth, "confidence": 0.8}
            for n, r in records.items()
        ],
        "words": [[word, 0.3 * i, 0.3 * (i + 1)] for i, word in enumerate(WORDS)],
        "phones": [
            [label, round(i * step, 3), round((i + 1) * step, 3), sort]
            for i, (label, sort) in enumerate(PHONES)
        ],
        "curves": [
            {
                "trial": n,
                "architecture": r["architecture"],
                "map": layer,
                "kind": "frames",
                "starts": times.round(4).tolist(),
                "times_even": (1 + 0.8 * np.sin(20 * times) / (1 + i)).round(4).tolist(),
            }
            for n, r in records.items()
            for i, layer in enumerate(("layer1", "layer2"))
        ],
        "generated": [
            {
                "trial": min(records),
                "architecture": records[min(records)]["architecture"],
                "centres": [0.2, 0.4],
                "frames": [[0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]],
                "predicted": [[0.5, 1.0, 1.5, -1.0]],
                "deviation": [[0.5, 0.5, 1.0, 2.0]],
                "sampled": [[0.0, 0.0, 0.0, 1.0]],
            }
        ],
        "spectrogram": {
            "values": base64.b64encode(cells.tobytes()).decode("ascii"),
            "bands": 16,
            "frames": 68,
            "start": 0.0125,
            "shift": 0.01,
            "low_db": -70.0,
            "high_db": 0.0,
            "ticks": [[1000, 6.5], [4000, 13.0]],
        },
        "audio": {"mime": "audio/flac", "base64": _tone(seconds), "seconds": seconds},
        "audio_fault": None,
        "misaligned": place == 0,
    }


def _tone(seconds: float) -> str:
    time = np.arange(round(seconds * 16_000)) / 16_000
    buffer = io.BytesIO()
    samples = 0.2 * np.sin(2 * np.pi * 220 * time)
    soundfile.write(buffer, samples, 16_000, format="FLAC", subtype="PCM_16")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
