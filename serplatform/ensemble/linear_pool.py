"""The weighted arithmetic mean of members' posteriors, which several combiners end in.

Shapes: M members, N utterances, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.artifacts.combiner import PoolParameters
from serplatform.ensemble.base import Combiner, fitted


class LinearPool(Combiner):
    r"""A combiner whose answer is :math:`p(k) = \sum_m w_m p_m(k)`, weights summing to 1.

    Stone, "The Opinion Pool", Annals of Mathematical Statistics 32(4), 1961. Children choose
    the weights in ``_fit``.
    """

    parameters_kind: ClassVar[type[PoolParameters]] = PoolParameters
    _weights: DoubleArray | None = None

    def combine(self, posteriors: DoubleArray) -> DoubleArray:
        """(M, N, K) to (N, K): the weighted mean."""
        weights = self.weights()
        used = np.flatnonzero(weights)
        pooled = np.tensordot(weights[used], posteriors[used], axes=1)  # (N, K)
        return np.asarray(pooled / pooled.sum(axis=1, keepdims=True), dtype=np.float64)

    def weights(self) -> DoubleArray:
        """(M,), sum 1."""
        return fitted(self._weights, self.name)

    def parameters(self) -> dict[str, Any]:
        """The weights."""
        return {"combiner": self.name, "weights": self.weights().tolist()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Combiner:
        """Rebuild from :meth:`parameters`."""
        combiner = cls()
        combiner._weights = np.asarray(parameters["weights"], dtype=np.float64)
        return combiner
