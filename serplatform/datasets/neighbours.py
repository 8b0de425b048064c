"""The nearest training clip of every test clip: is it a copy, and does it know too much?

Copies that ``prepare`` does not find (under other names, altered more than its fingerprint bears)
make test clips easy without a trace in the labels. Here each clip is described by its features,
and its nearest neighbour in the training part looked at. The limits below are measured by
``benchmarks/neighbours.py``.

Shapes: N utterances, T frames, B bands, M test clips, R training clips.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from serplatform.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from serplatform.datasets.dataset import Dataset
from serplatform.metrics import classification_metrics
from serplatform.protocols.base import FoldPlan

#: features that can be compared, the first that a dataset has is taken
FEATURES = ("log_mel_23", "log_mel_40", "log_mel_64")
#: a clip is a near copy of the nearest if that is nearer than this share of the way to the tenth:
#: copies at another level, 10 ms later, of one bit more or less, through Vorbis or MP3 reach 0.24;
#: takes of two speakers are at 0.49 or more
NEAR_COPY = 0.3
#: the same where both have one speaker, whose takes of a sentence are at 0.25 or more
NEAR_COPY_OF_ONE_SPEAKER = 0.2
#: share of the test clips that may have such a neighbour; without copies none has
MAX_NEAR_COPIES = 0.005
#: UAR that the nearest clip may know more than the nearest of another speaker; honest: 0.05
MAX_GAIN = 0.1
_SIGMAS = 3.0

_RANK = 10  # of the neighbour whose distance is the measure: up to nine copies are seen
_FLOOR = 4.0 * np.log(10.0)  # 40 dB below the loudest value, in log power
_SEGMENTS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbours:
    """What the nearest training clips say of all test clips.

    Attributes:
        feature: that was compared.
        test_clips: M, over all folds.
        near_copies: ids of test clip and training clip, the nearest first.
        uar: of giving each test clip the label of its nearest training clip.
        uar_other: the same with the nearest training clip of any speaker but that one's, which no
            copy of it under one other name can reach.
        suspicious: whether the first is better by more than :data:`MAX_GAIN` and than its error;
            never where speakers are shared, whose other takes are near in earnest.
    """

    feature: str
    test_clips: int
    near_copies: tuple[tuple[str, str], ...]
    uar: float
    uar_other: float
    suspicious: bool

    @property
    def leaks(self) -> bool:
        """Whether there is more than different takes of a corpus explain."""
        return self.suspicious or len(self.near_copies) > MAX_NEAR_COPIES * self.test_clips


def neighbours(dataset: Dataset, plan: FoldPlan) -> Neighbours | None:
    """Look for the nearest training clip of every test clip; None without a comparable feature."""
    feature = next((name for name in FEATURES if name in dataset.feature_names), None)
    if feature is None:
        return None
    table = np.stack([describe(dataset.frames(feature, row)) for row in range(len(dataset))])
    emotions = dataset.utterances["emotion"].to_pylist()
    speakers = np.unique(dataset.speaker_ids, return_inverse=True)[1]
    found: list[tuple[float, int, int]] = []
    rows: list[IntArray] = []
    nearest: list[IntArray] = []
    others: list[IntArray] = []
    for fold in plan.folds:
        train, test = (
            np.array([dataset.row_of[name] for name in part]) for part in (fold.train, fold.test)
        )
        mean, deviation = table[train].mean(axis=0), table[train].std(axis=0) + 1e-9
        away = _distances((table[test] - mean) / deviation, (table[train] - mean) / deviation)
        place = away.argmin(axis=1)
        closest = away.min(axis=1)
        rank = min(_RANK, len(train)) - 1
        measure = np.partition(away, rank, axis=1)[:, rank]
        share = closest / np.maximum(measure, 1e-9)
        same = speakers[train[place]] == speakers[test]
        limit = np.where(same, NEAR_COPY_OF_ONE_SPEAKER, NEAR_COPY)
        for i in np.flatnonzero(share < limit).tolist():
            found.append((float(share[i]), int(test[i]), int(train[place[i]])))
        away[speakers[train] == speakers[train[place]][:, None]] = np.inf
        rows.append(test)
        nearest.append(train[place])
        others.append(train[away.argmin(axis=1)])
    label = np.array([plan.classes.index(plan.label_map.get(e, plan.classes[0])) for e in emotions])
    truth, one, other = (label[np.concatenate(part)] for part in (rows, nearest, others))
    uars = [_uar(truth, guess, len(plan.classes)) for guess in (one, other)]
    ids = dataset.utterance_ids
    return Neighbours(
        feature=feature,
        test_clips=len(truth),
        near_copies=tuple((ids[test], ids[train]) for _, test, train in sorted(found)),
        uar=uars[0],
        uar_other=uars[1],
        suspicious=plan.speaker_independent
        and uars[0] - uars[1] > MAX_GAIN
        and _more_often(one == truth, other == truth),
    )


def describe(frames: FloatArray) -> DoubleArray:
    """(10 B,) of a clip's (T, B) log powers: means, deviations, and means of eight stretches.

    What is 40 dB below the loudest value counts as that, so that the noise floor says nothing; the
    mean over all values is taken away, so that the level says nothing.
    """
    values = np.maximum(frames, frames.max() - _FLOOR).astype(np.float64)
    values -= values.mean()
    edges = np.linspace(0, len(values), _SEGMENTS + 1).astype(np.int64)
    pieces = [
        values[min(low, len(values) - 1) : max(high, low + 1)].mean(axis=0)
        for low, high in itertools.pairwise(edges.tolist())
    ]
    return np.concatenate([values.mean(axis=0), values.std(axis=0), *pieces])


def _distances(test: DoubleArray, train: DoubleArray) -> DoubleArray:
    """(M, R) Euclidean distances."""
    squares = (test**2).sum(axis=1)[:, None] + (train**2).sum(axis=1) - 2.0 * test @ train.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def _uar(truth: IntArray, guess: IntArray, num_classes: int) -> float:
    return float(classification_metrics(truth, np.eye(num_classes)[guess])["uar"])


def _more_often(one: BoolArray, other: BoolArray) -> bool:
    """Whether the first is right where the second is not by three standard errors more often."""
    better, worse = int((one & ~other).sum()), int((other & ~one).sum())
    return bool(better - worse > _SIGMAS * np.sqrt(better + worse))
