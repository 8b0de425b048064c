"""What trained VRNNs sample of their test utterances (Baruah and Banerjee 2022, Table 2, Fig. 2).

Shapes: N utterances over folds and seeds, D elements of a window, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serplatform.arrays import BoolArray, DoubleArray
from serplatform.artifacts.reproduced_table import MeasuredMetric
from serplatform.datasets.dataset import Dataset
from serplatform.explanations.model_probe import ProbeResult, probe_model
from serplatform.protocols.plan import read_plan
from serplatform.report.sampling import Sampling
from serplatform.report.speaker_intervals import mean_interval
from serplatform.reproduce.measure import summarise
from serplatform.run_directory import RunDirectory

#: the row that stands for all classes together
AVERAGE = "average"


def probe_sampling(run: Path, dataset: Dataset, trials: Sequence[int]) -> Sampling:
    """Run every fold's model of some trials on its test utterances."""
    directory = RunDirectory(run)
    plan = read_plan(directory.folds_file)
    labels = dataset.utterances.column("emotion").to_pylist()
    found: list[tuple[int, int, ProbeResult]] = []
    for trial in trials:
        for fold, part in enumerate(plan.folds):
            rows = np.array(sorted(dataset.row_of[name] for name in part.test), dtype=np.int64)
            probed = probe_model(directory, dataset, plan, trial, fold, rows)
            found += [(trial, fold, result) for result in probed.results]
    results = [result for _, _, result in found]
    size = next((len(r.elements) for r in results if r.elements is not None), 0)
    return Sampling(
        trial=np.array([trial for trial, _, _ in found], dtype=np.int64),
        fold=np.array([fold for _, fold, _ in found], dtype=np.int64),
        truth=np.array([plan.label_map[labels[r.row]] for r in results], dtype=object),
        speaker_ids=np.array([dataset.speaker_ids[r.row] for r in results], dtype=object),
        windows=np.array([round(r.statistics["num_windows"]) for r in results], dtype=np.int64),
        share=np.array([r.statistics["sampled_share"] for r in results], dtype=np.float64),
        elements=np.array([np.zeros(size) if r.elements is None else r.elements for r in results]),
    )


def sampled_shares(sampling: Sampling, name: str) -> dict[str, MeasuredMetric]:
    """Share of the elements sampled of one class, or of all (``average``).

    ``after_first_window`` is over utterances of more than one window, ``with_first_window`` over
    all; empty where no utterance of the class has a second window.
    """
    own = (sampling.truth == name) | (name == AVERAGE)
    chosen = own & sampling.chosen
    if not chosen.any():
        return {}
    return {
        "after_first_window": _summary(sampling, sampling.share, chosen),
        "with_first_window": _summary(sampling, sampling.with_first, own),
    }


def _summary(sampling: Sampling, values: DoubleArray, rows: BoolArray) -> MeasuredMetric:
    """Mean over utterances; std over folds and seeds; speakers resampled."""
    of_trials: dict[int, list[float]] = {}
    for trial, fold in _models(sampling.where(rows)):
        own = rows & (sampling.trial == trial) & (sampling.fold == fold)
        of_trials.setdefault(trial, []).append(float(values[own].mean()))
    interval = mean_interval(values[rows], sampling.speaker_ids[rows].tolist())
    return summarise(list(of_trials.values()), interval)


def _models(sampling: Sampling) -> list[tuple[int, int]]:
    """Trial and fold of each model, sorted."""
    return sorted(set(zip(sampling.trial.tolist(), sampling.fold.tolist(), strict=True)))


def similarity(sampling: Sampling, classes: Sequence[str]) -> tuple[list[str], DoubleArray]:
    """Classes that have a second window, and (C, C) absolute cosines of their mean samplings.

    The mean over trials and folds; a pair that no fold can compare is NaN.
    """
    names = [name for name in classes if (sampling.chosen & (sampling.truth == name)).any()]
    stacked = np.stack(
        [
            sampling.where((sampling.trial == trial) & (sampling.fold == fold)).similarity(names)
            for trial, fold in _models(sampling)
        ]
    )
    counts = np.isfinite(stacked).sum(axis=0)
    total = np.nansum(stacked, axis=0)
    return names, np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def extremes(classes: Sequence[str], matrix: DoubleArray, name: str) -> dict[str, str]:
    """The classes most and least like one; empty where no fold tests it together with another."""
    line = matrix[classes.index(name)]
    others = [
        (float(value), other)
        for value, other in zip(line, classes, strict=True)
        if other != name and np.isfinite(value)
    ]
    if not others:
        return {}
    return {"most_alike": max(others)[1], "least_alike": min(others)[1]}
