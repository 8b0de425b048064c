"""Fit on each outer fold's dev rows, apply to its dev and test rows.

Shapes: M candidates, N utterances, K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from serplatform.ensemble.base import COMBINERS, Combiner, FloatArray, IntArray, PosteriorSet
from serplatform.ensemble.calibration import fit_temperature, fit_temperatures, scale_members
from serplatform.ensemble.posteriors import Library
from serplatform.seeding import derive_seed


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldEnsemble:
    """An ensemble fitted on the dev rows of one outer fold.

    Attributes:
        fold: the outer fold.
        combiner: fitted.
        temperatures: (M,) of the candidates before combining; None without calibration.
        output_temperature: calibrates the combined posteriors; used for rejection.
        num_rows: dev rows fitted on.
        num_speakers: among them.
        dev: (N, K) combined posteriors of the dev rows: optimistic, they were fitted on.
        test: (N, K) combined posteriors of the test rows.
    """

    fold: int
    combiner: Combiner
    temperatures: FloatArray | None
    output_temperature: float
    num_rows: int
    num_speakers: int
    dev: FloatArray
    test: FloatArray

    def fitted_on(self) -> dict[str, Any]:
        """Which rows every number of this fold was fitted on, for JSON."""
        return {"part": "dev", "rows": self.num_rows, "speakers": self.num_speakers}


def fit_fold(
    dev: PosteriorSet, *, combiner: str, objective: str, temperature: bool, seed: int
) -> tuple[Combiner, FloatArray | None]:
    """Fit a combiner, and temperatures before it if asked, on dev rows.

    Raises:
        LeakError: the rows are not dev rows.
        BadInputError: no such combiner or objective.
    """
    fresh = COMBINERS.get(combiner)(objective=objective, seed=seed)
    temperatures = fit_temperatures(dev) if temperature else None
    fresh.fit(dev if temperatures is None else scale_members(dev, temperatures))
    return fresh, temperatures


def apply_fold(
    combiner: Combiner, temperatures: FloatArray | None, members: PosteriorSet
) -> FloatArray:
    """(N, K) combined posteriors of any rows."""
    if temperatures is not None:
        members = scale_members(members, temperatures)
    return combiner.combine(members.posteriors)


def nested_ensemble(
    library: Library,
    *,
    combiner: str,
    objective: str = "uar",
    temperature: bool = False,
    seed: int = 0,
) -> tuple[FoldEnsemble, ...]:
    """For each outer fold: members, weights and temperatures from its own dev rows alone.

    Args:
        library: all candidates.
        combiner: a registered name.
        objective: what choices on dev rows maximise.
        temperature: calibrate each candidate first.
        seed: of whatever the combiner draws.
    """
    folds = []
    for fold in library.folds:
        dev = library.take(fold, "dev")
        fitted, temperatures = fit_fold(
            dev,
            combiner=combiner,
            objective=objective,
            temperature=temperature,
            seed=derive_seed(seed, "ensemble fold", fold),
        )
        combined = apply_fold(fitted, temperatures, dev)
        folds.append(
            FoldEnsemble(
                fold=fold,
                combiner=fitted,
                temperatures=temperatures,
                output_temperature=fit_temperature(dev.truth, combined),
                num_rows=len(dev.utterance_ids),
                num_speakers=len(set(dev.speaker_ids)),
                dev=combined,
                test=apply_fold(fitted, temperatures, library.take(fold, "test")),
            )
        )
    return tuple(folds)


@dataclasses.dataclass(frozen=True)
class PooledTest:
    """The test rows of all folds, one after another; N rows in all.

    Attributes:
        fold: (N,).
        utterance_ids: N.
        speaker_ids: N.
        truth: (N,).
    """

    fold: IntArray
    utterance_ids: tuple[str, ...]
    speaker_ids: tuple[str, ...]
    truth: IntArray


def pool_test(library: Library) -> PooledTest:
    """Put the test rows of all folds together, in the order of the folds."""
    sets = [(fold, library.take(fold, "test")) for fold in library.folds]
    return PooledTest(
        fold=np.concatenate([np.full(len(s.truth), fold, dtype=np.int64) for fold, s in sets]),
        utterance_ids=tuple(u for _, s in sets for u in s.utterance_ids),
        speaker_ids=tuple(x for _, s in sets for x in s.speaker_ids),
        truth=np.concatenate([s.truth for _, s in sets]),
    )
