"""Weighted product of posteriors: the log-linear pool, which generalises SYSComb.

Shapes: M members, N utterances, K classes.
"""

from __future__ import annotations

import numpy as np

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.combiner import ProductParameters
from serplatform.ensembles.base import COMBINERS, Combiner, PosteriorSet
from serplatform.ensembles.dev_selection import (
    TOLERANCE,
    objective_value,
    objective_values,
    row_weights,
)
from serplatform.metrics import POSTERIOR_FLOOR

#: exponent of the weaker system in SYSComb
SYSCOMB_EXPONENT = 0.4

#: exponents tried for the weaker of two systems, after 0.4
EXPONENTS = tuple(round(0.05 * i, 2) for i in range(41))

#: how far a weight may stray from 1/M: one standard deviation of its Gaussian prior, in units of
#: 1/M, so that many members do not fit the dev rows better for their number alone
PRIOR_STD = 3.0

#: members with an exponent above 0, unless another number is given
MAX_MEMBERS = 25


def log_linear_pool(posteriors: DoubleArray, weights: DoubleArray) -> DoubleArray:
    r"""Merge members by a weighted product of their posteriors.

    Genest and Zidek, "Combining Probability Distributions", Statistical Science 1(1), 1986:

    .. math:: p(k) \propto \prod_m p_m(k)^{w_m}

    The weights need not sum to 1: their sum sets how sharp the answer is. Posteriors are
    floored at 1e-12, so that one member's zero is a strong vote and not a veto.

    Args:
        posteriors: (M, N, K), rows sum to 1.
        weights: (M,), non-negative.

    Returns:
        (N, K), rows sum to 1.

    Example:
        >>> members = np.array([[[0.5, 0.5]], [[0.8, 0.2]]])
        >>> log_linear_pool(members, np.array([1.0, 0.4])).round(3)
        array([[0.635, 0.365]])
    """
    used = np.flatnonzero(weights)
    log_posteriors = np.log(np.maximum(posteriors[used], POSTERIOR_FLOOR))
    return _normalized(np.tensordot(weights[used], log_posteriors, axes=1))


def _normalized(logits: DoubleArray) -> DoubleArray:
    pooled = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(pooled / pooled.sum(axis=-1, keepdims=True), dtype=np.float64)


