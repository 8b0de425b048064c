r"""Multinomial logistic regression with an L2 penalty on one vector an utterance.

.. math::

    \min_{W, b} \tfrac12 \lVert W \rVert^2
    - C \sum_n w_{y_n} \log \mathrm{softmax}(W x_n + b)_{y_n}

Fitted by scikit-learn (L-BFGS). Its own posteriors are too sure of themselves where vectors are
long and rows few: they are calibrated like those of ``svm``.

Shapes: B utterances, N training rows, F values a vector, P classes in the training rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from serplatform.arrays import DoubleArray, IntArray
from serplatform.config import setting
from serplatform.models.builders import architecture
from serplatform.models.pooled_classifier import Calibration, LinearClassifier, class_map

MOST_STEPS = 2_000  # of L-BFGS


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogisticConfig:
    """Settings of :class:`Logistic`."""

    C: float = setting(0.01, "weight of a training row against the penalty", low=1e-8, high=1e6)
    calibration: Literal["logistic", "temperature"] = setting(
        "temperature",
        "from scores to posteriors, fitted on held-out training speakers: multinomial logistic "
        "regression, or one temperature",
    )


@architecture(
    "logistic",
    LogisticConfig,
    training={"max_epochs": 1, "refit": True},
    data={"feature": "log_mel_40", "pooling": "utterance", "pooling_whole": "moments"},
)
class Logistic(LinearClassifier):
    """Logistic regression with calibrated posteriors."""

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        frame_shift: float,
        C: float,  # noqa: N803 - its name in the field
        calibration: Calibration,
    ) -> None:
        super().__init__(feature_dim, num_classes, frame_shift, calibration)
        self.strength = C

    def fit_scores(
        self,
        vectors: Tensor,
        labels: IntArray,
        weights: dict[int, float] | None,
        folds: Sequence[tuple[IntArray, IntArray]],
    ) -> tuple[dict[str, Tensor], Sequence[DoubleArray]]:
        """Fit by L-BFGS, from zero each time."""
        from sklearn.linear_model import LogisticRegression

        basis = None  # the penalty keeps the weights within the span of the rows
        if vectors.shape[1] > len(vectors):
            basis, triangle = torch.linalg.qr(vectors.T)  # (F, N) and (N, N)
            vectors = triangle.T
        rows = vectors.cpu().numpy()

        def fitted(x: DoubleArray, y: IntArray) -> tuple[DoubleArray, DoubleArray]:
            model = LogisticRegression(C=self.strength, class_weight=weights, max_iter=MOST_STEPS)
            return class_map(model.fit(x, y))

        held = []
        for fit, out in folds:
            found, intercepts = fitted(rows[fit], labels[fit])
            held.append(rows[out] @ found.T + intercepts)
        found, intercepts = fitted(rows, labels)
        learned = torch.from_numpy(found).to(vectors.device)
        if basis is not None:
            learned = learned @ basis.T
        return {"weights": learned, "intercepts": torch.from_numpy(intercepts)}, held
