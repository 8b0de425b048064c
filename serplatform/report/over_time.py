"""How well models predict their input, and recognise an utterance before its end.

Shapes: N utterances, D elements of a frame, K classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.report.speaker_intervals import clustered_interval
from serplatform.statistics.intervals import Interval, Scale, uar_intervals

#: a row of one of the tables that `explain` writes
Row = Mapping[str, Any]
#: shares of an utterance at which its class is asked for
SHARES = tuple(n / 20 for n in range(1, 21))


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationError:
    """Prediction errors of some utterances, over windows after the first and their elements.

    Attributes:
        utterances, windows: how many.
        mean_squared_error: in squared standard deviations.
        to_previous: over that of predicting the window before; 1 is no better.
        to_mean: over that of predicting the mean of the training frames.
        nll: mean negative log-likelihood of an element, nats.
        nll_of_mean: that of a normal distribution with the training frames' mean and deviation.
    """

    utterances: int
    windows: int
    mean_squared_error: Interval
    to_previous: Interval
    to_mean: Interval
    nll: Interval
    nll_of_mean: float


def generation_error(rows: Sequence[Row]) -> GenerationError:
    """Of rows of the table ``generation``, at least one; a window counts as much as another."""
    windows = np.array([row["num_windows"] - 1 for row in rows])
    means = np.array(
        [[*(np.mean(row[n]) for n in ("error", "previous", "mean")), row["nll"], 1] for row in rows]
    )
    sums, speakers = means * windows[:, None], [row["speaker_id"] for row in rows]

    def ratio(over: int, under: int) -> Interval:
        scale: Scale = "difference" if over == 3 else "loss"  # a log-likelihood may have any sign
        return clustered_interval(sums, speakers, lambda s: _divided(s, over, under), scale)

    squares = float(sums[:, 2].sum() / windows.sum())
    return GenerationError(
        utterances=len(rows),
        windows=int(windows.sum()),
        mean_squared_error=ratio(0, 4),
        to_previous=ratio(0, 1),
        to_mean=ratio(0, 2),
        nll=ratio(3, 4),
        nll_of_mean=0.5 * (squares + math.log(2 * math.pi)),
    )


def _divided(sums: DoubleArray, over: int, under: int) -> DoubleArray:
    return np.asarray(sums[..., over] / sums[..., under], dtype=np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorAt:
    """Errors at one window of the utterances, or of one element of the windows.

    ``rmse`` is in the feature's own units, None where they are not known.
    """

    place: int
    utterances: int
    to_previous: float
    to_mean: float
    sampled: float
    rmse: float | None = None


def errors_by_window(rows: Sequence[Row]) -> list[ErrorAt]:
    """Of the second, the third, … window of the utterances that have it."""
    found = []
    for place in range(max(row["num_windows"] for row in rows) - 1):
        own = [row for row in rows if row["num_windows"] > place + 1]
        sums = {
            name: sum(row[f"{name}_over_time"][place] for row in own)
            for name in ("error", "previous", "mean", "sampled")
        }
        found.append(_error_at(place + 2, len(own), sums, sums["sampled"] / len(own)))
    return found


def errors_by_element(rows: Sequence[Row]) -> list[ErrorAt]:
    """Of each element of a window, from 1."""
    windows = np.array([row["num_windows"] - 1 for row in rows], dtype=np.float64)
    means = {
        name: np.average([row[name] for row in rows], axis=0, weights=windows)
        for name in ("error", "previous", "mean", "sampled")
    }
    own: list[float] | None = None
    if all(row["unit"] is not None for row in rows):
        squares = [np.square(row["unit"]) * row["error"] for row in rows]
        own = np.sqrt(np.average(squares, axis=0, weights=windows)).tolist()
    found = []
    for place in range(len(means["error"])):
        at = {name: float(values[place]) for name, values in means.items()}
        rmse = None if own is None else own[place]
        found.append(_error_at(place + 1, len(rows), at, at["sampled"], rmse))
    return found


def _error_at(
    place: int,
    utterances: int,
    sums: Mapping[str, float],
    sampled: float,
    rmse: float | None = None,
) -> ErrorAt:
    return ErrorAt(
        place=place,
        utterances=utterances,
        to_previous=sums["error"] / max(sums["previous"], 1e-12),
        to_mean=sums["error"] / max(sums["mean"], 1e-12),
        sampled=sampled,
        rmse=rmse,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
    """What is right when a share of each utterance is heard; no class yet counts as wrong.

    ``answered`` is the share of utterances that have a class by then.
    """

    share: float
    answered: float
    accuracy: float
    uar: Interval


def heard_curve(rows: Sequence[Row], classes: Sequence[str]) -> list[Heard]:
    """Of rows of the table ``framewise``, at each of :data:`SHARES`."""
    truth = np.array([classes.index(row["truth"]) for row in rows])
    answers = np.full((len(SHARES), len(rows)), -1)
    for n, row in enumerate(rows):
        done = np.searchsorted(row["ends"], np.array(SHARES) + 1e-6, side="right")
        answers[:, n] = np.where(done > 0, np.array(row["classes"])[np.maximum(done, 1) - 1], -1)
    uars = uar_intervals(
        truth, answers, [row["speaker_id"] for row in rows], num_classes=len(classes)
    )
    return [
        Heard(
            share=share,
            answered=float((answer >= 0).mean()),
            accuracy=float((answer == truth).mean()),
            uar=uar,
        )
        for share, answer, uar in zip(SHARES, answers, uars, strict=True)
    ]
