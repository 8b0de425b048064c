"""Results by corpus of a joined dataset: who was trained on what, and tested on what.

Shapes: N pooled test rows, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from serplatform.arrays import DoubleArray
from serplatform.artifacts.ensemble import SourceRow
from serplatform.ensembles.nested import PooledTest
from serplatform.ensembles.posteriors import Library
from serplatform.statistics.chance import chance_uar
from serplatform.statistics.intervals import metric_intervals


def per_source(
    library: Library, pooled: PooledTest, posteriors: DoubleArray, sources: Mapping[str, str]
) -> list[SourceRow]:
    """One row for each set of corpora that models were trained (and chosen) on, and each corpus
    that they were tested on; folds of one set are pooled.

    Args:
        library: of the folds.
        pooled: their test rows.
        posteriors: (N, K) of the system.
        sources: utterance id to corpus.
    """
    plan = library.plan["folds"]
    trained = [
        tuple(sorted({sources[name] for part in (fold["train"], fold["dev"]) for name in part}))
        for fold in plan
    ]
    of_fold = np.repeat(library.folds, [len(library.take(f, "test").truth) for f in library.folds])
    cells = [(trained[f], sources[u]) for f, u in zip(of_fold, pooled.utterance_ids, strict=True)]
    speakers = np.array(pooled.speaker_ids, dtype=object)
    found: list[SourceRow] = []
    for cell in sorted(set(cells)):
        rows = np.flatnonzero([one == cell for one in cells])
        truth, own = pooled.truth[rows], speakers[rows].tolist()
        metrics = metric_intervals(truth, posteriors[rows], own)
        found.append(
            {
                "trained_on": list(cell[0]),
                "tested_on": cell[1],
                "utterances": len(rows),
                "speakers": len(set(own)),
                "chance": chance_uar(truth),
                "uar": metrics["uar"].as_dict(),
                "accuracy": metrics["accuracy"].as_dict(),
            }
        )
    return found
