r"""Linear discriminant analysis with a shrunken covariance, on one vector an utterance.

With the classes' means m_k and shares \pi_k of the (weighted) training rows, and the covariance
within classes \Sigma (Friedman, "Regularized Discriminant Analysis", 1989; Ledoit and Wolf 2004
for its target),

.. math::

    s_k = m_k^\top S^{-1} x - \tfrac12 m_k^\top S^{-1} m_k + \log \pi_k, \qquad
    S = (1 - \lambda) \Sigma + \lambda \tfrac{\operatorname{tr} \Sigma}{F} I

as scikit-learn's ``LinearDiscriminantAnalysis(solver="lsqr", shrinkage=λ)`` does it, but solved
among the N rows (Woodbury), so that vectors of many layers cost no more than their rows.

Shapes: B utterances, N training rows, F values a vector, P classes in the training rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from serplatform.arrays import DoubleArray, IntArray
from serplatform.config import setting
from serplatform.models.builders import architecture
from serplatform.models.pooled_classifier import Calibration, PooledClassifier

#: least mean variance within classes: below it, the training rows of a class are all the same
LEAST_VARIANCE = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class LdaConfig:
    """Settings of :class:`Lda`."""

    shrinkage: float = setting(
        0.5, "share of the spherical covariance in the covariance within classes", low=1e-4, high=1
    )
    calibration: Literal["logistic", "temperature"] = setting(
        "temperature",
        "from scores to posteriors, fitted on held-out training speakers: multinomial logistic "
        "regression, or one temperature",
    )


@architecture(
    "lda",
    LdaConfig,
    reference="Friedman, Regularized Discriminant Analysis, 1989",
    training={"max_epochs": 1, "refit": True},
    data={"feature": "log_mel_40", "pooling": "utterance", "pooling_whole": "moments"},
)
class Lda(PooledClassifier):
    """Shrinkage discriminant analysis with calibrated posteriors."""

    weights: Tensor
    intercepts: Tensor

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        frame_shift: float,
        shrinkage: float,
        calibration: Calibration,
    ) -> None:
        super().__init__(
            feature_dim=feature_dim,
            num_classes=num_classes,
            frame_shift=frame_shift,
            calibration=calibration,
        )
        self.shrinkage = shrinkage
        self.declare("weights", "P", self.size)
        self.declare("intercepts", "P")

    def scores(self, vectors: Tensor) -> Tensor:
        """(B, F) to (B, P) discriminant scores."""
        return vectors @ self.weights.double().T + self.intercepts

    def fit_scores(
        self,
        vectors: Tensor,
        labels: IntArray,
        weights: dict[int, float] | None,
        folds: Sequence[tuple[IntArray, IntArray]],
    ) -> tuple[dict[str, Tensor], Sequence[DoubleArray]]:
        """Solve for all rows, and for the first rows of each fold."""
        rows: DoubleArray = vectors.cpu().numpy()
        importance = np.ones(len(labels))
        if weights is not None:
            importance = np.vectorize(weights.get, otypes=[float])(labels)

        def fitted(part: IntArray) -> tuple[DoubleArray, DoubleArray]:
            return discriminant(rows[part], labels[part], importance[part], self.shrinkage)

        held = []
        for fit, out in folds:
            found, intercepts = fitted(fit)
            held.append(rows[out] @ found.T + intercepts)
        found, intercepts = fitted(np.arange(len(labels)))
        values = {"weights": torch.from_numpy(found), "intercepts": torch.from_numpy(intercepts)}
        return values, held


def discriminant(
    rows: DoubleArray, labels: IntArray, importance: DoubleArray, shrinkage: float
) -> tuple[DoubleArray, DoubleArray]:
    """Weights (P, F) and intercepts (P,) of (N, F) rows, their labels 0 to P - 1 and weights."""
    importance = importance / importance.sum()
    of_class = np.eye(labels.max() + 1)[labels] * importance[:, None]  # (N, P)
    priors = of_class.sum(axis=0)
    means = (of_class / priors).T @ rows  # (P, F)
    spread = (rows - means[labels]) * np.sqrt(importance)[:, None]  # Σ = spreadᵀ spread
    num_values = rows.shape[1]
    ridge = shrinkage * max(float(np.square(spread).sum()) / num_values, LEAST_VARIANCE)
    share = 1 - shrinkage
    if num_values <= len(rows):
        covariance = share * (spread.T @ spread) + ridge * np.eye(num_values)
        found = np.linalg.solve(covariance, means.T).T
    else:
        gram = share * (spread @ spread.T) + ridge * np.eye(len(rows))
        inner = np.linalg.solve(gram, spread @ means.T)  # (N, P)
        found = (means - share * inner.T @ spread) / ridge
    return found, np.log(priors) - 0.5 * np.einsum("pf,pf->p", found, means)
