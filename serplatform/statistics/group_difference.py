r"""The difference of a share between two groups of speakers, such as women and men.

The groups have no speaker in common, so their jackknife variances add; the degrees of freedom are
those of Welch, "The Generalization of 'Student's' Problem when Several Different Population
Variances are Involved", Biometrika 34(1-2), 1947.

Shapes: S speakers of a group.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serplatform.statistics.intervals import LEVEL, Interval


def group_difference(one: npt.ArrayLike, other: npt.ArrayLike) -> Interval:
    r"""A share of one group minus that of the other, with its interval.

    .. math::

        s^2 = s_1^2 + s_2^2, \qquad
        d = s^4 / \left( \frac{s_1^4}{S_1 - 1} + \frac{s_2^4}{S_2 - 1} \right)

    Args:
        one: (1 + S,): on all speakers of the group, and without each; see
            ``intervals.leave_one_out``.
        other: of the other group.

    Returns:
        ends and p-value None where a group has fewer than two speakers, or no speaker of either
        differs from the others.

    Example:
        >>> group_difference([0.5, 0.4, 0.6], [0.5, 0.5, 0.5]).p_value
        1.0
    """
    from scipy.special import stdtr, stdtrit  # scipy.stats takes long to import

    values, variances, freedoms = [], [], []
    for found in (one, other):
        value, *dropped = np.asarray(found, dtype=np.float64).tolist()
        values.append(value)
        variances.append((len(dropped) - 1) * float(np.var(dropped)) if dropped else np.nan)
        freedoms.append(len(dropped) - 1)
    value, variance = values[0] - values[1], sum(variances)
    if min(freedoms) < 1 or not np.isfinite(variance) or variance <= 0.0:
        return Interval(value=value, low=None, high=None)
    parts = sum(v**2 / d for v, d in zip(variances, freedoms, strict=True))
    freedom, error = variance**2 / parts, float(np.sqrt(variance))
    away = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return Interval(
        value=value,
        low=max(-1.0, value - away),
        high=min(1.0, value + away),
        p_value=float(2 * stdtr(freedom, -abs(value) / error)),
    )
