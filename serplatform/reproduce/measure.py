"""What trained rows reach on test rows, and what trained VRNNs sample of them.

Test rows are read here; epochs and exponents were chosen on dev rows.

Shapes: S seeds, F folds, N utterances of a fold's part, K classes; of samplings, N utterances
over folds and seeds, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serplatform.arrays import BoolArray, DoubleArray
from serplatform.artifacts.reproduced_table import MeasuredMetric
from serplatform.datasets.dataset import Dataset
from serplatform.ensembles.base import Combiner, PosteriorSet
from serplatform.ensembles.posteriors import Library, read_library
from serplatform.ensembles.product import Product
from serplatform.ensembles.syscomb import SysComb
from serplatform.explanations.model_probe import ProbeResult, probe_model
from serplatform.metrics import classification_metrics
from serplatform.protocols.plan import read_plan
from serplatform.report.sampling import Sampling
from serplatform.report.speaker_intervals import clustered_interval
from serplatform.run_directory import RunDirectory
from serplatform.statistics.intervals import Interval, leave_one_out, metric_interval, speaker_sums

#: the row that stands for all classes together, each as much as another: the papers' 63.8 and
#: 45.2 are the means of the classes' printed shares
AVERAGE = "average"


def summarise(values: Sequence[Sequence[float]], pooled: Interval) -> MeasuredMetric:
    """Summarise the values of S seeds on F folds each; a std of a single value is None."""
    flat = np.array([value for seed in values for value in seed])
    means = [np.mean(seed) for seed in values]
    return {
        "mean": float(flat.mean()),
        "sd": float(flat.std(ddof=1)) if flat.size > 1 else None,
        "seed_sd": float(np.std(means, ddof=1)) if len(means) > 1 else None,
        "pooled": pooled.value,
        "low": pooled.low,
        "high": pooled.high,
        "values": [list(seed) for seed in values],
    }


class RunPosteriors:
    """The posteriors of a run's finished trials, read as for an ensemble."""

    def __init__(self, run: Path) -> None:
        self.library: Library = read_library([run])
        self._place = {c.trial: m for m, c in enumerate(self.library.candidates)}

    def finished(self, trial: int | None) -> bool:
        """Whether a trial is complete."""
        return trial in self._place

    def of(self, trial: int) -> list[PosteriorSet]:
        """F sets of one trial's test posteriors: (1, N, K)."""
        place = np.array([self._place[trial]])
        return [self.library.take(f, "test").take_members(place) for f in self.library.folds]

    def combined(
        self, first: int, second: int, exponent: float | str
    ) -> tuple[list[PosteriorSet], list[list[float]]]:
        """F sets of two trials' posteriors multiplied, (1, N, K), and F pairs of exponents.

        The first trial's exponent is 1, the second's is given; for ``dev``, that of the trial
        that is weaker on each fold's dev rows is searched there (``ensembles.product``).
        """
        places = np.array([self._place[first], self._place[second]])
        roles = ("first", "second")
        sets, exponents = [], []
        for fold in self.library.folds:
            combiner: Combiner = Product()
            if not isinstance(exponent, str):
                combiner = SysComb(architectures=roles, exponent=exponent)
            dev, test = (self.library.take(fold, p).take_members(places) for p in ("dev", "test"))
            combiner.fit(dataclasses.replace(dev, architectures=roles))
            pooled = combiner.combine(test.posteriors)
            sets.append(dataclasses.replace(test, posteriors=pooled[None], members=("combined",)))
            exponents.append(combiner.weights().tolist())
        return sets, exponents


def measure(
    seeds: Sequence[Sequence[PosteriorSet]], metrics: Sequence[str]
) -> dict[str, MeasuredMetric]:
    """Measure some metrics of one row: S lists of F sets of one member's test rows.

    The interval is over speakers, of the mean over seeds: it covers the choice of test
    speakers, and not that of training.
    """
    by_fold = [
        [classification_metrics(fold.truth, fold.posteriors[0]) for fold in folds]
        for folds in seeds
    ]
    sums = [
        speaker_sums(
            np.concatenate([fold.truth for fold in folds]),
            np.concatenate([fold.posteriors[0] for fold in folds]),
            [name for fold in folds for name in fold.speaker_ids],
        )
        for folds in seeds
    ]
    utterances = sums[0].num_utterances
    drawn = [s.metrics(leave_one_out(len(utterances))) for s in sums]
    found = {}
    for name in metrics:
        pooled = metric_interval(name, np.mean([d[name] for d in drawn], axis=0), utterances)
        values = [[float(fold[name]) for fold in folds] for folds in by_fold]
        found[name] = summarise(values, pooled)
    return found


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
    """Share of the elements sampled of one class, or the mean of all classes' (``average``).

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
    """Mean over classes of the means over utterances; std over folds and seeds; interval over
    speakers.
    """
    spoken = sampling.truth[:, None] == np.unique(sampling.truth[rows])  # (N, C)
    of_trials: dict[int, list[float]] = {}
    for trial, fold in _models(sampling.where(rows)):
        own = rows & (sampling.trial == trial) & (sampling.fold == fold)
        means = [values[own & there].mean() for there in spoken.T if (own & there).any()]
        of_trials.setdefault(trial, []).append(float(np.mean(means)))
    table = np.concatenate([values[:, None] * spoken, spoken], axis=1)[rows]  # (rows, 2C)
    interval = clustered_interval(table, sampling.speaker_ids[rows].tolist(), _mean_of_ratios)
    return summarise(list(of_trials.values()), interval)


def _mean_of_ratios(sums: DoubleArray) -> DoubleArray:
    """(..., 2C) sums and counts of C classes to (...) means of the classes' means."""
    totals, counts = np.split(sums, 2, axis=-1)
    return np.asarray(np.nanmean(totals / counts, axis=-1), dtype=np.float64)


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
