"""Greedy ensemble selection with replacement, sorted initialisation and bagging.

Shapes: M members, N utterances, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from serplatform.artifacts.combiner import GreedyParameters
from serplatform.ensemble.base import COMBINERS, Combiner, PosteriorSet
from serplatform.ensemble.greedy_selection import CandidateTable, best_length, select_members
from serplatform.ensemble.linear_pool import LinearPool
from serplatform.seeding import derive_seed


@COMBINERS.register("greedy")
class Greedy(LinearPool):
    """Add members while the mean of all added gets better on dev rows.

    Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection from Libraries of Models",
    ICML 2004: selection with replacement (section 2.1), sorted initialisation (2.2), bagging of
    the library (2.3). A member's weight is its share of all additions, averaged over the bags.

    Departs from the paper: a bag never has fewer than ``smallest_bag`` members (half of a
    handful would be single models), of a bag's rounds the best prefix is kept, and only the
    ``max_members`` heaviest members stay, since every member is paid for in each prediction.

    Args:
        objective: of the selection; NLL breaks ties.
        seed: of the bags.
        num_rounds: additions after the initial members.
        num_initial: at most so many best single members start a bag.
        num_bags: random halves of the members to select from; 1 selects from all members.
        bag_share: share of the members in a bag, in (0, 1].
        smallest_bag: members in a bag at least, where there are so many.
        max_members: members that stay at most.
    """

    name = "greedy"
    parameters_kind = GreedyParameters

    def __init__(
        self,
        *,
        objective: str = "uar",
        seed: int = 0,
        num_rounds: int = 50,
        num_initial: int = 25,
        num_bags: int = 20,
        bag_share: float = 0.5,
        smallest_bag: int = 10,
        max_members: int = 25,
    ) -> None:
        super().__init__(objective=objective, seed=seed)
        self.num_rounds = num_rounds
        self.num_initial = num_initial
        self.num_bags = num_bags
        self.bag_share = bag_share
        self.smallest_bag = smallest_bag
        self.max_members = max_members
        self._num_bags_used = 0

    def _fit(self, dev: PosteriorSet) -> None:
        order = dev.member_order()
        num_members = len(order)
        sorted_posteriors = dev.posteriors
        if not np.array_equal(order, np.arange(num_members)):
            sorted_posteriors = dev.posteriors[order]
        table = CandidateTable(sorted_posteriors, dev.truth, self.objective)
        weights = np.zeros(num_members)
        bags = self._bags(num_members)
        for allowed in bags:
            rounds = select_members(
                table,
                num_rounds=self.num_rounds,
                num_initial=self.num_initial,
                allowed=allowed,
            )
            kept = [r.member for r in rounds[: best_length(rounds)]]
            weights += np.bincount(kept, minlength=num_members) / (len(kept) * len(bags))
        self._num_bags_used = len(bags)
        lightest = np.argsort(-weights, kind="stable")[self.max_members :]
        weights[lightest] = 0.0
        self._weights = np.empty(num_members)
        self._weights[order] = weights / weights.sum()

    def _bags(self, num_members: int) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
        size = max(int(np.ceil(num_members * self.bag_share)), self.smallest_bag)
        if self.num_bags <= 1 or size >= num_members:
            return [np.ones(num_members, dtype=bool)]
        rng = np.random.default_rng(derive_seed(self.seed, "greedy bags"))
        bags = []
        for _ in range(self.num_bags):
            allowed = np.zeros(num_members, dtype=bool)
            allowed[rng.choice(num_members, size, replace=False)] = True
            bags.append(allowed)
        return bags

    def parameters(self) -> dict[str, Any]:
        """The weights, and how they were found."""
        return super().parameters() | {
            "objective": self.objective,
            "num_rounds": self.num_rounds,
            "num_initial": self.num_initial,
            "num_bags": self._num_bags_used,
            "bag_share": self.bag_share,
            "max_members": self.max_members,
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Combiner:
        """Rebuild from :meth:`parameters`."""
        combiner = cls(
            objective=str(parameters["objective"]),
            num_rounds=int(parameters["num_rounds"]),
            num_initial=int(parameters["num_initial"]),
            bag_share=float(parameters["bag_share"]),
            max_members=int(parameters["max_members"]),
        )
        combiner._num_bags_used = int(parameters["num_bags"])
        combiner._weights = np.asarray(parameters["weights"], dtype=np.float64)
        return combiner
