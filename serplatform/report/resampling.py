"""How intervals are drawn, and the recalls' own.

Shapes: N test rows, K classes, S speakers, R resamples.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from serplatform.report.load import Posteriors
from serplatform.statistics.bootstrap import Interval, draw_speakers, speaker_sums

#: Resamples behind every interval, and their seed, where an ensemble does not say otherwise:
#: the page's numbers can be made again.
RESAMPLES = 2000
SEED = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals and tests are drawn."""

    resamples: int = RESAMPLES
    seed: int = SEED


def recall_intervals(test: Posteriors, drawing: Resampling) -> tuple[Interval, ...]:
    """Recall of each class with its percentile interval over resampled speakers.

    A resample that lacks a class says nothing of its recall and is left out for that class.

    Args:
        test: N rows, at least one.
        drawing: number and seed of the resamples.

    Returns:
        K intervals; the value is NaN for a class that does not occur, the bounds None where
        fewer than two speakers have the class.
    """
    counts = speaker_sums(test.truth, test.values, test.speaker_ids).counts  # (S, K, K)
    hits = np.diagonal(counts, axis1=1, axis2=2).astype(np.float64)  # (S, K)
    totals = counts.sum(axis=2).astype(np.float64)  # (S, K)
    times = draw_speakers(len(counts), drawing.resamples, drawing.seed)
    drawn_totals = times @ totals  # (R, K)
    drawn_hits = times @ hits
    found = []
    for k in range(totals.shape[1]):
        whole = totals[:, k].sum()
        value = float(hits[:, k].sum() / whole) if whole else math.nan
        if (totals[:, k] > 0).sum() < 2:
            found.append(Interval(value=value, low=None, high=None))
            continue
        there = drawn_totals[:, k] > 0
        recalls = drawn_hits[there, k] / drawn_totals[there, k]
        low, high = np.quantile(recalls, [0.025, 0.975])
        found.append(Interval(value=value, low=float(low), high=float(high)))
    return tuple(found)
