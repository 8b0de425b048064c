"""What trained VRNNs sample of their test utterances (Baruah and Banerjee 2022, Table 2, Fig. 2).

Shapes: N utterances over folds and seeds, D elements of a window, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serplatform.arrays import BoolArray, DoubleArray, IntArray
from serplatform.datasets.dataset import Dataset
from serplatform.explanations.model_probe import ProbeResult, probe_model
from serplatform.protocols.plan import read_plan
from serplatform.report.figures.attention_similarity import cosine_similarity
from serplatform.report.speaker_intervals import clustered_interval, mean_statistic
from serplatform.reproduce.measure import MetricSummary
from serplatform.run_directory import RunDirectory

#: the row that stands for all classes together
AVERAGE = "average"


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


def probe_sampling(run: Path, dataset: Dataset, trials: Sequence[int]) -> Sampling:
    """Run every fold's model of some trials on its test utterances.

    Raises:
        ArtifactError: a model is missing, damaged, or of another run.
    """
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
        truth=tuple(plan.label_map[labels[r.row]] for r in results),
        speaker_ids=tuple(dataset.speaker_ids[r.row] for r in results),
        windows=np.array([round(r.statistics["num_windows"]) for r in results], dtype=np.int64),
        share=np.array([r.statistics["sampled_share"] for r in results], dtype=np.float64),
        elements=np.array([np.zeros(size) if r.elements is None else r.elements for r in results]),
        classes=plan.classes,
    )


def sampled_shares(sampling: Sampling, name: str) -> dict[str, MetricSummary] | None:
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


def _summary(sampling: Sampling, values: DoubleArray, rows: BoolArray) -> MetricSummary:
    """Mean over utterances; std over folds and seeds; speakers resampled."""
    places = np.flatnonzero(rows)
    pairs = list(zip(sampling.trial[places].tolist(), sampling.fold[places].tolist(), strict=True))
    interval = clustered_interval(
        np.stack([values[places], np.ones(len(places))], axis=1),
        [sampling.speaker_ids[place] for place in places],
        mean_statistic,
    )
    of_trials: dict[int, list[float]] = {}
    for trial, fold in sorted(set(pairs)):
        own = [place for place, pair in zip(places, pairs, strict=True) if pair == (trial, fold)]
        of_trials.setdefault(trial, []).append(float(values[own].mean()))
    return MetricSummary.of(list(of_trials.values()), interval)


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


def extremes(classes: Sequence[str], matrix: DoubleArray, name: str) -> dict[str, str] | None:
    """The classes most and least like one; None where no fold tests it together with another."""
    line = matrix[classes.index(name)]
    others = [
        (float(value), other)
        for value, other in zip(line, classes, strict=True)
        if other != name and np.isfinite(value)
    ]
    if not others:
        return None
    return {"most_alike": max(others)[1], "least_alike": min(others)[1]}
