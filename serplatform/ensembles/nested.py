"""Fit on each outer fold's dev rows, apply to its dev and test rows.

Shapes: M candidates, N utterances, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from serplatform.arrays import DoubleArray, IntArray
from serplatform.ensembles.base import Combiner, find_combiner
from serplatform.ensembles.calibration import fit_temperature, fit_temperatures, scale_members
from serplatform.ensembles.posteriors import Library
from serplatform.seeding import derive_seed


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldEnsemble:
    """An ensemble fitted on the dev rows of one outer fold.

    Attributes:
        fold: the outer fold.
        combiner: fitted.
        temperatures: (M,) of the candidates before combining; None without calibration.
        output_temperature: calibrates the combined posteriors; used for rejection.
        fitted_on: part, rows and speakers that every number of this fold was fitted on.
        dev: (N, K) combined posteriors of the dev rows: optimistic, they were fitted on.
        test: (N, K) combined posteriors of the test rows.
    """

    fold: int
    combiner: Combiner
    temperatures: DoubleArray | None
    output_temperature: float
    fitted_on: Mapping[str, str | int]
    dev: DoubleArray
    test: DoubleArray


def nested_ensemble(
    library: Library,
    *,
    combiner: str,
    objective: str = "uar",
    temperature: bool = False,
    seed: int = 0,
) -> tuple[FoldEnsemble, ...]:
    """For each outer fold: members, weights and temperatures from its own dev rows alone.

    ``objective`` is what choices on dev rows maximise; ``temperature`` calibrates each candidate
    first.

    Raises:
        BadInputError: no such combiner or objective, or the combiner lacks what it needs.
    """
    folds = []
    for fold in library.folds:
        dev, test = library.take(fold, "dev"), library.take(fold, "test")
        temperatures = fit_temperatures(dev) if temperature else None
        if temperatures is not None:
            dev, test = scale_members(dev, temperatures), scale_members(test, temperatures)
        seed_of_fold = derive_seed(seed, "ensemble fold", fold)
        fitted = find_combiner(combiner)(objective=objective, seed=seed_of_fold)
        fitted.fit(dev)
        combined = fitted.combine(dev.posteriors)
        folds.append(
            FoldEnsemble(
                fold=fold,
                combiner=fitted,
                temperatures=temperatures,
                output_temperature=fit_temperature(dev.truth, combined),
                fitted_on={
                    "part": dev.part,
                    "rows": len(dev.utterance_ids),
                    "speakers": len(set(dev.speaker_ids)),
                },
                dev=combined,
                # of a sealed run there are no test rows, which no combiner must cope with
                test=fitted.combine(test.posteriors) if test.utterance_ids else combined[:0],
            )
        )
    return tuple(folds)


@dataclasses.dataclass(frozen=True)
class PooledTest:
    """The N test rows of all folds, one after another; ``truth`` is (N,) class indices."""

    utterance_ids: tuple[str, ...]
    speaker_ids: tuple[str, ...]
    truth: IntArray


def pool_test(library: Library) -> PooledTest:
    """Put the test rows of all folds together, in the order of the folds."""
    sets = [library.take(fold, "test") for fold in library.folds]
    return PooledTest(
        utterance_ids=tuple(u for s in sets for u in s.utterance_ids),
        speaker_ids=tuple(x for s in sets for x in s.speaker_ids),
        truth=np.concatenate([s.truth for s in sets]),
    )
