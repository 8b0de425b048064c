"""Trials, finished and unfinished: their records, what ranks them, and the table of all."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NotRequired, get_args

import numpy as np
import pyarrow as pa

from serplatform.artifacts.files import SCHEMA_VERSION
from serplatform.artifacts.records import (
    Count,
    DevMetrics,
    FileName,
    Number,
    Record,
    Seconds,
    TensorFile,
)
from serplatform.config import digest, plain
from serplatform.metrics import HIGHER_IS_BETTER, METRICS

#: Metrics whose dev means are columns ``dev_<name>`` of ``trials.parquet``.
DEV_METRICS = ("uar", *(name for name in METRICS if name != "uar"))

#: what a reader of a nested search's numbers must know
NESTED_NOTE = (
    "Nested: a study for each outer fold, whose trials train that fold alone and are proposed, "
    "stopped and chosen by its dev rows alone; the dev value of a trial is of its fold, and trials "
    "of different folds do not compare."
)
#: What a trial with ``training.refit`` says beside its numbers.
REFIT_NOTE = (
    "The kept model was fitted again on training and dev rows; its dev posteriors are of the fit "
    "on training rows."
)

TrialState = Literal["complete", "pruned", "failed"]
#: States a recorded trial can have.
TRIAL_STATES = get_args(TrialState)


class HistoryEntry(Record):
    """One epoch of one trial on one fold."""

    fold: Number
    epoch: Number
    train_loss: float
    learning_rate: NotRequired[float]
    dev: DevMetrics
    averaged_dev: NotRequired[DevMetrics]
    seconds: NotRequired[Seconds]
    padded_share: NotRequired[float]


class TrialRecord(Record):
    """``trials/trial-00012.json``; ``dev`` holds means over the folds that ended."""

    schema_version: NotRequired[int]
    trial: Number
    architecture: str
    state: TrialState
    params: dict[str, object]
    #: the one that it trained, in a nested search; without: all
    fold: NotRequired[Number]
    paper: NotRequired[bool]
    seed: NotRequired[int | None]
    device: NotRequired[str | None]
    #: of torch in each process, which the order of sums, so the last digits, depend on
    threads: NotRequired[Count]
    error: NotRequired[str | None]
    dev: NotRequired[DevMetrics]
    fold_dev: NotRequired[list[DevMetrics]]
    fold_dev_uar: NotRequired[list[float | None]]
    history: NotRequired[list[HistoryEntry]]
    epochs: NotRequired[Count]
    seconds: NotRequired[Seconds]
    num_parameters: NotRequired[Count | None]
    peak_memory_mb: NotRequired[float | None]
    ended: NotRequired[float | None]
    host: NotRequired[str | None]
    notes: NotRequired[list[str]]
    layer_weights: NotRequired[dict[str, float]]
    posteriors_sha256: NotRequired[str | None]


def new_record(
    *,
    trial: int,
    architecture: str,
    values: Mapping[str, object],
    paper: bool,
    seed: int,
    state: TrialState,
    device: str | None = None,
    threads: int | None = None,
    error: str | None = None,
    fold_dev: Sequence[DevMetrics] = (),
    history: Sequence[HistoryEntry] = (),
    seconds: float | None = None,
    num_parameters: int | None = None,
    peak_memory_mb: float | None = None,
    host: str | None = None,
    notes: Sequence[str] = (),
    layer_weights: Sequence[Mapping[str, float]] = (),
    posteriors_sha256: str | None = None,
    fold: int | None = None,
) -> TrialRecord:
    """The record of a trial that ends now, with the means of its dev metrics over the folds.

    Args as the keys of :class:`TrialRecord`; besides: ``trial`` is its number within the run,
    ``values`` are flat dotted parameters that differ from the paper's settings, ``fold_dev`` is of
    the folds that ended, as are ``layer_weights``, of which the record has the means, and without
    ``seconds`` those of the epochs in ``history`` are summed.
    """
    names = [name for name in DEV_METRICS if fold_dev and name in fold_dev[0]]
    record: TrialRecord = {
        "schema_version": SCHEMA_VERSION,
        "trial": trial,
        "architecture": architecture,
        "state": state,
        "paper": paper,
        "params": plain(values),
        "seed": seed,
        "device": device,
        "error": error,
        "dev": {name: float(np.mean([fold[name] for fold in fold_dev])) for name in names},
        "fold_dev": list(fold_dev),
        "history": list(history),
        "epochs": len(history),
        "seconds": sum(e.get("seconds", 0.0) for e in history) if seconds is None else seconds,
        "num_parameters": num_parameters,
        "peak_memory_mb": peak_memory_mb,
        "ended": time.time(),
        "host": host,
        "notes": list(notes),
    }
    if layer_weights:
        record["layer_weights"] = {
            name: float(np.mean([fold[name] for fold in layer_weights]))
            for name in layer_weights[0]
        }
    if fold is not None:
        record["fold"] = fold
    if threads is not None:
        record["threads"] = threads
    if posteriors_sha256 is not None:
        record["posteriors_sha256"] = posteriors_sha256
    return record


class StudyAttribute(Record):
    """What a study keeps of one of our trials, besides what Optuna does."""

    trial: Number
    paper: bool
    values: dict[str, object]


class TrialProgress(Record):
    """``state/trial-00012/progress.json`` of an unfinished trial."""

    schema_version: int
    trial: NotRequired[Number]
    architecture: str
    values: dict[str, object]
    seed: int
    fold: Number
    trainer_state: FileName | None
    history: list[HistoryEntry]
    fold_dev: list[dict[str, float]]
    seconds: Seconds
    num_parameters: Count
    peak_memory_mb: float
    layer_weights: NotRequired[list[dict[str, float]]]


class TrainingState(Record):
    """``state.json`` of a model in training."""

    schema_version: int
    tensors: TensorFile
    values: dict[str, object]


def merit(dev: Mapping[str, float], objective: str) -> tuple[float, float]:
    """What ranks trials, larger is better: the objective on dev rows, then the likelihood.

    Args:
        dev: metrics, of one fold or means over the folds.
        objective: a name of :data:`DEV_METRICS`, or another, for which UAR stands.

    Returns:
        rounded to 12 decimals, so that equal counts compare equal.

    Example:
        >>> merit({"uar": 0.5, "nll": 1.25}, "uar"), merit({"nll": 1.25}, "nll")
        ((0.5, -1.25), (-1.25, -1.25))
    """
    name = objective if objective in DEV_METRICS else "uar"
    value = dev.get(name, math.nan)
    first = value if HIGHER_IS_BETTER[name] else -value
    values = [
        round(v, 12) if math.isfinite(v) else -math.inf for v in (first, -dev.get("nll", math.inf))
    ]
    return values[0], values[1]


def ranked(records: Iterable[TrialRecord], objective: str) -> list[TrialRecord]:
    """The complete trials, the best by the means of their dev rows first, see :func:`merit`.

    The first one is what prediction and export take of a run.
    """
    complete = [record for record in records if record["state"] == "complete"]
    return sorted(complete, key=lambda r: (merit(r["dev"], objective), -r["trial"]), reverse=True)


def trial_identity(record: TrialRecord, folds_hash: str) -> str:
    """What tells a trial from others wherever its run lies, sealed or not."""
    kept = ("trial", "architecture", "params", "fold_dev", "fold_dev_uar", "seconds")
    return digest([folds_hash, *(record.get(name) for name in kept)])


def trained_folds(record: TrialRecord, num_folds: int) -> Sequence[int]:
    """The folds that a complete trial has models and posteriors of."""
    return (record["fold"],) if "fold" in record else range(num_folds)


def best_by_fold(records: Iterable[TrialRecord], objective: str) -> dict[int | None, TrialRecord]:
    """The best complete trial of all folds under None; of a nested search each fold's own."""
    found: dict[int | None, TrialRecord] = {}
    for record in ranked(records, objective):
        found.setdefault(record.get("fold"), record)
    return dict(sorted(found.items(), key=lambda item: item[0] or 0))


