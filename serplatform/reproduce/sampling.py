"""What trained VRNNs sample of their test utterances (Baruah and Banerjee 2022, Table 2, Fig. 2).

Shapes: N utterances over folds and seeds, D elements of a window, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray, IntArray
from serplatform.datasets.dataset import Dataset
from serplatform.prediction.model_probe import probe
from serplatform.protocols.plan import read_plan
from serplatform.report.figures.attention_similarity import cosine_similarity
from serplatform.report.speaker_intervals import clustered_interval, mean_statistic
from serplatform.reproduce.measure import Measured
from serplatform.reproduce.table import AVERAGE
from serplatform.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """What some trials of one run sampled, an entry an utterance, trial and fold.

    Attributes:
        trial: (N,).
        fold: (N,).
        truth: N class names.
        speaker_ids: N.
        windows: (N,) number of windows.
        share: (N,) of the elements sampled, mean over the windows after the first; unused
            where there is one window.
        elements: (N, D) how often each element was sampled in those windows.
        classes: of the run.
    """

    trial: IntArray
    fold: IntArray
    truth: tuple[str, ...]
    speaker_ids: tuple[str, ...]
    windows: IntArray
    share: DoubleArray
    elements: DoubleArray
    classes: tuple[str, ...]


def ask(run: Path, dataset: Dataset, trials: Sequence[int]) -> Sampling:
    """Ask every fold's model of some trials about its test utterances.

    Raises:
        ArtifactError: a model is missing, damaged, or of another run.
    """
    directory = RunDirectory(run)
    plan = read_plan(directory.folds_file)
    labels = dataset.utterances.column("emotion").to_pylist()
    found: dict[str, list[Any]] = {
        name: [] for name in ("trial", "fold", "truth", "speaker", "windows", "share", "elements")
    }
    for trial in trials:
        for fold, part in enumerate(plan.folds):
            rows = np.array(sorted(dataset.row_of[name] for name in part.test), dtype=np.int64)
            for answer in probe(directory, dataset, plan, trial, fold, rows).answers:
                found["trial"].append(trial)
                found["fold"].append(fold)
                found["truth"].append(plan.label_map[labels[answer.row]])
                found["speaker"].append(dataset.speaker_ids[answer.row])
                found["windows"].append(round(answer.statistics["num_windows"]))
                found["share"].append(answer.statistics["sampled_share"])
                found["elements"].append(answer.elements)
    size = next((len(e) for e in found["elements"] if e is not None), 0)
    return Sampling(
        trial=np.array(found["trial"], dtype=np.int64),
        fold=np.array(found["fold"], dtype=np.int64),
        truth=tuple(found["truth"]),
        speaker_ids=tuple(found["speaker"]),
        windows=np.array(found["windows"], dtype=np.int64),
        share=np.array(found["share"], dtype=np.float64),
        elements=np.array([np.zeros(size) if e is None else e for e in found["elements"]]),
        classes=plan.classes,
    )


def sampled_shares(sampling: Sampling, name: str) -> dict[str, Measured] | None:
    """Share of the elements sampled of one class, or of all (``average``).

    Returns:
        ``after_first_window``: mean over utterances of more than one window;
        ``with_first_window``: mean over all, the first window counted as sampled whole. None
        where no utterance of the class has a second window.
    """
    truth = np.array(sampling.truth, dtype=object)
    own = (truth == name) | (name == AVERAGE)
    chosen = own & (sampling.windows > 1)
    if not chosen.any():
        return None
    whole = (1 + (sampling.windows - 1) * sampling.share) / sampling.windows
    return {
        "after_first_window": _summary(sampling, sampling.share, chosen),
        "with_first_window": _summary(sampling, np.where(sampling.windows > 1, whole, 1.0), own),
    }


def _summary(sampling: Sampling, values: DoubleArray, rows: npt.NDArray[np.bool_]) -> Measured:
    """Mean over utterances; deviation over folds and seeds; speakers resampled."""
    places = np.flatnonzero(rows)
    trials = np.unique(sampling.trial[rows])
    parts = [
        [
            float(values[rows & (sampling.trial == trial) & (sampling.fold == fold)].mean())
            for fold in np.unique(sampling.fold[rows & (sampling.trial == trial)])
        ]
        for trial in trials
    ]
    flat = np.array([value for part in parts for value in part])
    interval = clustered_interval(
        np.stack([values[places], np.ones(len(places))], axis=1),
        [sampling.speaker_ids[place] for place in places],
        mean_statistic,
    )
    return Measured(
        mean=float(flat.mean()),
        sd=float(flat.std(ddof=1)) if flat.size > 1 else None,
        seed_sd=float(np.std([np.mean(p) for p in parts], ddof=1)) if len(parts) > 1 else None,
        pooled=interval.value,
        low=interval.low,
        high=interval.high,
        values=tuple(tuple(part) for part in parts),
    )


def similarity(sampling: Sampling) -> tuple[tuple[str, ...], DoubleArray]:
    """Classes that have a second window, and (C, C) absolute cosines of their mean samplings.

    For each trial and fold the mean over windows of what is sampled, by class, is compared;
    the result is the mean over trials and folds. A pair that no fold can compare is NaN.
    """
    truth = np.array(sampling.truth, dtype=object)
    second = sampling.windows > 1
    classes = tuple(name for name in sampling.classes if (second & (truth == name)).any())
    found = []
    for trial, fold in sorted(
        set(zip(sampling.trial.tolist(), sampling.fold.tolist(), strict=True))
    ):
        here = second & (sampling.trial == trial) & (sampling.fold == fold)
        means = np.full((len(classes), sampling.elements.shape[1]), np.nan)
        for c, name in enumerate(classes):
            rows = here & (truth == name)
            if rows.any():
                weights = (sampling.windows[rows] - 1).astype(np.float64)
                means[c] = np.average(sampling.elements[rows], axis=0, weights=weights)
        found.append(cosine_similarity(means))
    with np.errstate(invalid="ignore"):
        stacked = np.stack(found)
        counts = np.isfinite(stacked).sum(axis=0)
        total = np.nansum(stacked, axis=0)
        return classes, np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
