"""A TPE sampler that draws every third trial at random, whatever it has learned.

With pruning, TPE learns mostly from trials that were stopped early and can settle on a region
that only begins well; the share of random trials keeps that from lasting. Falkner, Klein and
Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale", ICML 2018, section
3.2, do the same with a third, which also bounds how much worse than random a search can be.
In ``benchmarks/search_efficiency.py`` it made no clear difference on average over seeds; what it
is for is the search that would otherwise not get away from where it settled.
"""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from serplatform.search.remembering_tpe import RememberingTPESampler


class ExploringTPESampler(RememberingTPESampler):
    """The sampler of one study.

    Args:
        random_every: of so many trials, the last is drawn at random; 0: none.
        **options: of ``optuna.samplers.TPESampler``.
    """

    def __init__(self, *, random_every: int, **options: Any) -> None:
        super().__init__(**options)
        self._random_every = random_every

    def _explores(self, trial: FrozenTrial) -> bool:
        every = self._random_every
        return every > 0 and trial.number % every == every - 1

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values that are drawn together; none of a random trial."""
        if self._explores(trial):
            return {}
        return super().sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of one parameter that was not drawn with others."""
        if self._explores(trial):
            return self._random_sampler.sample_independent(
                study, trial, param_name, param_distribution
            )
        return super().sample_independent(study, trial, param_name, param_distribution)