def layer_weights_text(weights: Mapping[str, float]) -> str:
    """The weights that a model sums layers by, in words.

    Example:
        >>> layer_weights_text({"pretrained:w2v@5": 0.25, "pretrained:w2v@6": 0.75})
        'weights of the layers, means over folds: pretrained:w2v@5 0.25, pretrained:w2v@6 0.75'
    """
    listed = ", ".join(f"{name} {share:.2f}" for name, share in weights.items())
    return f"weights of the layers, means over folds: {listed}"


def reached(record: TrialRecord) -> tuple[float | None, int]:
    """How far a trial came: the mean over the folds begun of each one's highest dev UAR so far,
    and how many folds it began.

    Example:
        >>> epochs = [(0, 1, 0.4), (0, 2, 0.6), (1, 1, 0.5)]
        >>> history = [{"fold": f, "epoch": e, "dev": {"uar": uar}} for f, e, uar in epochs]
        >>> reached({"history": history})
        (0.55, 2)
    """
    best: dict[int, float] = {}
    for entry in record.get("history", []):
        best[entry["fold"]] = max(entry["dev"]["uar"], best.get(entry["fold"], 0.0))
    return (float(np.mean(list(best.values()))) if best else None), len(best)


def _column(values: list[Any]) -> pa.Array:
    """One typed column of mixed Python values: numbers, text, or JSON text for the rest."""
    present = [v for v in values if v is not None]
    if all(isinstance(v, bool) for v in present):
        return pa.array(values, pa.bool_() if present else pa.string())
    if all(isinstance(v, int) and not isinstance(v, bool) for v in present):
        return pa.array(values, pa.int64())
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in present):
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pa.array(texts, pa.string())


