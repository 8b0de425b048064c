"""Greedy ensemble selection with replacement, sorted initialisation and bagging.

Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection from Libraries of Models",
ICML 2004: in each round the member is added that makes the mean of all added so far best on dev
rows; a member may be added again. Fast enough for every trial of a search.

The cost is in scoring all M candidates in each round. An utterance is right when the summed
posterior of its true class exceeds that of every other class, so only differences to the true
class are kept, laid out (N, K - 1, M): candidates are the contiguous axis. And as the sum grows,
one more member cannot change most utterances: from the largest and smallest difference that any
candidate has on an utterance it follows which are right or wrong whatever is added, and only the
others are scored. The selection is the same as without this shortcut.

Shapes: M members, N utterances, K classes, G row groups (classes that occur).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from serplatform.arrays import BoolArray, DoubleArray, IntArray
from serplatform.artifacts.combiner import GreedyParameters
from serplatform.ensembles.base import COMBINERS, Combiner, PosteriorSet
from serplatform.ensembles.dev_selection import TOLERANCE
from serplatform.metrics import POSTERIOR_FLOOR
from serplatform.seeding import derive_seed

#: bytes of a block of differences that stays in a core's cache while it is scored
_BLOCK_BYTES = 1 << 19

#: up to this many values differences are kept in float64, above it in float32
_DOUBLE_LIMIT = 4_000_000


@dataclasses.dataclass(frozen=True)
class SelectionRound:
    """One round of a selection: who was added, objective and negative NLL after it."""

    member: int
    value: float
    gain: float


class CandidateTable:
    """All candidates on the dev rows, laid out for scoring: (M, N, K), (N,) class indices."""

    def __init__(self, posteriors: DoubleArray, truth: IntArray, objective: str) -> None:
        num_members, num_rows, num_classes = posteriors.shape
        small = posteriors.size <= _DOUBLE_LIMIT
        self.dtype: type = np.float64 if small else np.float32
        self.objective = objective
        self.num_members, self.num_rows = num_members, num_rows

        others = np.arange(num_classes)[None, :].repeat(num_rows, axis=0)
        others = others[others != truth[:, None]].reshape(num_rows, num_classes - 1)
        rows = np.arange(num_rows)
        self.likelihood = np.empty((num_rows, num_members), dtype=self.dtype)
        self.difference = np.empty((num_rows, num_classes - 1, num_members), dtype=self.dtype)
        self.highest = np.empty((num_rows, num_classes - 1), dtype=self.dtype)
        self.lowest = np.empty((num_rows, num_classes - 1), dtype=self.dtype)
        step = max(1, _BLOCK_BYTES // (num_members * num_classes * 4))
        # buffers are made once: memory that is given back and taken again costs page faults
        slab = np.empty((num_members, step, num_classes), dtype=self.dtype)
        block = np.empty((step, num_classes, num_members), dtype=self.dtype)
        flat = block.reshape(-1, num_members)  # (n*K, M)
        for start in range(0, num_rows, step):
            part = slice(start, start + step)
            difference, true = self.difference[part], self.likelihood[part]
            count = len(true)
            slab[:, :count] = posteriors[:, part]
            block[:count] = slab[:, :count].transpose(1, 2, 0)
            first = rows[:count] * num_classes  # row of class 0 in `flat`
            np.take(flat, first + truth[part], axis=0, out=true, mode="clip")
            np.take(flat, first[:, None] + others[part], axis=0, out=difference, mode="clip")
            difference -= true[:, None]
            difference.max(axis=2, out=self.highest[part])
            difference.min(axis=2, out=self.lowest[part])
        # A tie goes to the first class: against a later class the true one wins, so a hair is
        # taken off those differences; "right" is then "every difference is below zero".
        hair = 1e-13 if small else 1e-7
        self.tie = np.where(others > truth[:, None], -hair, 0.0)  # (N, K-1)

        groups = truth if objective == "uar" else np.zeros(num_rows, dtype=np.int64)
        present, self.group = np.unique(groups, return_inverse=True)
        self.group_sizes = np.bincount(self.group).astype(np.float64)  # (G,)
        self.membership = np.eye(len(present), dtype=self.dtype)[:, self.group]  # (G, N)

        size = max(1, _BLOCK_BYTES // (max(1, num_classes - 1) * num_members * 8))
        self._buffer = np.empty((size, num_classes - 1, num_members), dtype=self.dtype)
        self._worst = np.empty((size, num_members), dtype=self.dtype)

    def scores(self, total: DoubleArray, true_total: DoubleArray, count: int) -> DoubleArray:
        """(M,) objective of the sum so far with each candidate added.

        ``total`` (N, K-1) are the summed differences and ``true_total`` (N,) the summed true
        posteriors of the ``count`` members so far.
        """
        if self.objective == "nll":
            return self.gains(true_total, count, np.arange(self.num_members))
        total = total + self.tie
        sure_right = (total + self.highest).max(axis=1, initial=-np.inf) < 0
        sure_wrong = (total + self.lowest).max(axis=1, initial=-np.inf) >= 0
        hits = np.bincount(self.group[sure_right], minlength=len(self.group_sizes))
        right = np.repeat(hits[:, None].astype(np.float64), self.num_members, axis=1)  # (G, M)
        open_rows = np.flatnonzero(~(sure_right | sure_wrong))
        sums: npt.NDArray[Any] = total.astype(self.dtype)
        for start in range(0, open_rows.size, len(self._buffer)):
            rows = open_rows[start : start + len(self._buffer)]
            buffer, worst = self._buffer[: rows.size], self._worst[: rows.size]
            np.take(self.difference, rows, axis=0, out=buffer, mode="clip")
            np.add(buffer, sums[rows, :, None], out=buffer)
            np.maximum.reduce(buffer, axis=1, out=worst)
            flags: npt.NDArray[Any] = (worst < 0).astype(self.dtype)  # (n, M)
            right += np.asarray(self.membership[:, rows] @ flags, dtype=np.float64)
        return np.asarray((right / self.group_sizes[:, None]).mean(axis=0), dtype=np.float64)

    def gains(self, true_total: DoubleArray, count: int, members: IntArray) -> DoubleArray:
        """Negative NLL of the sum so far with each of some candidates added."""
        found = np.zeros(len(members))
        step = max(1, _BLOCK_BYTES // (max(1, len(members)) * 8))
        for start in range(0, self.num_rows, step):
            part = slice(start, start + step)
            mean = (self.likelihood[part][:, members] + true_total[part, None]) / (count + 1)
            found += np.log(np.maximum(mean, POSTERIOR_FLOOR)).sum(axis=0)
        return found / self.num_rows

    @functools.cached_property
    def solo_scores(self) -> DoubleArray:
        """(M,) objective of each member alone."""
        return self.scores(np.zeros(self.tie.shape), np.zeros(self.num_rows), 0)

    @functools.cached_property
    def solo_gains(self) -> DoubleArray:
        """(M,) negative NLL of each member alone."""
        return self.gains(np.zeros(self.num_rows), 0, np.arange(self.num_members))


def select_members(
    table: CandidateTable,
    *,
    num_rounds: int,
    num_initial: int = 0,
    allowed: BoolArray | None = None,
) -> list[SelectionRound]:
    """Add members one at a time, each round the one that helps most.

    At most ``num_initial`` of the best single members start the ensemble, in order; of these
    prefixes the best is kept. ``allowed`` (M,) are the members that may be added; all by default.

    Returns:
        the rounds in order, initial members included.
    """
    allowed = np.ones(table.num_members, dtype=bool) if allowed is None else allowed
    total, true_total = np.zeros(table.tie.shape), np.zeros(table.num_rows)
    rounds: list[SelectionRound] = []

    if num_initial:
        scores = table.solo_scores
        gains = table.solo_gains
        members = np.flatnonzero(allowed).tolist()
        ranked = sorted(members, key=lambda m: (-round(float(scores[m]), 12), -float(gains[m]), m))
        trail: list[SelectionRound] = []
        for member in ranked[:num_initial]:
            total = total + table.difference[:, :, member]
            true_total = true_total + table.likelihood[:, member]
            trail.append(_measure(table, member, total, true_total, len(trail) + 1))
        best = max(range(len(trail)), key=lambda i: (round(trail[i].value, 12), trail[i].gain))
        rounds = trail[: best + 1]
        chosen = [r.member for r in rounds]
        total = table.difference[:, :, chosen].sum(axis=2, dtype=np.float64)
        true_total = table.likelihood[:, chosen].sum(axis=1, dtype=np.float64)

    for _ in range(num_rounds):
        scores = table.scores(total, true_total, len(rounds)) if rounds else table.solo_scores
        scores = np.where(allowed, scores, -np.inf)
        tied = np.flatnonzero(scores >= scores.max() - TOLERANCE)
        if tied.size > 1:
            gains = table.gains(true_total, len(rounds), tied)
            tied = tied[np.argmax(gains) :]
        member = int(tied[0])
        total += table.difference[:, :, member]
        true_total += table.likelihood[:, member]
        rounds.append(_measure(table, member, total, true_total, len(rounds) + 1))
    return rounds


def best_length(rounds: list[SelectionRound]) -> int:
    """How many of the rounds to keep: the best objective, then likelihood, then the fewest."""
    order = range(len(rounds))
    return 1 + max(order, key=lambda i: (round(rounds[i].value, 12), rounds[i].gain, -i))


def _measure(
    table: CandidateTable, member: int, total: DoubleArray, true_total: DoubleArray, count: int
) -> SelectionRound:
    mean = np.maximum(true_total / count, POSTERIOR_FLOOR)
    gain = float(np.log(mean).mean())
    if table.objective == "nll":
        return SelectionRound(member=member, value=gain, gain=gain)
    right = (total + table.tie).max(axis=1, initial=-np.inf) < 0
    hits = np.bincount(table.group[right], minlength=len(table.group_sizes))
    value = float((hits / table.group_sizes).mean())
    return SelectionRound(member=member, value=value, gain=gain)


@COMBINERS.register("greedy")
class Greedy(Combiner):
    """Add members while the mean of all added gets better on dev rows.

    Sections of the paper: selection with replacement (2.1), sorted initialisation (2.2), bagging
    of the library (2.3). A member's weight is its share of all additions, averaged over the bags.

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

    auto_rank = 3
    parameters_kind = GreedyParameters
    kept = ("objective", "num_rounds", "num_initial", "num_bags", "bag_share", "max_members")

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
        self.num_bags = 0  # those that were drawn
        self.bag_share = bag_share
        self.smallest_bag = smallest_bag
        self.max_members = max_members
        self._most_bags = num_bags

    def _fit(self, dev: PosteriorSet) -> None:
        order = dev.member_order()
        num_members = len(order)
        in_order = np.array_equal(order, np.arange(num_members))  # a copy can be large
        table = CandidateTable(
            dev.posteriors if in_order else dev.posteriors[order], dev.truth, self.objective
        )
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
        self.num_bags = len(bags)
        lightest = np.argsort(-weights, kind="stable")[self.max_members :]
        weights[lightest] = 0.0
        self._weights = np.empty(num_members)
        self._weights[order] = weights / weights.sum()

    def _bags(self, num_members: int) -> list[BoolArray]:
        size = max(int(np.ceil(num_members * self.bag_share)), self.smallest_bag)
        if self._most_bags <= 1 or size >= num_members:
            return [np.ones(num_members, dtype=bool)]
        rng = np.random.default_rng(derive_seed(self.seed, "greedy bags"))
        bags = []
        for _ in range(self._most_bags):
            allowed = np.zeros(num_members, dtype=bool)
            allowed[rng.choice(num_members, size, replace=False)] = True
            bags.append(allowed)
        return bags
