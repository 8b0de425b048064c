"""Bootstrap intervals that resample whole speakers.

Utterances of one speaker are not independent, so an interval from resampled utterances is too
narrow. Here speakers are drawn with replacement and every utterance of a drawn speaker counts
as often as its speaker was drawn: Davison and Hinkley, "Bootstrap Methods and their
Application", 1997, section 3.8 (cluster resampling); percentile intervals, section 5.3.

Every metric is a function of sums over utterances, so a resample costs one product with the
speakers' sums, not a pass over the utterances.

Shapes: N utterances, K classes, S speakers, R resamples, B confidence bins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.ensemble import IntervalRecord
from serplatform.metrics import (
    ECE_BINS,
    METRICS,
    brier_scores,
    confidence_bins,
    count_metrics,
    negative_log_likelihoods,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A value and where resampling puts it.

    Attributes:
        value: on all utterances.
        low: lower end; None when there is one speaker only.
        high: upper end; None when there is one speaker only.
    """

    value: float
    low: float | None
    high: float | None

    def ends(self) -> tuple[float, float | None, float | None]:
        """The value, the lower and the higher end."""
        return self.value, self.low, self.high

    def in_percent(self) -> str:
        """As people read it.

        Example:
            >>> Interval(value=0.524, low=0.4512, high=0.6081).in_percent()
            '52.4 % (45.1–60.8)'
            >>> Interval(value=0.524, low=None, high=None).in_percent()
            '52.4 %'
        """
        bounds = ""
        if self.low is not None and self.high is not None:
            bounds = f" ({100 * self.low:.1f}–{100 * self.high:.1f})"
        return f"{100 * self.value:.1f} %{bounds}"

    def as_dict(self) -> IntervalRecord:
        """For JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclasses.dataclass(frozen=True)
class SpeakerSums:
    """What every metric needs, summed over each speaker's utterances.

    Attributes:
        counts: (S, K, K) confusion counts.
        losses: (S, 2) sums of negative log-likelihoods and Brier scores.
        gaps: (S, B) sums of correct − confidence in each confidence bin.
        num_utterances: (S,).
    """

    counts: IntArray
    losses: DoubleArray
    gaps: DoubleArray
    num_utterances: IntArray

    def metrics(self, times: npt.ArrayLike) -> dict[str, DoubleArray]:
        """Every metric when speaker s counts ``times[..., s]`` times, whole numbers, not all 0.

        Returns:
            each name of ``metrics.METRICS`` to an array of shape (...).
        """
        weights = np.asarray(times, dtype=np.float64)
        num_speakers, num_classes, _ = self.counts.shape
        flat = weights @ self.counts.reshape(num_speakers, -1)  # (..., K*K)
        values = count_metrics(flat.reshape(*weights.shape[:-1], num_classes, num_classes))
        total = weights @ self.num_utterances
        means = (weights @ self.losses) / total[..., None]
        values["nll"], values["brier"] = means[..., 0], means[..., 1]
        values["ece"] = np.abs(weights @ self.gaps).sum(axis=-1) / total
        return {name: values[name] for name in METRICS}


def speaker_index(speaker_ids: Sequence[str]) -> tuple[tuple[str, ...], IntArray]:
    """Distinct speakers, sorted, and (N,) the position of each utterance's speaker."""
    names, index = np.unique(np.asarray(speaker_ids, dtype=str), return_inverse=True)
    return tuple(str(name) for name in names), index.astype(np.int64)


