r"""What expected calibration error perfectly calibrated posteriors would have on the same rows.

The ECE is a sum of absolute values, so that chance alone raises it: in a bin whose answers are
right as often as its confidence says, correct minus confidence sums to something of mean 0 whose
absolute value is about 0.8 of its standard deviation. It therefore has no interval of the usual
kind; it is compared with what is found where the confidence is right on average. Each speaker's
sums, less the speaker's share of all, are given a random sign, so that answers of one speaker stay
as dependent as they are (wild cluster bootstrap: Cameron, Gelbach and Miller, Review of Economics
and Statistics 90(3), 2008; that calibration must be seen against what chance gives of it: Bröcker
and Smith, Weather and Forecasting 22, 2007).

Shapes: S speakers, B confidence bins, R draws.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.statistics.intervals import SpeakerSums


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibratedEce:
    """ECE of perfectly calibrated posteriors: its mean, and what 95 of 100 corpora stay below."""

    mean: float
    high: float


def calibrated_ece(sums: SpeakerSums, *, num_draws: int = 2000) -> CalibratedEce | None:
    r"""The ECE under calibration; None for one speaker.

    .. math:: \frac1N \sqrt{\frac{S}{S-1}} \sum_b \Big|\sum_s \epsilon_s
        \big(G_{sb} - \tfrac{n_s}{N} G_{\cdot b}\big)\Big|, \qquad \epsilon_s = \pm 1

    ``high`` is its 0.95 quantile, widened as Student's t is wider than the normal: then 2 to 7 of
    100 simulated corpora of 6 to 50 speakers lie above.

    Args:
        sums: G = ``sums.gaps``, n = ``sums.num_utterances``.
        num_draws: R, the same in every call.
    """
    from scipy.special import ndtri, stdtrit

    size, total = len(sums.num_utterances), sums.num_utterances.sum()
    if size < 2:
        return None
    share = sums.num_utterances / total
    moved = sums.gaps - share[:, None] * sums.gaps.sum(axis=0)  # (S, B)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (num_draws, size))
    drawn = np.abs(signs @ moved).sum(axis=1) * np.sqrt(size / (size - 1)) / total
    wider = stdtrit(size - 1, 0.95) / ndtri(0.95)
    return CalibratedEce(mean=float(drawn.mean()), high=float(wider * np.quantile(drawn, 0.95)))
