"""Let dev rows choose the combiner: inner cross-validation with whole speakers held out.

Shapes: M members, N utterances, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.artifacts.combiner import AutoParameters
from serplatform.ensembles.base import COMBINERS, Combiner, PosteriorSet, combiner_from_parameters
from serplatform.ensembles.dev_selection import grouped_folds, objective_value


def choices() -> list[str]:
    """Registered combiners with an ``auto_rank``, by it and by name; of equals the first wins."""
    ranks = {name: COMBINERS.get(name).auto_rank for name in COMBINERS.names()}
    return [name for _, name in sorted((r, name) for name, r in ranks.items() if r is not None)]


@COMBINERS.register("auto")
class Auto(Combiner):
    """Fit every combiner on some dev speakers, score it on the others, keep the best.

    The winner is then fitted on all dev rows. The best single member is one of the choices, so
    an ensemble is used only where it helped on speakers that it was not fitted on. Test rows
    are never seen.
    """

    parameters_kind = AutoParameters

    def __init__(self, *, objective: str = "uar", seed: int = 0) -> None:
        super().__init__(objective=objective, seed=seed)
        self._chosen: Combiner | None = None
        self._values: dict[str, list[float]] = {}
        self._held_out = "none"

    def _fit(self, dev: PosteriorSet) -> None:
        folds, self._held_out = grouped_folds(dev.speaker_ids, dev.utterance_ids)
        self._values = {}
        best_value, best = (-np.inf, -np.inf), "mean"
        for name in choices() if folds else ():
            held_out = np.zeros((dev.truth.size, len(dev.classes)))
            for fit_rows, rows in folds:
                combiner = self._make(name)
                combiner.fit(dev.take_rows(fit_rows))
                held_out[rows] = combiner.combine(dev.posteriors[:, rows])
            value = objective_value(self.objective, dev.truth, held_out)
            self._values[name] = [value[0], -value[1]]
            if value > best_value:
                best_value, best = value, name
        self._chosen = self._make(best)
        self._chosen.fit(dev)

    def _make(self, name: str) -> Combiner:
        return COMBINERS.get(name)(objective=self.objective, seed=self.seed)

    @property
    def chosen(self) -> Combiner:
        """The winner, fitted on all dev rows."""
        if self._chosen is None:
            raise RuntimeError(f"combiner '{self.name}' was not fitted")
        return self._chosen

    def combine(self, posteriors: DoubleArray) -> DoubleArray:
        """(M, N, K) to (N, K) by the chosen combiner."""
        return self.chosen.combine(posteriors)

    def weights(self) -> DoubleArray:
        """(M,) weights of the chosen combiner."""
        return self.chosen.weights()

    def fits(self, num_members: int, num_classes: int) -> bool:
        """Whether they fit the chosen combiner."""
        return self.chosen.fits(num_members, num_classes)

    def parameters(self) -> dict[str, Any]:
        """The chosen combiner's parameters, and each choice's held-out objective and NLL."""
        return {
            "combiner": self.name,
            "objective": self.objective,
            "chosen": self.chosen.parameters(),
            "held_out": self._values,
            "held_out_by": self._held_out,
        }

    def _restore(self, parameters: Mapping[str, Any]) -> None:
        self._chosen = combiner_from_parameters(parameters["chosen"])
        self._values = parameters["held_out"]
        self._held_out = parameters["held_out_by"]
