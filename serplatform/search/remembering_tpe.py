"""Optuna's TPE sampler, which remembers what it has read from finished trials.

For every suggestion, Optuna translates every parameter of every trial into numbers anew, which
is the larger part of what a suggestion costs after some hundred trials. A finished trial does
not change any more. The suggestions are the same, to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from serplatform.arrays import DoubleArray


class RememberingTPESampler(TPESampler):
    """The sampler of one study; takes what ``TPESampler`` takes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # by names of parameters: of each finished trial its numbers, None where it lacks one
        self._known: dict[tuple[str, ...], dict[int, DoubleArray | None]] = {}

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: Study
    ) -> dict[str, Any]:
        names = tuple(search_space)
        known = self._known.setdefault(names, {})
        rows: list[DoubleArray] = []
        for trial in trials:
            if trial.number in known:
                row = known[trial.number]
            else:
                params = self._get_params(trial, study)
                row = None
                if search_space.keys() <= params.keys():
                    row = np.array(
                        [d.to_internal_repr(params[name]) for name, d in search_space.items()],
                        dtype=np.float64,
                    )
                if trial.state.is_finished():
                    known[trial.number] = row
            if row is not None:
                rows.append(row)
        columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(names)).T
        return {
            name: np.ascontiguousarray(column) for name, column in zip(names, columns, strict=True)
        }
