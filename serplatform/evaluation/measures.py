"""What posteriors of a system are worth on rows of another dataset.

A class that the system has and the data lacks can be read in two ways. ``all``: the system answers
with any of its classes, as it would in use, and such an answer is wrong. ``shared``: it is told
which classes there are, and its posteriors are restricted to them and sum to 1 again.

Shapes: N rows, K classes of the system, J of them that the data has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.evaluation import GroupRecord
from serplatform.metrics import confusion_counts
from serplatform.report.speaker_intervals import mean_interval
from serplatform.statistics.chance import chance_uar
from serplatform.statistics.group_difference import group_difference
from serplatform.statistics.intervals import (
    Interval,
    leave_one_out,
    metric_interval,
    metric_intervals,
    speaker_sums,
)

READINGS = ("all", "shared")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """N rows under one reading.

    Attributes:
        reading: of :data:`READINGS`.
        classes: of the posteriors.
        truth: (N,) positions among the classes.
        posteriors: (N, K or J), rows sum to 1.
        speakers: N names, as intervals count them.
        metrics: by name, with intervals over speakers.
        chance: UAR of guessing.
        recalls: of each class that the data has, by name: utterances and recall.
        confusion: (K or J, K or J) counts, rows are the truth.
    """

    reading: str
    classes: tuple[str, ...]
    truth: IntArray
    posteriors: DoubleArray
    speakers: tuple[str, ...]
    metrics: dict[str, Interval]
    chance: float
    recalls: dict[str, tuple[int, Interval]]
    confusion: IntArray

    @property
    def right(self) -> DoubleArray:
        """(N,) 1 where the answer is right, else 0."""
        return np.asarray(self.posteriors.argmax(axis=1) == self.truth, dtype=np.float64)

    def groups(self, names: Sequence[str]) -> Iterator[GroupRecord]:
        """Results of the rows of each name of N, in sorted order; empty names are no group."""
        for name in sorted(set(names) - {""}):
            rows = np.flatnonzero(np.asarray(names) == name)
            found, sums = self.left_out(rows)
            uar, accuracy = (
                metric_interval(metric, found[metric], sums).as_dict()
                for metric in ("uar", "accuracy")
            )
            yield GroupRecord(
                name=name, utterances=len(rows), speakers=len(sums), uar=uar, accuracy=accuracy
            )

    def difference(self, names: Sequence[str], one: str, other: str) -> Interval:
        """UAR of the rows of one name minus that of the rows of another."""
        values = (
            self.left_out(np.flatnonzero(np.asarray(names) == name))[0]["uar"]
            for name in (one, other)
        )
        return group_difference(next(values), next(values))

    def left_out(self, rows: IntArray) -> tuple[dict[str, DoubleArray], IntArray]:
        """Metrics of some rows, with and without each of their S speakers, (1 + S,); and (S,) the
        speakers' rows."""
        speakers = [self.speakers[row] for row in rows.tolist()]
        sums = speaker_sums(self.truth[rows], self.posteriors[rows], speakers)
        return sums.metrics(leave_one_out(len(sums.num_utterances))), sums.num_utterances


def measure(
    reading: str,
    classes: Sequence[str],
    truth: IntArray,
    posteriors: DoubleArray,
    speakers: Sequence[str],
) -> Measured:
    """Measure (N, K) posteriors of K classes under a reading; (N,) the truth, N speakers.

    A row whose shared classes all have a posterior of 0 says the same of each of them.

    Example:
        >>> found = measure("shared", ["a", "b", "c"], np.array([0, 1]),
        ...                 np.array([[0.2, 0.1, 0.7], [0.1, 0.3, 0.6]]), ["x", "y"])
        >>> found.posteriors.round(2).tolist(), found.metrics["uar"].value
        ([[0.67, 0.33], [0.25, 0.75]], 1.0)
    """
    present = np.unique(truth)
    if reading == "shared":
        posteriors = posteriors[:, present]
        total = posteriors.sum(axis=1, keepdims=True)
        even = np.full_like(posteriors, 1.0 / len(present))
        posteriors = np.where(total > 0, posteriors / np.where(total > 0, total, 1.0), even)
        truth = np.searchsorted(present, truth).astype(np.int64)
        classes = [classes[k] for k in present]
    found = posteriors.argmax(axis=1)
    recalls = {}
    for k in np.unique(truth).tolist():
        spoken = truth == k
        own = [name for name, is_k in zip(speakers, spoken, strict=True) if is_k]
        recall = mean_interval(found[spoken] == k, own, "share")
        recalls[classes[k]] = (len(own), recall)
    return Measured(
        reading=reading,
        classes=tuple(classes),
        truth=truth,
        posteriors=posteriors,
        speakers=tuple(speakers),
        metrics=metric_intervals(truth, posteriors, speakers),
        chance=chance_uar(truth),
        recalls=recalls,
        confusion=confusion_counts(truth, found, len(classes)),
    )
