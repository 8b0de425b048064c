r"""Do groups differ in their means? Labels permuted within strata, many quantities at once.

Every quantity has its mean in each stratum (a speaker) taken off, and its statistic is the F of a
one-way analysis of variance between the groups (emotions). Under the null hypothesis the groups of
one stratum's observations are exchangeable, whatever the strata are like, so the groups are
permuted within strata, for all quantities alike: that keeps how they hang together. The p-value of
one quantity compares it with its own draws; the corrected one with the largest F of all quantities
in each draw, which holds the chance of a single false finding among them (Westfall and Young,
"Resampling-Based Multiple Testing", 1993, the single-step max-T). Phipson and Smyth, SAGMB 9(1),
2010, Eq. (2) for the + 1.

Shapes: N observations, Q quantities, K groups, R draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from serplatform.arrays import DoubleArray, IntArray

#: statistics closer than this, in parts of their size, are equal
_EQUAL = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True)
class StratifiedTest:
    """Outcome of :func:`stratified_permutation_test`: (Q,) each; NaN where nothing can differ.

    Attributes:
        p_value: of the quantity alone.
        corrected: of the quantity among all.
    """

    p_value: DoubleArray
    corrected: DoubleArray


def stratified_permutation_test(
    values: DoubleArray,
    groups: Sequence[Hashable],
    strata: Sequence[Hashable],
    *,
    num_draws: int = 2000,
    seed: int = 0,
) -> StratifiedTest:
    """Test whether group means differ within strata, for each column of ``values``.

    Args:
        values: (N, Q), NaN where an observation lacks a quantity.
        groups: N labels.
        strata: N labels; groups are permuted within each.
        num_draws: R.
        seed: of the draws.

    Example:
        >>> groups, strata = ["a", "b"] * 20, [n // 4 for n in range(40)]
        >>> values = np.array([[g == "b", n % 3] for n, g in enumerate(groups)], dtype=float)
        >>> found = stratified_permutation_test(values, groups, strata)
        >>> bool(found.p_value[0] < 0.001 < 0.5 < found.p_value[1])
        True
    """
    codes, stratum = _codes(groups), _codes(strata)
    there = np.isfinite(values)
    counts = np.zeros((stratum.max() + 1, values.shape[1]))
    sums = np.zeros_like(counts)
    np.add.at(counts, stratum, there)
    np.add.at(sums, stratum, np.where(there, values, 0.0))
    centred = np.where(there, values - (sums / np.maximum(counts, 1))[stratum], 0.0)
    both = np.concatenate([centred, there], axis=1)  # (N, 2 Q)
    whole = (centred**2).sum(axis=0)
    unit = np.eye(codes.max() + 1)

    def statistic(own: IntArray) -> DoubleArray:
        found, size = np.split(unit[own].T @ both, 2, axis=1)  # (K, Q) each
        between = (found**2 / np.maximum(size, 1)).sum(axis=0)  # the mean of all is 0
        used = (size > 0).sum(axis=0)
        freedom = size.sum(axis=0) - used
        possible = (used > 1) & (freedom > 0) & (whole > 1e-12)
        within = np.maximum(whole - between, 1e-12 * whole) / np.maximum(freedom, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = between / np.maximum(used - 1, 1) / within
        return np.where(possible, ratio, np.nan)

    observed = statistic(codes)
    order = np.argsort(stratum, kind="stable")
    rng = np.random.default_rng(seed)
    above, above_all = np.zeros(len(observed)), np.zeros(len(observed))
    least = observed * (1 - _EQUAL)
    drawn = np.empty_like(codes)
    for _ in range(num_draws):
        drawn[order] = codes[np.lexsort((rng.random(len(codes)), stratum))]
        found = np.nan_to_num(statistic(drawn), nan=0.0)
        above += found >= least
        above_all += found[np.isfinite(observed)].max(initial=0.0) >= least
    unknown = np.isnan(observed)
    return StratifiedTest(
        p_value=np.where(unknown, np.nan, (above + 1) / (num_draws + 1)),
        corrected=np.where(unknown, np.nan, (above_all + 1) / (num_draws + 1)),
    )


def _codes(labels: Sequence[Hashable]) -> IntArray:
    places = {name: place for place, name in enumerate(dict.fromkeys(labels))}
    return np.array([places[name] for name in labels], dtype=np.int64)
