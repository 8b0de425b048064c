"""Equal-weight mean of all members: nothing is fitted, so nothing can be overfitted."""

from __future__ import annotations

import numpy as np

from serplatform.ensemble.base import COMBINERS, PosteriorSet
from serplatform.ensemble.linear_pool import LinearPool


@COMBINERS.register("mean")
class Mean(LinearPool):
    """Every member has the same weight."""

    name = "mean"

    def _fit(self, dev: PosteriorSet) -> None:
        self._weights = np.full(len(dev.members), 1.0 / len(dev.members))
