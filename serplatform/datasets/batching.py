"""Group utterances of like length into batches, in an order that changes every epoch.

Every utterance is in exactly one batch. Batches are as even as they can be, so that a
remainder never makes a batch of one, on which batch statistics are undefined.
"""

from __future__ import annotations

import math

import numpy as np

from serplatform.arrays import IntArray

#: Lengths are stretched by up to this share, either way, before they are sorted: batches mix
#: other neighbours in every epoch, at the price of a little padding.
JITTER = 0.04


def batches(
    lengths: IntArray,
    *,
    batch_size: int | None = 32,
    frames_per_batch: int | None = None,
    rng: np.random.Generator | None = None,
) -> list[IntArray]:
    """Cut positions 0..N-1 into batches of like length; together a permutation of them.

    An utterance longer than the budget of ``frames_per_batch``, padding included, is a batch of its
    own; None leaves out a limit. ``rng`` draws the jitter and the order of the batches; None sorts
    by length exactly and keeps the longest batch first (evaluation).

    Raises:
        ValueError: neither limit is given, or one is below 1.

    Example:
        >>> [b.tolist() for b in batches(np.array([5, 90, 6, 88]), batch_size=2)]
        [[1, 3], [2, 0]]
    """
    if batch_size is None and frames_per_batch is None:
        raise ValueError("give batch_size, frames_per_batch or both")
    for name, limit in (("batch_size", batch_size), ("frames_per_batch", frames_per_batch)):
        if limit is not None and limit < 1:
            raise ValueError(f"{name} = {limit}: must be at least 1")
    lengths = np.asarray(lengths, dtype=np.int64)
    if len(lengths) == 0:
        return []
    key = lengths.astype(np.float64)
    if rng is not None:
        key = key * (1.0 + rng.uniform(-JITTER, JITTER, len(lengths)))
    order = np.argsort(-key, kind="stable").astype(np.int64)
    if frames_per_batch is None:
        assert batch_size is not None  # noqa: S101 - for the type checker; checked above
        cut = np.array_split(order, math.ceil(len(order) / batch_size))
    else:
        cut = _cut_by_frames(order, lengths, batch_size or len(order), frames_per_batch)
    if rng is not None:
        cut = [cut[i] for i in rng.permutation(len(cut))]
    return cut


def _cut_by_frames(
    order: IntArray, lengths: IntArray, batch_size: int, frames_per_batch: int
) -> list[IntArray]:
    """Cut ``order`` greedily so that longest x count stays within the budget."""
    cut: list[IntArray] = []
    first, longest = 0, 0
    for position, row in enumerate(order):
        grown = max(longest, int(lengths[row]))
        count = position - first + 1
        if position > first and (count > batch_size or grown * count > frames_per_batch):
            cut.append(order[first:position])
            first, grown = position, int(lengths[row])
        longest = grown
    cut.append(order[first:])
    return cut


def padded_share(lengths: IntArray, batches: list[IntArray]) -> float:
    """Share of all padded frames that are padding, in [0, 1).

    Example:
        >>> padded_share(np.array([10, 5]), [np.array([0, 1])])
        0.25
    """
    total = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    used = sum(int(lengths[batch].sum()) for batch in batches)
    return 1.0 - used / total if total else 0.0