@COMBINERS.register("product")
class Product(Combiner):
    r"""One non-negative exponent a member: :math:`\log p \propto \sum_m w_m \log p_m`.

    Two members are SYSComb (Jalal, Milner and Hain, "Empirical Interpretation of Speech Emotion
    Perception with Attention Based Model for Speech Emotion Recognition", Interspeech 2020,
    system combination): the better on dev rows has exponent 1 and the other's exponent is
    searched on dev rows. The paper's 0.4 is tried first and kept unless another is strictly
    better. (The paper scales the posteriors by 0.4 and multiplies; a constant factor cannot
    change the largest class, so 0.4 is an exponent.)

    More members: the exponents with the lowest class-weighted negative log-likelihood on dev rows
    (plain for objectives other than UAR), under a Gaussian prior of mean 1/M and std
    3/M, found by L-BFGS-B; a choice by the dev metric itself follows its noise. Of more
    than ``max_members`` members the heaviest of a first fit are fitted again, since every member
    is paid for in each prediction.

    Args:
        objective: dev metric that searches the exponent of two, and weights the rows of more.
        seed: unused; nothing is random.
        max_members: members with an exponent above 0 at most.
    """

    auto_rank = 2
    parameters_kind = ProductParameters
    kept = ("objective", "choice", "max_members")

    def __init__(
        self, *, objective: str = "uar", seed: int = 0, max_members: int = MAX_MEMBERS
    ) -> None:
        super().__init__(objective=objective, seed=seed)
        self.max_members = max_members
        self.choice = ""

    def _fit(self, dev: PosteriorSet) -> None:
        order = dev.member_order()
        posteriors = dev.posteriors[order]
        values = objective_values(self.objective, dev.truth, posteriors)
        ranked = sorted(range(len(order)), key=lambda m: (-values[m][0], -values[m][1], m))
        if len(order) == 1:
            weights, self.choice = np.ones(1), "one member"
        elif len(order) == 2:
            weights = self._two(posteriors, dev, ranked)
        else:
            weights = self._many(posteriors, dev)
            if len(order) > self.max_members:
                weights = self._heaviest(weights, posteriors, dev)
        self._weights = np.empty(len(order))
        self._weights[order] = weights

    def _two(self, posteriors: DoubleArray, dev: PosteriorSet, ranked: list[int]) -> DoubleArray:
        best_value, best = (-np.inf, -np.inf), np.zeros(2)
        for exponent in (SYSCOMB_EXPONENT, *EXPONENTS):
            weights = np.zeros(2)
            weights[ranked[0]], weights[ranked[1]] = 1.0, exponent
            pooled = log_linear_pool(posteriors, weights)
            value = objective_value(self.objective, dev.truth, pooled)
            # 0.4 comes first and yields only to a better objective; later ones also to NLL
            better = value[0] > best_value[0] + TOLERANCE
            tied = abs(value[0] - best_value[0]) <= TOLERANCE and value[1] > best_value[1]
            kept = best[ranked[1]] == SYSCOMB_EXPONENT
            if better or (tied and not kept):
                best_value, best = value, weights
        self.choice = "SYSComb, exponent searched on dev rows"
        return best

    def _many(self, posteriors: DoubleArray, dev: PosteriorSet) -> DoubleArray:
        num_members = len(posteriors)
        self.choice = "lowest penalised NLL"
        return minimise_nll(
            np.log(np.maximum(posteriors, POSTERIOR_FLOOR)),
            dev.truth,
            row_weights(self.objective, dev.truth, posteriors.shape[2]),
            np.full(num_members, 1.0 / num_members),
        )

    def _heaviest(
        self, weights: DoubleArray, posteriors: DoubleArray, dev: PosteriorSet
    ) -> DoubleArray:
        """Exponents of the heaviest members alone, fitted again; the others' are 0."""
        kept = np.sort(np.argsort(-weights, kind="stable")[: self.max_members])
        result = np.zeros_like(weights)
        result[kept] = self._many(posteriors[kept], dev)
        return result

    def combine(self, posteriors: DoubleArray) -> DoubleArray:
        """(M, N, K) to (N, K): :func:`log_linear_pool`."""
        return log_linear_pool(posteriors, self.weights())


def minimise_nll(
    log_posteriors: DoubleArray,
    truth: IntArray,
    share: DoubleArray,
    start: DoubleArray,
) -> DoubleArray:
    r"""Exponents of the log-linear pool with the lowest penalised negative log-likelihood.

    .. math:: \sum_n s_n \Bigl(\log \sum_k e^{z_{nk}} - z_{n t_n}\Bigr)
              + \frac{M^2}{2 N \sigma^2} \sum_m \bigl(w_m - \tfrac1M\bigr)^2,
              \qquad z_{nk} = \sum_m w_m \log p_m(k)

    Convex, so the start decides only where the last digits end. ``share`` is s, (N,), and sums
    to 1; σ is :data:`PRIOR_STD`; the exponents, (M,), are not negative.
    """
    from scipy.optimize import minimize

    num_members, num_rows, num_classes = log_posteriors.shape
    flat = log_posteriors.reshape(num_members, -1)
    rows = np.arange(num_rows)
    penalty = num_members**2 / (num_rows * PRIOR_STD**2)

    def loss(weights: DoubleArray) -> tuple[float, DoubleArray]:
        logits = (weights @ flat).reshape(num_rows, num_classes)
        top = logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits - top)
        total = exponentials.sum(axis=1, keepdims=True)
        nll = (np.log(total) + top)[:, 0] - logits[rows, truth]
        residual = exponentials / total
        residual[rows, truth] -= 1.0
        residual *= share[:, None]
        away = weights - 1.0 / num_members
        value = float(share @ nll) + 0.5 * penalty * float(away @ away)
        return value, flat @ residual.reshape(-1) + penalty * away

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * num_members)
    return np.asarray(np.maximum(found.x, 0.0), dtype=np.float64)
