"""What trained rows reach on test rows: mean and std over folds and seeds, interval.

Test rows are read here for the first time; epochs and exponents were chosen on dev rows.

Shapes: S seeds, F folds, N utterances of a fold's part, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serplatform.artifacts.reproduced_table import MeasuredMetric
from serplatform.ensembles.base import PosteriorSet
from serplatform.ensembles.posteriors import Library, read_library
from serplatform.ensembles.product import Product, log_linear_pool
from serplatform.metrics import classification_metrics
from serplatform.statistics.bootstrap import Interval, draw_speakers, speaker_sums

#: speakers drawn anew for an interval
RESAMPLES = 2000


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
        sets, exponents = [], []
        for fold in self.library.folds:
            if isinstance(exponent, str):
                combiner = Product(objective="uar")
                combiner.fit(self.library.take(fold, "dev").take_members(places))
                weights = combiner.weights()
            else:
                weights = np.array([1.0, exponent])
            test = self.library.take(fold, "test").take_members(places)
            pooled = log_linear_pool(test.posteriors, weights)
            sets.append(dataclasses.replace(test, posteriors=pooled[None], members=("combined",)))
            exponents.append([float(weight) for weight in weights])
        return sets, exponents


def measure(
    seeds: Sequence[Sequence[PosteriorSet]], metrics: Sequence[str], *, seed: int = 0
) -> dict[str, MeasuredMetric]:
    """Measure some metrics of one row: S lists of F sets of one member's test rows.

    The interval resamples whole speakers, all seeds together, and takes the mean over seeds each
    time: it covers the choice of test speakers, and not that of training.
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
    num_speakers = len(sums[0].num_utterances)
    whole = [s.metrics(np.ones(num_speakers)) for s in sums]
    times = draw_speakers(num_speakers, RESAMPLES, seed)
    drawn = [s.metrics(times) for s in sums]
    found = {}
    for name in metrics:
        low = high = None
        if num_speakers > 1:
            resampled = np.mean([d[name] for d in drawn], axis=0)
            low, high = (float(v) for v in np.quantile(resampled, [0.025, 0.975]))
        pooled = Interval(value=float(np.mean([w[name] for w in whole])), low=low, high=high)
        values = [[float(fold[name]) for fold in folds] for folds in by_fold]
        found[name] = summarise(values, pooled)
    return found
