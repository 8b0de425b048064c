"""What trained rows reach on test rows: mean and std over folds and seeds, interval.

Test rows are read here for the first time; epochs and exponents were chosen on dev rows.

Shapes: S seeds, F folds, N utterances of a fold's part, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from serplatform.ensembles.base import PosteriorSet
from serplatform.ensembles.posteriors import Library, read_library
from serplatform.ensembles.product import Product, log_linear_pool
from serplatform.metrics import classification_metrics
from serplatform.statistics.bootstrap import Interval, draw_speakers, speaker_sums

#: speakers drawn anew for an interval
RESAMPLES = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricSummary:
    """One metric of one row.

    Attributes:
        mean: over folds and seeds.
        sd: of the same values; None for a single one.
        seed_sd: of the seeds' means over folds; None for one seed.
        pooled: of all folds' test rows together, mean over seeds.
        low: lower end of the 95 % interval of ``pooled``; None for one speaker.
        high: its upper end.
        values: S lists of F values.
    """

    mean: float
    sd: float | None
    seed_sd: float | None
    pooled: float
    low: float | None
    high: float | None
    values: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, values: Sequence[Sequence[float]], pooled: Interval) -> MetricSummary:
        """Summarise S lists of F values."""
        flat = np.array([value for seed in values for value in seed])
        means = [np.mean(seed) for seed in values]
        return cls(
            mean=float(flat.mean()),
            sd=float(flat.std(ddof=1)) if flat.size > 1 else None,
            seed_sd=float(np.std(means, ddof=1)) if len(means) > 1 else None,
            pooled=pooled.value,
            low=pooled.low,
            high=pooled.high,
            values=tuple(tuple(seed) for seed in values),
        )


class RunPosteriors:
    """The posteriors of a run's finished trials.

    Args:
        run: directory.

    Raises:
        BadInputError: no trial has finished, or tables do not fit together.
        ArtifactError: a file is damaged.
    """

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

        Args:
            first: trial with exponent 1.
            second: trial with ``exponent``.
            exponent: a number; ``dev``: that of the trial that is weaker on each fold's dev
                rows is searched there (``ensemble.product``).
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
) -> Mapping[str, MetricSummary]:
    """Measure some metrics of one row.

    Args:
        seeds: S lists of F sets of one member's test rows, the same rows for every seed.
        metrics: names of ``metrics.METRICS``.
        seed: of the resampling.

    Returns:
        metric to its summary. The interval resamples whole speakers, all seeds together, and
        takes the mean over seeds each time: it covers the choice of test speakers, and not
        that of training.
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
        found[name] = MetricSummary.of(values, pooled)
    return found
