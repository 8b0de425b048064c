"""Records of trials, finished and unfinished."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from serplatform.artifacts.records import (
    Count,
    DevMetrics,
    FileName,
    Number,
    Record,
    Seconds,
    TensorFile,
)

TrialState = Literal["complete", "pruned", "failed"]


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
    params: dict[str, Any]
    paper: NotRequired[bool]
    seed: NotRequired[int | None]
    device: NotRequired[str | None]
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
    posteriors_sha256: NotRequired[str | None]


class StudyAttribute(Record):
    """What a study knows of a trial of ours, beside what Optuna does."""

    trial: Number
    paper: bool
    values: dict[str, Any]


class TrialProgress(Record):
    """``state/trial-00012/progress.json`` of an unfinished trial."""

    schema_version: int
    architecture: str
    values: dict[str, Any]
    seed: int
    fold: Number
    trainer_state: FileName | None
    history: list[HistoryEntry]
    fold_dev: list[dict[str, float]]
    seconds: Seconds
    num_parameters: Count
    peak_memory_mb: float


class TrainingState(Record):
    """``state.json`` of a model in training."""

    schema_version: int
    tensors: TensorFile
    values: dict[str, Any]
