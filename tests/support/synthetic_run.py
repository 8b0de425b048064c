"""A complete ``RUN/`` directory made of random posteriors: what a search would leave, in a moment.

Nothing is trained. Each trial's posteriors come from a simple generative story: a logit for the
true class, a difficulty shared by all trials (so that they err on the same utterances), a bias
of the speaker, and noise of the trial's own (so that combining trials helps).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.dataset import UTTERANCE_SCHEMA
from serplatform.artifacts.files import SCHEMA_VERSION, write_bytes, write_json, write_parquet
from serplatform.artifacts.posteriors import posterior_schema
from serplatform.config import digest
from serplatform.metrics import classification_metrics
from serplatform.protocols.base import Fold, FoldPlan
from serplatform.protocols.plan import plan_hash, write_plan
from serplatform.run_directory import RunDirectory
from serplatform.seeding import derive_seed

ARCHITECTURE_CYCLE = ("moma", "blstmatt", "csa")
CLASSES = ("neutral", "happy", "sad", "angry")


@dataclasses.dataclass(frozen=True)
class SyntheticSpeech:
    """Utterances without sound: N of them.

    Attributes:
        utterance_ids: N names.
        speaker_ids: N names.
        genders: N, ``female`` or ``male``.
        truth: (N,) class indices.
    """

    utterance_ids: tuple[str, ...]
    speaker_ids: tuple[str, ...]
    genders: tuple[str, ...]
    truth: IntArray


def make_speech(
    *, num_speakers: int, per_speaker: int, num_classes: int, permute_labels: bool, seed: int
) -> SyntheticSpeech:
    """Name utterances and label them in turn, so that every speaker speaks every class.

    Args:
        num_speakers: half of them female.
        per_speaker: utterances a speaker.
        num_classes: K.
        permute_labels: shuffle the labels over all utterances.
        seed: of the shuffle.
    """
    speakers = [s for s in range(num_speakers) for _ in range(per_speaker)]
    takes = list(range(per_speaker)) * num_speakers
    truth = np.asarray(takes, dtype=np.int64) % num_classes
    if permute_labels:
        truth = np.random.default_rng(derive_seed(seed, "permute")).permutation(truth)
    return SyntheticSpeech(
        utterance_ids=tuple(f"s{s:02d}-u{t:03d}" for s, t in zip(speakers, takes, strict=True)),
        speaker_ids=tuple(f"s{s:02d}" for s in speakers),
        genders=tuple("female" if s % 2 else "male" for s in speakers),
        truth=truth,
    )


def make_folds(
    speech: SyntheticSpeech, classes: Sequence[str], *, num_folds: int, seed: int
) -> FoldPlan:
    """Speaker-independent folds: block k tests, block k + 1 is dev, the others train."""
    speakers = sorted(set(speech.speaker_ids))
    block = {speaker: i * num_folds // len(speakers) for i, speaker in enumerate(speakers)}

    def part(blocks: set[int]) -> tuple[str, ...]:
        rows = zip(speech.utterance_ids, speech.speaker_ids, strict=True)
        return tuple(sorted(u for u, s in rows if block[s] in blocks))

    folds = []
    for k in range(num_folds):
        dev = (k + 1) % num_folds
        rest = set(range(num_folds)) - {k, dev}
        folds.append(Fold(train=part(rest), dev=part({dev}), test=part({k})))
    return FoldPlan(
        protocol=f"speaker-kfold:{num_folds}",
        speaker_independent=True,
        classes=tuple(classes),
        label_map={name: name for name in classes},
        folds=tuple(folds),
        seed=seed,
        notes=("synthetic posteriors",),
    )


def make_posteriors(
    truth: IntArray,
    speaker_ids: Sequence[str],
    *,
    num_classes: int,
    skill: float,
    shared: DoubleArray,
    sharpness: float,
    rng: np.random.Generator,
) -> DoubleArray:
    """Draw one trial's posteriors.

    Args:
        truth: (N,) class indices that the posteriors lean to.
        speaker_ids: N.
        num_classes: K.
        skill: logit of the true class; 0 is chance.
        shared: (N, K) logits common to all trials.
        sharpness: logits are multiplied by it; 1 is calibrated best.
        rng: of the trial's own noise.

    Returns:
        (N, K), rows sum to 1.
    """
    names = sorted(set(speaker_ids))
    bias = rng.normal(0.0, 0.4, (len(names), num_classes))
    logits = shared + rng.normal(0.0, 0.9, (len(truth), num_classes))
    logits += bias[np.searchsorted(names, speaker_ids)]
    logits[np.arange(len(truth)), truth] += skill
    logits *= sharpness
    posteriors = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(posteriors / posteriors.sum(axis=1, keepdims=True), dtype=np.float64)


def _params(architecture: str, rng: np.random.Generator) -> dict[str, Any]:
    params: dict[str, Any] = {
        "training.learning_rate": float(10 ** rng.uniform(-4, -2)),
        "training.batch_size": int(rng.choice([16, 32, 64])),
        "model.hidden_dim": int(rng.choice([32, 64, 128])),
        "data.normalization": str(rng.choice(["train", "speaker"])),
    }
    if architecture == "csa":
        params["model.context_frames"] = int(rng.choice([20, 30, 40]))
    if architecture == "moma":
        params["model.num_blocks"] = int(rng.choice([2, 3]))
        params["model.mixture_layers"] = params["training.batch_size"] // 16
    return params


def _history(num_folds: int, fold_uar: Sequence[float], rng: np.random.Generator) -> list[Any]:
    history = []
    for fold in range(num_folds):
        for epoch in range(1, 6):
            reached = 1.0 - 0.5**epoch
            history.append(
                {
                    "fold": fold,
                    "epoch": epoch,
                    "train_loss": float(1.5 - reached + rng.uniform(0, 0.05)),
                    "learning_rate": 1e-3,
                    "dev": {"uar": fold_uar[fold] * reached / (1 - 0.5**5), "nll": 1.5 - reached},
                    "seconds": 0.5,
                }
            )
    return history


def _posterior_columns(
    plan: FoldPlan, speech: SyntheticSpeech, by_part: dict[tuple[int, str], DoubleArray]
) -> dict[str, list[Any]]:
    rows = {name: i for i, name in enumerate(speech.utterance_ids)}
    columns: dict[str, list[Any]] = {
        name: [] for name in posterior_schema(list(plan.classes)).names
    }
    for (fold, part), posteriors in by_part.items():
        ids: tuple[str, ...] = getattr(plan.folds[fold], part)
        columns["utterance_id"].extend(ids)
        columns["speaker_id"].extend(speech.speaker_ids[rows[i]] for i in ids)
        columns["fold"].extend([fold] * len(ids))
        columns["part"].extend([part] * len(ids))
        columns["truth"].extend(plan.classes[speech.truth[rows[i]]] for i in ids)
        for k, name in enumerate(plan.classes):
            columns[f"p_{name}"].extend(posteriors[:, k].tolist())
    return columns


def write_dataset(path: Path, speech: SyntheticSpeech, classes: Sequence[str]) -> str:
    """Write the part of ``DATA/`` that needs no sound; return its fingerprint."""
    count = len(speech.utterance_ids)
    emotions = [classes[k] for k in speech.truth]
    columns: dict[str, Any] = {name: [None] * count for name in UTTERANCE_SCHEMA.names}
    columns |= {
        "utterance_id": list(speech.utterance_ids),
        "path": [f"{name}.wav" for name in speech.utterance_ids],
        "start": [0.0] * count,
        "end": [1.0] * count,
        "duration": [1.0] * count,
        "speaker_id": list(speech.speaker_ids),
        "gender": list(speech.genders),
        "emotion": emotions,
        "parent_id": list(speech.utterance_ids),
        "audio_hash": [digest(name) for name in speech.utterance_ids],
        "sampling_rate": [16000] * count,
        "speech_start": [0.0] * count,
        "speech_end": [1.0] * count,
    }
    write_parquet(path / "utterances.parquet", pa.table(columns, schema=UTTERANCE_SCHEMA))
    fingerprint = digest({"ids": speech.utterance_ids, "emotions": emotions})
    write_json(
        path / "dataset.json",
        {
            "schema_version": SCHEMA_VERSION,
            "corpus": "synthetic",
            "title": "Synthetic posteriors",
            "synthetic": True,
            "classes": list(classes),
            "counts": {"utterances": count, "speakers": len(set(speech.speaker_ids))},
            "features": {},
            "files": {},
            "fingerprint": fingerprint,
        },
    )
    return fingerprint


def make_run(
    path: Path,
    *,
    num_trials: int = 6,
    num_folds: int = 3,
    classes: Sequence[str] = CLASSES,
    num_speakers: int = 6,
    per_speaker: int = 12,
    seed: int = 0,
    skill: float | Sequence[float] = (1.0, 2.0),
    permute_labels: bool = False,
    data_seed: int | None = None,
) -> Path:
    """Write a complete run: ``num_trials`` finished trials, one pruned and one failed.

    The dataset (``utterances.parquet`` and ``dataset.json`` only) is written beside the run as
    ``<run>-data``. Architectures take turns: moma, blstmatt, csa.

    Args:
        path: the run's directory, made if missing.
        num_trials: finished trials.
        num_folds: outer folds, at least 3.
        classes: K names in label order.
        num_speakers: at least ``num_folds``.
        per_speaker: utterances a speaker; labels take turns.
        seed: of the trials; two runs that differ only in it may be combined when
            ``data_seed`` is the same.
        skill: logit of the true class: one value for all trials, one a trial, or a range
            (two values) spread evenly over the trials.
        permute_labels: the labels that are written are a permutation of those that the
            posteriors lean to.
        data_seed: of the utterances' shared difficulty, labels and folds; ``seed`` by default.

    Returns:
        ``path``.
    """
    data_seed = seed if data_seed is None else data_seed
    num_classes = len(classes)
    shape = {"num_speakers": num_speakers, "per_speaker": per_speaker, "num_classes": num_classes}
    plain = make_speech(**shape, permute_labels=False, seed=data_seed)
    speech = make_speech(**shape, permute_labels=permute_labels, seed=data_seed)
    plan = make_folds(speech, classes, num_folds=num_folds, seed=data_seed)
    data_path = path.parent / f"{path.name}-data"
    fingerprint = write_dataset(data_path, speech, classes)
    run = RunDirectory(path)
    write_plan(run.folds_file, plan)

    if isinstance(skill, (int, float)):
        skills = [float(skill)] * num_trials
    elif len(skill) == num_trials:
        skills = [float(s) for s in skill]
    else:
        skills = np.linspace(skill[0], skill[-1], num_trials).tolist()
    row_of = {name: i for i, name in enumerate(speech.utterance_ids)}
    shared = np.random.default_rng(derive_seed(data_seed, "shared")).normal(
        0.0, 0.8, (len(plain.truth), num_classes)
    )

    states = ["complete"] * num_trials
    states.insert(min(1, num_trials), "pruned")
    states.insert(min(3, num_trials + 1), "failed")
    finished = iter(skills)
    for number, state in enumerate(states):
        rng = np.random.default_rng(derive_seed(seed, "trial", number))
        architecture = ARCHITECTURE_CYCLE[number % len(ARCHITECTURE_CYCLE)]
        row: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "trial": number,
            "paper": number == 0,
            "architecture": architecture,
            "state": state,
            "params": _params(architecture, rng),
            "dev": {},
            "fold_dev": [],
            "epochs": 0,
            "seconds": 0.0,
            "num_parameters": None,
            "peak_memory_mb": None,
            "error": None,
            "history": [],
        }
        if state == "failed":
            row["error"] = "loss is not finite at epoch 1 of fold 0"
        elif state == "pruned":
            row |= {"fold_dev": [{"uar": 0.3}], "dev": {"uar": 0.3}, "epochs": 2, "seconds": 1.0}
            row["history"] = _history(1, [0.3], rng)[:2]
        else:
            trial_skill, sharpness = next(finished), float(rng.uniform(0.6, 1.8))
            by_part: dict[tuple[int, str], DoubleArray] = {}
            dev: list[dict[str, float]] = []
            for fold, ids in enumerate(plan.folds):
                for part in ("dev", "test"):
                    rows = [row_of[i] for i in getattr(ids, part)]
                    by_part[fold, part] = make_posteriors(
                        plain.truth[rows],
                        [speech.speaker_ids[i] for i in rows],
                        num_classes=num_classes,
                        skill=trial_skill,
                        shared=shared[rows],
                        sharpness=sharpness,
                        rng=rng,
                    )
                truth = speech.truth[[row_of[i] for i in ids.dev]]
                dev.append(classification_metrics(truth, by_part[fold, "dev"]))
            columns = _posterior_columns(plan, speech, by_part)
            table = pa.table(columns, schema=posterior_schema(list(classes)))
            write_parquet(run.posteriors_file(number), table)
            row["dev"] = {key: float(np.mean([d[key] for d in dev])) for key in dev[0]}
            row["fold_dev"] = dev
            row["history"] = _history(num_folds, [d["uar"] for d in dev], rng)
            row |= {
                "epochs": 5 * num_folds,
                "seconds": float(rng.uniform(5, 60)),
                "num_parameters": int(rng.integers(10_000, 1_000_000)),
                "peak_memory_mb": float(rng.uniform(200, 900)),
            }
        run.write_record(row)

    run.write_trials_table()
    write_bytes(run.journal, b"")
    run.write_run(
        {
            "schema_version": SCHEMA_VERSION,
            "command": ["serplatform", "search", *ARCHITECTURE_CYCLE],
            "architectures": list(ARCHITECTURE_CYCLE),
            "spaces": {},
            "protocol": {
                "name": plan.protocol,
                "speaker_independent": plan.speaker_independent,
                "label_map": dict(plan.label_map),
                "num_folds": num_folds,
                "notes": list(plan.notes),
            },
            "folds_file": "folds.json",
            "folds_hash": plan_hash(plan),
            "dataset": {
                "path": str(data_path),
                "fingerprint": fingerprint,
                "corpus": "synthetic",
                "title": "Synthetic posteriors",
                "synthetic": True,
                "counts": {"utterances": len(speech.utterance_ids), "speakers": num_speakers},
            },
            "classes": list(classes),
            "seed": seed,
            "objective": ["uar"],
            "pruner": "asha",
            "versions": {},
            "hardware": {},
            "status": "complete",
            "sealed": False,
            "started": "2026-01-01T00:00:00+00:00",
            "ended": "2026-01-01T00:01:00+00:00",
            "seconds": 60.0,
            "notes": [],
        },
    )
    return path
