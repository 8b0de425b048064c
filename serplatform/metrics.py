r"""Classification metrics on plain arrays, under names that mean one thing each.

Papers call different things "UA" and "WA"; here a name has one definition:

- ``accuracy``: share of utterances whose class is right.
- ``uar``: mean over classes of the recall (unweighted average recall), over the classes that
  occur in the truth; it equals scikit-learn's ``balanced_accuracy_score``.
- ``macro_f1``: mean over classes of F1, over the classes that occur in the truth or in the
  prediction; it equals scikit-learn's ``f1_score(average="macro", zero_division=0)``.
- ``ova_accuracy``: each class against the rest, :math:`\frac1K \sum_k (TP_k + TN_k) / N`;
  Jalal et al., Interspeech 2020: Eq. (6) of the BLSTMATT/CSA paper, Eq. (10) of the MOMA paper.
  It is always :math:`1 - 2 (1 - \text{accuracy}) / K`.
- ``ova_balanced_accuracy``: :math:`\frac1K \sum_k \frac12 (TP_k / P_k + TN_k / N_k)`, same
  equations, over the classes that occur in the truth. A class without negatives (the truth
  holds one class only) counts with its recall.
- ``nll``: mean negative natural log of the true class's posterior, floored at
  :data:`POSTERIOR_FLOOR`.
- ``brier``: mean over utterances of the squared distance between posterior and one-hot truth,
  summed over classes; from 0 to 2.
- ``ece``: expected calibration error of the top class, :data:`ECE_BINS` bins of equal width.

Shapes: N utterances, K classes. A tie between posteriors goes to the first class.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from serplatform.arrays import DoubleArray, IntArray

#: smallest posterior that ``nll`` takes a logarithm of, so that one certain mistake stays finite
POSTERIOR_FLOOR = 1e-12

#: number of equal-width confidence bins of ``ece``
ECE_BINS = 15

#: how far from 1 the sum of a row of posteriors may be
SUM_TOLERANCE = 1e-4

#: metrics that are functions of the confusion counts alone
COUNT_METRICS = ("accuracy", "uar", "macro_f1", "ova_accuracy", "ova_balanced_accuracy")

#: every metric, in the order of reports
METRICS = (*COUNT_METRICS, "nll", "brier", "ece")

#: whether a larger value is better
HIGHER_IS_BETTER = {name: name in COUNT_METRICS for name in METRICS}


def confusion_counts(truth: npt.ArrayLike, prediction: npt.ArrayLike, num_classes: int) -> IntArray:
    """Count utterances by true and predicted class, for any number of resamples at once.

    Args:
        truth: (..., N), class indices.
        prediction: (..., N), class indices; broadcast against ``truth``.
        num_classes: K.

    Returns:
        (..., K, K), int64; rows are the truth, columns the prediction.

    Raises:
        ValueError: the shapes do not fit, or an index is outside [0, K).

    Example:
        >>> confusion_counts([0, 0, 1], [0, 1, 1], 2)
        array([[1, 1],
               [0, 1]])
    """
    true, predicted = np.broadcast_arrays(
        _class_indices(truth, "truth", num_classes),
        _class_indices(prediction, "prediction", num_classes),
    )
    if true.ndim < 1:
        raise ValueError("truth and prediction must have at least one dimension")
    lead = true.shape[:-1]
    num_cells = num_classes * num_classes
    resample = np.arange(int(np.prod(lead, dtype=np.int64)), dtype=np.int64).reshape(*lead, 1)
    cells = (resample * num_classes + true) * num_classes + predicted
    counts = np.bincount(cells.reshape(-1), minlength=resample.size * num_cells)
    return counts.reshape(*lead, num_classes, num_classes).astype(np.int64)


def count_metrics(counts: npt.ArrayLike) -> dict[str, DoubleArray]:
    """The metrics that confusion counts determine, for any number of resamples at once.

    Args:
        counts: (..., K, K), non-negative; rows are the truth.

    Returns:
        every name of :data:`COUNT_METRICS` to an array of shape (...); NaN where a resample
        holds no utterance.

    Raises:
        ValueError: the last two sizes differ.

    Example:
        >>> {name: round(float(v), 3) for name, v in count_metrics([[3, 1], [1, 1]]).items()}
        ... # doctest: +NORMALIZE_WHITESPACE
        {'accuracy': 0.667, 'uar': 0.625, 'macro_f1': 0.625, 'ova_accuracy': 0.667,
         'ova_balanced_accuracy': 0.625}
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim < 2 or table.shape[-1] != table.shape[-2]:
        raise ValueError(f"counts has shape {table.shape}; expected (..., K, K)")
    num_classes = table.shape[-1]
    total = table.sum(axis=(-2, -1))  # (...)
    positives = table.sum(axis=-1)  # (..., K), utterances of the class
    predicted = table.sum(axis=-2)  # (..., K), utterances given to the class
    hits = np.diagonal(table, axis1=-2, axis2=-1)  # (..., K), TP
    negatives = total[..., None] - positives
    rejections = negatives - (predicted - hits)  # (..., K), TN
    present = positives > 0

    recall = _ratio(hits, positives)
    specificity = np.where(negatives > 0, _ratio(rejections, negatives), recall)
    f1 = _ratio(2 * hits, positives + predicted)
    accuracy = _ratio(hits.sum(axis=-1), total)
    metrics = {
        "accuracy": accuracy,
        "uar": _masked_mean(recall, present),
        "macro_f1": _masked_mean(f1, positives + predicted > 0),
        "ova_accuracy": _ratio((hits + rejections).sum(axis=-1), num_classes * total),
        "ova_balanced_accuracy": _masked_mean((recall + specificity) / 2, present),
    }
    return {name: np.where(total > 0, value, np.nan) for name, value in metrics.items()}


