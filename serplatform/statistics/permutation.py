"""Paired permutation test of two classifiers on the same utterances.

Under the null hypothesis the two systems are exchangeable: swapping their answers on any
utterance (or on all utterances of any speaker) leaves the distribution of the difference as it
is. Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", 2005, chapter 3; Phipson
and Smyth, "Permutation P-values Should Never Be Zero", SAGMB 9(1), 2010, Eq. (2) for the + 1.

Shapes: N utterances, K classes, C clusters, R permutations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.ensemble import PermutationRecord
from serplatform.metrics import COUNT_METRICS, count_metrics
from serplatform.statistics.intervals import speaker_index

#: differences closer than this are equal: the same counts summed in another order
_EQUAL = 1e-12


def paired_permutation_test(
    truth: npt.ArrayLike,
    prediction_a: npt.ArrayLike,
    prediction_b: npt.ArrayLike,
    *,
    num_classes: int,
    speaker_ids: Sequence[str] | None = None,
    metric: str = "uar",
    num_permutations: int = 10_000,
    seed: int = 0,
) -> PermutationRecord:
    """Test whether two systems differ in a metric of their confusion counts.

    With ``speaker_ids`` a speaker's answers are swapped together, which respects that they
    depend on each other. When there are at most ``num_permutations`` ways to swap, all are
    enumerated and the p-value is exact.

    Args:
        truth: (N,) class indices.
        prediction_a: (N,) class indices of the first system.
        prediction_b: (N,) class indices of the second.
        num_classes: K.
        speaker_ids: N, or None to swap single utterances.
        metric: a name of ``metrics.COUNT_METRICS``.
        num_permutations: R, at least 1.
        seed: of the swaps.

    Raises:
        ValueError: the shapes differ, there is no utterance or the metric is another.

    Example:
        >>> found = paired_permutation_test([0, 1, 1], [0, 1, 1], [1, 0, 0], num_classes=2)
        >>> found["difference"], found["p_value"]
        (1.0, 0.25)
    """
    true, a, b = (np.asarray(x, dtype=np.int64) for x in (truth, prediction_a, prediction_b))
    if not true.shape == a.shape == b.shape or true.ndim != 1 or true.size == 0:
        raise ValueError(f"shapes {true.shape}, {a.shape} and {b.shape}; expected (N,) thrice")
    if metric not in COUNT_METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(COUNT_METRICS)}")
    if speaker_ids is None:
        num_clusters, cluster = true.size, np.arange(true.size)
    else:
        if len(speaker_ids) != true.size:
            raise ValueError(f"{len(speaker_ids)} speaker ids for {true.size} utterances")
        names, cluster = speaker_index(speaker_ids)
        num_clusters = len(names)

    # Confusion counts are linear in the swaps: with z = 1 where a cluster is swapped, system
    # A's counts become A + Σ z (B − A). Clusters with equal answers drop out.
    cells = num_classes * num_classes
    differs = a != b
    moved, position = np.unique(cluster[differs], return_inverse=True)  # clusters that matter
    change = np.zeros((moved.size, cells))
    np.add.at(change, (position, true[differs] * num_classes + b[differs]), 1.0)
    np.add.at(change, (position, true[differs] * num_classes + a[differs]), -1.0)
    kinds, kind_sizes = np.unique(change, axis=0, return_counts=True)  # equal changes together
    counts_a = np.bincount(true * num_classes + a, minlength=cells).astype(np.float64)
    counts_b = np.bincount(true * num_classes + b, minlength=cells).astype(np.float64)

    def differences(swapped: npt.NDArray[np.float64] | IntArray) -> DoubleArray:
        """(R, kinds) swapped clusters of each kind to (R,) differences."""
        shift = swapped @ kinds if moved.size else np.zeros((len(swapped), cells))
        shape = (-1, num_classes, num_classes)
        first = count_metrics((counts_a + shift).reshape(shape))[metric]
        second = count_metrics((counts_b - shift).reshape(shape))[metric]
        return np.asarray(first - second, dtype=np.float64)

    observed = float(differences(np.zeros((1, len(kind_sizes))))[0])
    exact = moved.size < 63 and 2**moved.size <= num_permutations
    if exact:
        codes = np.arange(2**moved.size)
        flips = (codes[:, None] >> np.arange(moved.size)) & 1  # (2^C, C)
        membership = (change[:, None, :] == kinds[None, :, :]).all(axis=2)  # (C, kinds)
        drawn = differences(flips.astype(np.float64) @ membership)
    else:
        rng = np.random.default_rng(seed)
        swaps = rng.binomial(kind_sizes, 0.5, size=(num_permutations, len(kind_sizes)))
        drawn = np.concatenate([differences(part) for part in np.array_split(swaps, 20)])
    extreme = int((np.abs(drawn) >= abs(observed) - _EQUAL).sum())
    p_value = extreme / drawn.size if exact else (extreme + 1) / (drawn.size + 1)
    return {
        "metric": metric,
        "difference": observed,
        "p_value": float(p_value),
        "num_permutations": int(drawn.size),
        "exact": bool(exact),
        "num_clusters": int(num_clusters),
        "clustered_by": "utterance" if speaker_ids is None else "speaker",
    }
