"""Equal-weight mean of all members: nothing is fitted, so nothing can be overfitted."""

from __future__ import annotations

from serplatform.ensembles.base import COMBINERS, Combiner


@COMBINERS.register("mean")
class Mean(Combiner):
    """Every member has the same weight."""

    auto_rank = 1
