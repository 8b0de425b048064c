"""Who is in the ensemble, how good each is alone, and what each adds.

Shapes: M candidates, N utterances, K classes, A members shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serplatform.arrays import BoolArray, DoubleArray, IntArray
from serplatform.artifacts.ensemble import Diversity
from serplatform.ensembles.base import PosteriorSet
from serplatform.ensembles.calibration import scale_members
from serplatform.ensembles.nested import FoldEnsemble, pool_test
from serplatform.ensembles.posteriors import Library
from serplatform.metrics import (
    METRICS,
    POSTERIOR_FLOOR,
    confusion_counts,
    count_metrics,
    expected_calibration_error,
)

#: the gain of at most so many members, the heaviest, is computed for a fold
MOST_GAINS = 50

#: at most so many members are compared pairwise
MOST_COMPARED = 20


def solo_metrics(members: PosteriorSet) -> dict[str, DoubleArray]:
    """Every metric of each candidate alone: each name of ``metrics.METRICS`` to (M,)."""
    posteriors, truth = members.posteriors, members.truth
    rows = np.arange(truth.size)
    counts = confusion_counts(truth, posteriors.argmax(axis=2), posteriors.shape[2])
    values = dict(count_metrics(counts))
    true = posteriors[:, rows, truth]  # (M, N)
    values["nll"] = -np.log(np.maximum(true, POSTERIOR_FLOOR)).mean(axis=1)
    squares = np.square(posteriors).sum(axis=2)
    values["brier"] = (squares - 2 * true + 1).mean(axis=1)
    values["ece"] = np.array([expected_calibration_error(truth, table) for table in posteriors])
    return {name: values[name] for name in METRICS}


def leave_one_out(ensemble: FoldEnsemble, members: PosteriorSet) -> dict[int, dict[str, float]]:
    """What the ensemble of a fold loses on rows of that fold when one member is silenced.

    A silenced member says 1/K for every class, which changes no combiner's largest class: in a
    mean, a product and a regression on centred logs alike it is as if the member were not
    there. Nothing is fitted again.

    Returns:
        member position to ``uar`` and ``accuracy`` of the ensemble minus those without the
        member, for the :data:`MOST_GAINS` heaviest; empty when one member is all there is.
    """
    weights = ensemble.combiner.weights()
    used = np.flatnonzero(weights)
    if used.size < 2:
        return {}
    if ensemble.temperatures is not None:
        members = scale_members(members, ensemble.temperatures)
    work = members.posteriors.copy()
    num_classes = work.shape[2]

    def measure() -> dict[str, float]:
        prediction = ensemble.combiner.combine(work).argmax(axis=1)
        found = count_metrics(confusion_counts(members.truth, prediction, num_classes))
        return {name: float(found[name]) for name in ("uar", "accuracy")}

    whole = measure()
    gains = {}
    for m in sorted(used, key=lambda m: (-weights[m], m))[:MOST_GAINS]:
        work[m] = 1.0 / num_classes
        without = measure()
        work[m] = members.posteriors[m]
        gains[int(m)] = {name: whole[name] - without[name] for name in whole}
    return gains


def member_rows(
    library: Library,
    ensemble: FoldEnsemble,
    solo: Mapping[str, Mapping[str, DoubleArray]],
) -> list[dict[str, Any]]:
    """The members of one fold, heaviest first; ``solo`` is :func:`solo_metrics` by part, and
    what is known of a member is of these parts."""
    weights, shares = ensemble.combiner.weights(), ensemble.combiner.shares()
    gains = {part: leave_one_out(ensemble, library.take(ensemble.fold, part)) for part in solo}
    rows, held = [], library.of_fold(ensemble.fold)
    for m in sorted(np.flatnonzero(weights), key=lambda m: (-weights[m], m)):
        candidate = library.candidates[held[m]]
        scaled = ensemble.temperatures
        rows.append(
            {
                **candidate.described(),
                "weight": float(weights[m]),
                "share": float(shares[m]),
                "temperature": None if scaled is None else float(scaled[m]),
                **{
                    part: {name: float(values[m]) for name, values in found.items()}
                    for part, found in solo.items()
                },
                "gain": {part: gains[part].get(int(m)) for part in solo},
            }
        )
    return rows


def mean_shares(library: Library, ensembles: Sequence[FoldEnsemble]) -> DoubleArray:
    """(M,) share of each candidate, mean over the folds; 0 in those that it was not offered to."""
    shares = np.zeros((len(ensembles), len(library.candidates)))
    for row, ensemble in zip(shares, ensembles, strict=True):
        row[library.of_fold(ensemble.fold)] = ensemble.combiner.shares()
    return shares.mean(axis=0)


def diversity(library: Library, ensembles: Sequence[FoldEnsemble]) -> Diversity:
    """Compare members' answers on the test rows of all folds, the heaviest members first; of a
    nested search, where none has them all, there are none.

    ``disagreement`` is the share of test rows on which two of them answer differently; ``oracle``
    what a choice of the right answer, whenever a member of that fold has it, would give: a bound
    for any choice among members' answers; ``all_wrong`` the share on which no member is right.
    """
    shares = mean_shares(library, ensembles)
    whole = [m for m in np.flatnonzero(shares) if library.candidates[m].fold is None]
    used = sorted(whole, key=lambda m: (-shares[m], m))
    shown = np.array(used[:MOST_COMPARED], dtype=np.int64)
    answers: list[IntArray] = []
    hits: list[BoolArray] = []
    for ensemble in ensembles:
        test = library.take(ensemble.fold, "test")
        prediction = test.posteriors.argmax(axis=2)  # (M, N)
        own = np.flatnonzero(ensemble.combiner.weights())
        hits.append((prediction[own] == test.truth).any(axis=0))
        answers.append(prediction[np.searchsorted(library.of_fold(ensemble.fold), shown)])
    answer, hit, truth = (
        np.concatenate(answers, axis=1),
        np.concatenate(hits),
        pool_test(library).truth,
    )
    disagreement = np.array([(answer != one).mean(axis=1) for one in answer])
    disagreement = disagreement.reshape(len(shown), len(shown))  # also where no member is used
    pairs = disagreement[np.triu_indices(len(shown), 1)]
    recalls = [float(hit[truth == k].mean()) for k in np.unique(truth)]
    return {
        "members": [library.candidates[m].name for m in shown],
        "disagreement": disagreement.tolist(),
        "mean_disagreement": float(pairs.mean()) if pairs.size else None,
        "oracle": {"accuracy": float(hit.mean()), "uar": float(np.mean(recalls))},
        "all_wrong": float(1.0 - hit.mean()),
    }
