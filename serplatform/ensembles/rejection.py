"""When to say "not sure": a threshold on the calibrated posterior of the top class.

Chow, "On optimum recognition error and reject tradeoff", IEEE Trans. Information Theory 16(1),
1970: reject where the largest posterior is below a threshold. Coverage is the share of
utterances that are answered.

Shapes: N utterances.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import numpy as np

from serplatform.arrays import BoolArray, DoubleArray
from serplatform.artifacts.ensemble import Answered, Curve
from serplatform.errors import BadInputError


class Operating(NamedTuple):
    """What a threshold does on some rows.

    Attributes:
        threshold: an utterance is answered when its confidence is at least this.
        coverage: share of utterances answered.
        accuracy: of those answered; None when none is.
    """

    threshold: float
    coverage: float
    accuracy: float | None


#: an accuracy is only trusted where at least so many dev rows are answered
LEAST_ANSWERED = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What a threshold is chosen for, on dev rows.

    Attributes:
        kind: ``accuracy`` of those answered, or ``coverage``.
        value: at least this, above 0 and at most 1.
    """

    kind: Literal["accuracy", "coverage"]
    value: float

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}"


#: wishes that the page answers beforehand
WISHES = (
    *(Wish(kind="coverage", value=value) for value in (0.9, 0.75, 0.5, 0.25)),
    *(Wish(kind="accuracy", value=value) for value in (0.6, 0.7, 0.8, 0.9, 0.95)),
)


def parse_wish(text: str) -> Wish:
    """Read ``accuracy=0.8`` or ``coverage=0.5``.

    Raises:
        BadInputError: it is neither, or the value is out of range.

    Example:
        >>> parse_wish("accuracy=0.8")
        Wish(kind='accuracy', value=0.8)
    """
    kind, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if kind not in ("accuracy", "coverage") or not 0.0 < value <= 1.0:
        raise BadInputError(
            f"--reject {text}: must be accuracy=A or coverage=C with a share above 0 and at most "
            "1, e.g. accuracy=0.8 (answer as many clips as possible with 80 % of the answers "
            "right on dev rows) or coverage=0.5 (answer half of the clips)"
        )
    return Wish(kind="accuracy" if kind == "accuracy" else "coverage", value=value)


def trusted(curve: Curve, rows: int) -> list[Operating]:
    """The points of a curve of so many dev rows that answer :data:`LEAST_ANSWERED` of them."""
    return [point for point in _points(curve) if point.coverage * rows >= LEAST_ANSWERED - 1e-9]


def grant(curve: Curve, wish: Wish, *, rows: int) -> Operating | None:
    """The threshold that a wish asks for.

    For an accuracy: the one of highest coverage that has it; for a coverage: the highest
    threshold that has it.

    Args:
        curve: of dev rows.
        wish: what is asked for.
        rows: dev rows behind the curve.

    Returns:
        None when no threshold that answers :data:`LEAST_ANSWERED` rows has the accuracy.

    Example:
        >>> curve = {"threshold": [0.9, 0.3], "coverage": [0.5, 1.0], "accuracy": [0.8, 0.6]}
        >>> grant(curve, Wish(kind="accuracy", value=0.7), rows=100).threshold
        0.9
        >>> grant(curve, Wish(kind="coverage", value=0.6), rows=100).threshold
        0.3
    """
    least = wish.value - 1e-12
    if wish.kind == "coverage":
        enough = [point for point in _points(curve) if point.coverage >= least]
        return max(enough, key=lambda point: point.threshold, default=None)
    right = [p for p in trusted(curve, rows) if p.accuracy is not None and p.accuracy >= least]
    return max(right, key=lambda point: point.coverage, default=None)


def _points(curve: Curve) -> list[Operating]:
    columns = curve["threshold"], curve["coverage"], curve["accuracy"]
    return [Operating(*values) for values in zip(*columns, strict=True)]


def answered(kept: BoolArray, correct: BoolArray) -> Answered:
    """Share of (N,) rows that are kept, and their accuracy; None where none is."""
    accuracy = float(correct[kept].mean()) if kept.any() else None
    return {"coverage": float(kept.mean()), "accuracy": accuracy}


def choose_threshold(
    confidence: DoubleArray, correct: BoolArray, *, error_share: float = 0.5
) -> Operating | None:
    """The threshold of highest coverage at which the error falls to a share of what it was.

    Args:
        confidence: (N,) posterior of the top class, dev rows.
        correct: (N,) whether the top class is right.
        error_share: error wanted among those answered, relative to the error among all.

    Returns:
        None when no threshold gets there.

    Example:
        >>> confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
        >>> correct = np.array([True, True, True, True, False, True])
        >>> choose_threshold(confidence, correct)  # error 1/6 over all, 0 above 0.5
        Operating(threshold=0.6, coverage=0.6666666666666666, accuracy=1.0)
    """
    wanted = (1.0 - float(correct.mean())) * error_share
    points = _points(coverage_accuracy_curve(confidence, correct, num_points=None))
    reached = [p for p in points if 1.0 - (p.accuracy or 0.0) <= wanted + 1e-12]
    return reached[-1] if reached else None


def coverage_accuracy_curve(
    confidence: DoubleArray, correct: BoolArray, *, num_points: int | None = 101
) -> Curve:
    """Accuracy of those answered against coverage, most confident first.

    Utterances of equal confidence are answered together. ``confidence`` (N,) is the posterior of
    the top class, ``correct`` (N,) whether it is right. Of all thresholds ``num_points`` are kept,
    for drawing; None keeps all. The last point is coverage 1.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # last of equal values
    if num_points is not None:
        last = last[np.unique(np.linspace(0, len(last) - 1, num_points).round().astype(np.int64))]
    count = last + 1.0
    return {
        "threshold": ranked[last].tolist(),
        "coverage": (count / len(confidence)).tolist(),
        "accuracy": (np.cumsum(correct[order])[last] / count).tolist(),
    }