def classification_metrics(truth: npt.ArrayLike, posteriors: npt.ArrayLike) -> dict[str, float]:
    """Every metric of :data:`METRICS`.

    Args:
        truth: (N,), class indices.
        posteriors: (N, K), rows sum to 1.

    Raises:
        ValueError: no utterance, shapes that do not fit, an index outside [0, K), posteriors
            that are negative, not finite or do not sum to 1.

    Example:
        >>> round(classification_metrics([0, 1], [[0.5, 0.5], [0.25, 0.75]])["nll"], 3)
        0.49
    """
    true, table = _checked(truth, posteriors)
    counts = confusion_counts(true, table.argmax(axis=1), table.shape[1])
    metrics = {name: float(value) for name, value in count_metrics(counts).items()}
    metrics["nll"] = float(negative_log_likelihoods(true, table).mean())
    metrics["brier"] = float(brier_scores(true, table).mean())
    metrics["ece"] = expected_calibration_error(true, table)
    return metrics


def negative_log_likelihoods(truth: npt.ArrayLike, posteriors: npt.ArrayLike) -> DoubleArray:
    """(N,) negative natural logs of the true classes' posteriors, floored; see the module."""
    true, table = _checked(truth, posteriors)
    return -np.log(np.maximum(table[np.arange(true.size), true], POSTERIOR_FLOOR))


def brier_scores(truth: npt.ArrayLike, posteriors: npt.ArrayLike) -> DoubleArray:
    """(N,) squared distances of posteriors from the one-hot truth, summed over classes."""
    true, table = _checked(truth, posteriors)
    distance = table.copy()
    distance[np.arange(true.size), true] -= 1.0
    return np.square(distance).sum(axis=1)


def expected_calibration_error(
    truth: npt.ArrayLike, posteriors: npt.ArrayLike, num_bins: int = ECE_BINS
) -> float:
    r"""Distance between confidence and accuracy of the top class, averaged over bins.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, Eq. (3):
    :math:`\sum_m \frac{|B_m|}{N} |\text{acc}(B_m) - \text{conf}(B_m)|`; bin m holds the
    confidences in ((m − 1)/M, m/M].

    Args:
        truth: (N,), class indices.
        posteriors: (N, K), rows sum to 1.
        num_bins: M.
    """
    true, table = _checked(truth, posteriors)
    if num_bins < 1:
        raise ValueError(f"num_bins = {num_bins}: must be at least 1")
    confidence = table.max(axis=1)
    correct = table.argmax(axis=1) == true
    bins = confidence_bins(confidence, num_bins)
    gap = np.bincount(bins, weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gap).sum() / true.size)  # Eq. (3): |B_m| cancels in each term


def confidence_bins(confidence: npt.ArrayLike, num_bins: int = ECE_BINS) -> IntArray:
    """(N,) the bin m in [0, M) of each confidence, which lies in (m/M, (m + 1)/M]; 0 is in bin 0.

    Example:
        >>> confidence_bins([0.0, 0.5, 0.51, 1.0], num_bins=2)
        array([0, 0, 1, 1])
    """
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Utterances whose confidence is in (low, high]; ``confidence`` is their mean."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability_bins(truth: npt.ArrayLike, posteriors: npt.ArrayLike) -> list[ReliabilityBin]:
    """Confidence against accuracy of the top class in the bins of ``ece`` that hold an utterance.

    Args:
        truth: (N,), class indices.
        posteriors: (N, K), rows sum to 1.
    """
    true, table = _checked(truth, posteriors)
    confidence, correct = table.max(axis=1), table.argmax(axis=1) == true
    edges, bins = np.linspace(0.0, 1.0, ECE_BINS + 1), confidence_bins(confidence)
    return [
        ReliabilityBin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            count=int((bins == b).sum()),
            confidence=float(confidence[bins == b].mean()),
            accuracy=float(correct[bins == b].mean()),
        )
        for b in np.unique(bins)
    ]


def _class_indices(values: npt.ArrayLike, what: str, num_classes: int) -> IntArray:
    array = np.asarray(values)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{what} has type {array.dtype}; expected whole class indices")
    indices = array.astype(np.int64)
    if indices.size and (indices.min() < 0 or indices.max() >= num_classes):
        raise ValueError(
            f"{what} holds class indices from {indices.min()} to {indices.max()}; "
            f"expected 0 to {num_classes - 1}"
        )
    return indices


def _checked(truth: npt.ArrayLike, posteriors: npt.ArrayLike) -> tuple[IntArray, DoubleArray]:
    table = np.asarray(posteriors, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"posteriors has shape {table.shape}; expected (N, K)")
    true = _class_indices(truth, "truth", table.shape[1])
    if true.shape != table.shape[:1]:
        raise ValueError(
            f"truth has shape {true.shape}, posteriors {table.shape}; expected (N,) and (N, K)"
        )
    if true.size == 0:
        raise ValueError("there is no utterance to measure")
    if not np.isfinite(table).all() or table.min() < 0:
        raise ValueError("posteriors must be finite and not negative")
    worst = float(np.abs(table.sum(axis=1) - 1.0).max())
    if worst > SUM_TOLERANCE:
        raise ValueError(f"a row of posteriors is {worst:.2g} away from a sum of 1")
    return true, table


def _ratio(part: Any, whole: Any) -> DoubleArray:
    """``part / whole``, 0 where ``whole`` is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _masked_mean(values: DoubleArray, keep: npt.NDArray[np.bool_]) -> DoubleArray:
    """Mean over the last axis of the values to keep; 0 where there is none."""
    return _ratio(np.where(keep, values, 0.0).sum(axis=-1), keep.sum(axis=-1))
