"""The best single member on dev rows: the baseline that an ensemble has to beat."""

from __future__ import annotations

import numpy as np

from serplatform.ensembles.base import COMBINERS, Combiner, PosteriorSet
from serplatform.ensembles.dev_selection import objective_values


@COMBINERS.register("single")
class Single(Combiner):
    """All weight on the member with the best dev objective; NLL, then name, break ties."""

    auto_rank = 0

    def _fit(self, dev: PosteriorSet) -> None:
        values = objective_values(self.objective, dev.truth, dev.posteriors)
        best = max(dev.member_order().tolist(), key=lambda m: values[m])
        self._weights = np.zeros(len(dev.members))
        self._weights[best] = 1.0
