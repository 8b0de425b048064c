"""SYSComb: the best trial of each of some architectures, multiplied.

Shapes: M members, N utterances, K classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.ensembles.base import COMBINERS, Combiner, PosteriorSet
from serplatform.ensembles.dev_selection import objective_values
from serplatform.ensembles.product import SYSCOMB_EXPONENT, log_linear_pool
from serplatform.errors import BadInputError, unknown_name
from serplatform.registry import names_in


@COMBINERS.register("syscomb")
class SysComb(Combiner):
    r"""Multiply the best trials of two architectures: :math:`p \propto p_B \, p_C^{0.4}`.

    Jalal, Milner and Hain, "Empirical Interpretation of Speech Emotion Perception with Attention
    Based Model for Speech Emotion Recognition", Interspeech 2020, system combination: the best
    BLSTMATT with the best CSA. (The paper scales CSA's posteriors by 0.4 and multiplies; a
    constant factor cannot change the largest class, so 0.4 is an exponent.) The trial of each
    architecture is the best on the dev rows of the fold; NLL, then name, break ties. That is all
    that is fitted: ``product`` searches the exponent.

    Args:
        objective: dev metric that chooses the trial of each architecture.
        seed: unused; nothing is random.
        architectures: the first has exponent 1; written ``syscomb:FIRST,SECOND``; empty: BLSTMATT
            and CSA.
        exponent: of the second, and of any further.
    """

    def __init__(
        self,
        *,
        objective: str = "uar",
        seed: int = 0,
        architectures: Sequence[str] = (),
        exponent: float = SYSCOMB_EXPONENT,
    ) -> None:
        super().__init__(objective=objective, seed=seed)
        self.architectures = tuple(architectures) or ("blstmatt", "csa")
        self._named = bool(architectures)
        self.exponent = exponent

    @classmethod
    def with_argument(cls, argument: str) -> Callable[..., Combiner]:
        """``FIRST,SECOND``: names of architectures."""
        names = [name.strip() for name in argument.split(",")]
        if len(set(names)) < max(2, len(names)) or "" in names:
            raise BadInputError(
                f"combiner '{cls.name}:{argument}': name two or more different architectures, "
                f"such as {cls.name}:blstmatt,csa"
            )
        return functools.partial(cls, architectures=names)

    def _fit(self, dev: PosteriorSet) -> None:
        values = objective_values(self.objective, dev.truth, dev.posteriors)
        self._weights = np.zeros(len(dev.members))
        for place, name in enumerate(self.architectures):
            own = [
                m for m in dev.member_order().tolist() if dev.architectures[m : m + 1] == (name,)
            ]
            if not own:
                known = names_in("serplatform.models.architectures", "ARCHITECTURES")
                if name not in known:
                    problem = unknown_name("architecture", name, {*known, *dev.architectures})
                    raise BadInputError(f"combiner '{self.name}': {problem}")
                held = ", ".join(sorted(set(dev.architectures))) or "none that is known"
                other = "" if self._named else f", or name others: {self.name}:FIRST,SECOND"
                raise BadInputError(
                    f"combiner '{self.name}' needs a finished trial of '{name}' in every fold, and "
                    f"the runs hold {held}; give a run of '{name}' too{other}"
                )
            best = max(own, key=lambda m: values[m])
            self._weights[best] = self.exponent if place else 1.0

    def combine(self, posteriors: DoubleArray) -> DoubleArray:
        """(M, N, K) to (N, K): :func:`~serplatform.ensembles.product.log_linear_pool`."""
        return log_linear_pool(posteriors, self.weights())
