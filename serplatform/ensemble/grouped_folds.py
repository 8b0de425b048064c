"""Speaker-grouped folds inside the dev rows, for choices that need rows not fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serplatform.arrays import IntArray


def grouped_folds(
    speaker_ids: Sequence[str], utterance_ids: Sequence[str], num_folds: int = 5
) -> tuple[list[tuple[IntArray, IntArray]], str]:
    """Split rows so that each speaker is on one side; by utterance when there is one speaker.

    Speakers are dealt out from the one with most rows on, each to the smallest fold so far;
    names break ties, so the same rows in another order are split alike.

    Args:
        speaker_ids: N.
        utterance_ids: N, used when there is one speaker only.
        num_folds: at most so many.

    Returns:
        the folds as (fit rows, held-out rows), and ``"speaker"`` or ``"utterance"``: what was
        kept together. No fold at all when there is one utterance only.
    """
    kept_together = "speaker"
    groups = np.asarray(speaker_ids, dtype=str)
    if len(set(speaker_ids)) < 2:
        kept_together, groups = "utterance", np.asarray(utterance_ids, dtype=str)
    names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    num_folds = min(num_folds, len(names))
    if num_folds < 2:
        return [], kept_together
    fold_of = np.zeros(len(names), dtype=np.int64)
    filled = np.zeros(num_folds, dtype=np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        fold_of[group] = int(filled.argmin())
        filled[fold_of[group]] += sizes[group]
    held = fold_of[index]
    return [(np.flatnonzero(held != f), np.flatnonzero(held == f)) for f in range(num_folds)], (
        kept_together
    )
