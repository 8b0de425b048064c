r"""Does a curve over time lie on the marked steps more than their share? A circular-shift test.

A curve of weights (attention over the frames of an utterance) and a marking of some of its steps
(vowels) are both smooth in time, so steps are not independent and cannot be permuted one by
one. Under the null hypothesis the curve has its shape but no regard for where the marks lie:
turning it round within the utterance leaves its distribution as it is. The random toroidal
shifts of Lotwick and Silverman, "Methods for Analysing Spatial Processes of Several Types of
Points", Journal of the Royal Statistical Society B 44(3), 1982, on a line; Phipson and Smyth,
SAGMB 9(1), 2010, Eq. (2) for the + 1.

The statistic is the mean over utterances of the excess

.. math:: x_u = \sum_{t \in \mathrm{marked}} w_{u,t} / \sum_t w_{u,t} - n_{u,marked} / n_u ,

whose mean over all shifts of an utterance is exactly 0. Utterances of one group (the same
sentence) are turned by the same part of their length in each draw: their marks agree, and so may
their curves for reasons that have nothing to do with the marks (a model that listens to the
middle), so that they are no independent evidence.

Shapes: U utterances, n_u steps of one, G groups, R draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from serplatform.arrays import BoolArray, DoubleArray

#: differences closer than this are equal: the same weights summed in another order
_EQUAL = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShiftTest:
    """Outcome of :func:`circular_shift_test`.

    Attributes:
        excess: mean over utterances of the weight on marked steps beyond their share.
        p_value: two-sided.
        num_draws: R.
        num_utterances: U.
        num_groups: G, turned independently of each other.
    """

    excess: float
    p_value: float
    num_draws: int
    num_utterances: int
    num_groups: int


def excess_by_shift(weights: DoubleArray, marked: BoolArray) -> DoubleArray:
    """The excess x of one utterance for every shift of its weights, none first.

    Args:
        weights: (n,), non-negative, not all 0.
        marked: (n,).

    Returns:
        (n,): entry s is the excess when step t has the weight of step (t + s) mod n.

    Example:
        >>> excess_by_shift(np.array([3.0, 1.0]), np.array([True, False])).tolist()
        [0.25, -0.25]
    """
    share = weights / weights.sum()
    spectrum = np.fft.rfft(share) * np.conj(np.fft.rfft(marked.astype(np.float64)))
    turned = np.fft.irfft(spectrum, n=len(share))  # Σ_t marked_t · share_{t+s}
    return np.asarray(turned - marked.mean(), dtype=np.float64)


def circular_shift_test(
    weights: Sequence[DoubleArray],
    marked: Sequence[BoolArray],
    groups: Sequence[Hashable],
    *,
    num_draws: int = 2000,
    seed: int = 0,
) -> ShiftTest:
    """Test whether curves lie on marked steps more, or less, than a turned curve would.

    Args:
        weights: U arrays (n_u,), non-negative, not all 0.
        marked: U arrays (n_u,), neither all nor none.
        groups: U labels; utterances of one group are turned by the same part of their length.
        num_draws: R.
        seed: of the draws.

    Raises:
        ValueError: there is no utterance, or sizes differ.

    Example:
        >>> curve, marks = np.array([5.0, 1, 1, 1]), np.array([True, False, False, False])
        >>> found = circular_shift_test([curve] * 20, [marks] * 20, list(range(20)))
        >>> found.excess, found.p_value < 0.001
        (0.375, True)
    """
    if not len(weights) == len(marked) == len(groups) or not weights:
        raise ValueError(f"{len(weights)} curves, {len(marked)} markings, {len(groups)} groups")
    if any(w.shape != m.shape for w, m in zip(weights, marked, strict=True)):
        raise ValueError("a curve and its marking differ in length")
    tables = [excess_by_shift(w, m) for w, m in zip(weights, marked, strict=True)]
    observed = float(np.mean([table[0] for table in tables]))
    lengths = np.array([len(table) for table in tables])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    values = np.concatenate(tables)
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    group = np.array([names[name] for name in groups])
    rng = np.random.default_rng(seed)
    drawn = np.empty(num_draws)
    for first in range(0, num_draws, 100):
        turns = rng.random((min(100, num_draws - first), len(names)))  # parts of the length
        shifts = np.floor(turns[:, group] * lengths).astype(np.int64)  # (r, U)
        drawn[first : first + len(turns)] = values[starts + shifts].mean(axis=1)
    extreme = int((np.abs(drawn) >= abs(observed) - _EQUAL).sum())
    return ShiftTest(
        excess=observed,
        p_value=(extreme + 1) / (num_draws + 1),
        num_draws=num_draws,
        num_utterances=len(tables),
        num_groups=len(names),
    )