def trials_table(records: Sequence[TrialRecord]) -> pa.Table:
    """Tabulate trial records, one row per trial, in the order of their numbers.

    Columns: ``trial, architecture, state, paper, params.*, dev_<metric>, fold_dev_uar,
    reached_dev_uar, reached_folds, epochs, seconds, num_parameters, peak_memory_mb, host, error``;
    ``fold`` in a nested search. A trial that was stopped has no ``dev_<metric>``, which compare
    only over the same folds, but what it :func:`reached`.
    """
    rows = sorted(records, key=lambda record: record["trial"])
    columns: dict[str, pa.Array] = {
        "trial": pa.array([r["trial"] for r in rows], pa.int32()),
        "architecture": pa.array([r["architecture"] for r in rows], pa.string()),
        "state": pa.array([r["state"] for r in rows], pa.string()),
        "paper": pa.array([bool(r.get("paper", False)) for r in rows], pa.bool_()),
    }
    for key in sorted({key for r in rows for key in r["params"]}):
        columns[f"params.{key}"] = _column([r["params"].get(key) for r in rows])
    for metric in DEV_METRICS:
        columns[f"dev_{metric}"] = pa.array(
            [r.get("dev", {}).get(metric) if r["state"] == "complete" else None for r in rows],
            pa.float64(),
        )
    columns["fold_dev_uar"] = pa.array(
        [[fold.get("uar") for fold in r.get("fold_dev", [])] for r in rows],
        pa.list_(pa.float64()),
    )
    stopped = [reached(r) if r["state"] != "complete" else (None, None) for r in rows]
    columns["reached_dev_uar"] = pa.array([uar for uar, _ in stopped], pa.float64())
    columns["reached_folds"] = pa.array([folds for _, folds in stopped], pa.int32())
    if any("fold" in r for r in rows):
        columns["fold"] = pa.array([r.get("fold") for r in rows], pa.int32())
    for name, kind in (
        ("epochs", pa.int64()),
        ("seconds", pa.float64()),
        ("num_parameters", pa.int64()),
        ("peak_memory_mb", pa.float64()),
        ("host", pa.string()),
        ("error", pa.string()),
    ):
        columns[name] = pa.array([r.get(name) for r in rows], kind)
    return pa.table(columns)