def speaker_sums(
    truth: npt.ArrayLike, posteriors: npt.ArrayLike, speaker_ids: Sequence[str]
) -> SpeakerSums:
    """Sum everything over each speaker's utterances, speakers in sorted order.

    ``truth`` is (N,) class indices and ``posteriors`` (N, K), rows sum to 1.

    Raises:
        ValueError: the shapes do not fit or there is no utterance.
    """
    true = np.asarray(truth, dtype=np.int64)
    table = np.asarray(posteriors, dtype=np.float64)
    if len(speaker_ids) != true.size:
        raise ValueError(f"{len(speaker_ids)} speaker ids for {true.size} utterances")
    losses = np.stack([negative_log_likelihoods(true, table), brier_scores(true, table)], axis=1)
    speakers, index = speaker_index(speaker_ids)
    num_speakers, num_classes = len(speakers), table.shape[1]

    prediction = table.argmax(axis=1)
    counts = np.zeros((num_speakers, num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (index, true, prediction), 1)
    summed_losses = np.zeros((num_speakers, 2))
    np.add.at(summed_losses, index, losses)
    confidence = table.max(axis=1)
    gaps = np.zeros((num_speakers, ECE_BINS))
    np.add.at(gaps, (index, confidence_bins(confidence)), (prediction == true) - confidence)
    return SpeakerSums(
        counts=counts,
        losses=summed_losses,
        gaps=gaps,
        num_utterances=np.bincount(index, minlength=num_speakers).astype(np.int64),
    )


def draw_speakers(num_speakers: int, num_resamples: int, seed: int) -> IntArray:
    """(R, S) how often each resample draws each speaker; rows sum to S."""
    rng = np.random.default_rng(seed)
    share = np.full(num_speakers, 1.0 / num_speakers)
    return rng.multinomial(num_speakers, share, size=num_resamples).astype(np.int64)


def bootstrap_intervals(
    truth: npt.ArrayLike,
    posteriors: npt.ArrayLike,
    speaker_ids: Sequence[str],
    *,
    num_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Every metric with its percentile interval over resampled speakers.

    Args:
        truth: (N,) class indices.
        posteriors: (N, K), rows sum to 1.
        speaker_ids: N.
        num_resamples: R.
        level: coverage aimed at, in (0, 1).
        seed: of the draws; the same seed and speakers give the same draws.

    Raises:
        ValueError: a size does not fit or ``level`` is outside (0, 1).

    Example:
        >>> rows = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]
        >>> found = bootstrap_intervals([0, 1, 1, 1], rows, ["a", "a", "b", "b"])["accuracy"]
        >>> found.value, found.low, found.high
        (0.75, 0.5, 1.0)
    """
    sums = speaker_sums(truth, posteriors, speaker_ids)
    times = draw_speakers(len(sums.num_utterances), num_resamples, seed)
    whole = sums.metrics(np.ones(len(sums.num_utterances)))
    return _intervals(whole, sums.metrics(times), len(sums.num_utterances), level)


def uar_intervals(
    truth: npt.ArrayLike,
    predictions: npt.ArrayLike,
    speaker_ids: Sequence[str],
    *,
    num_classes: int,
    num_resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """The UAR of many systems on the same utterances, as :func:`bootstrap_intervals` gives it.

    Args:
        truth: (N,) class indices.
        predictions: (M, N) class indices of M systems.
        speaker_ids: N.
        num_classes: K.
        num_resamples: R.
        seed: of the draws, which all systems share.

    Returns:
        M intervals at 95 %.
    """
    true = np.asarray(truth, dtype=np.int64)
    answers = np.asarray(predictions, dtype=np.int64)
    speakers, index = speaker_index(speaker_ids)
    cell = index * num_classes + true  # (N,)
    shape, size = (len(speakers), num_classes), len(speakers) * num_classes
    spoken = np.bincount(cell, minlength=size).reshape(shape)  # (S, K)
    times = np.concatenate(
        [np.ones((1, len(speakers))), draw_speakers(len(speakers), num_resamples, seed)]
    )
    drawn = times @ spoken  # (1 + R, K)
    weights = (drawn > 0) / np.maximum(drawn, 1) / (drawn > 0).sum(axis=1, keepdims=True)
    found = []
    for answer in answers:
        hits = np.bincount(cell[answer == true], minlength=size).reshape(shape)
        uar = ((times @ hits) * weights).sum(axis=1)
        found.append(_intervals({"uar": uar[0]}, {"uar": uar[1:]}, len(speakers), 0.95)["uar"])
    return found


def bootstrap_difference(
    truth: npt.ArrayLike,
    posteriors: npt.ArrayLike,
    reference: npt.ArrayLike,
    speaker_ids: Sequence[str],
    *,
    num_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Metric of ``posteriors`` minus metric of ``reference`` on the same resampled speakers.

    Args:
        truth: (N,) class indices.
        posteriors: (N, K), rows sum to 1.
        reference: (N, K), rows sum to 1, same utterances.
        speaker_ids: N.
        num_resamples: R.
        level: coverage aimed at, in (0, 1).
        seed: of the draws.
    """
    ours = speaker_sums(truth, posteriors, speaker_ids)
    theirs = speaker_sums(truth, reference, speaker_ids)
    num_speakers = len(ours.num_utterances)
    times = draw_speakers(num_speakers, num_resamples, seed)

    def difference(weights: Any) -> dict[str, DoubleArray]:
        a, b = ours.metrics(weights), theirs.metrics(weights)
        return {name: a[name] - b[name] for name in a}

    return _intervals(difference(np.ones(num_speakers)), difference(times), num_speakers, level)


def _intervals(
    whole: dict[str, DoubleArray], drawn: dict[str, DoubleArray], num_speakers: int, level: float
) -> dict[str, Interval]:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level = {level}: must be between 0 and 1")
    found = {}
    for name, value in whole.items():
        if num_speakers < 2:  # one speaker: every resample is the sample
            found[name] = Interval(value=float(value), low=None, high=None)
            continue
        low, high = np.quantile(drawn[name], [(1 - level) / 2, (1 + level) / 2])
        found[name] = Interval(value=float(value), low=float(low), high=float(high))
    return found
