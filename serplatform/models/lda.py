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
from serplatform.models.pooled_classifier import Calibration, LinearClassifier

#: least mean variance within classes: below it, the training rows of a class are all the same
LEAST_VARIANCE = 1e-12
#: values per row from which six fits by products of rows cost less than six by values
MANY_VALUES = 0.6


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
class Lda(LinearClassifier):
    """Shrinkage discriminant analysis with calibrated posteriors."""

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        frame_shift: float,
        shrinkage: float,
        calibration: Calibration,
    ) -> None:
        super().__init__(feature_dim, num_classes, frame_shift, calibration)
        self.shrinkage = shrinkage

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
        # where there are many values, one matrix of products of rows serves all fits
        many = rows.shape[1] > MANY_VALUES * len(rows)
        products = rows @ rows.T if many else None

        def fitted(part: IntArray) -> tuple[DoubleArray, DoubleArray]:
            """Weights and intercepts, or shares and intercepts where there are products."""
            chosen = (labels[part], importance[part], self.shrinkage)
            if products is None:
                return discriminant(rows[part], *chosen)
            return discriminant_shares(
                products[np.ix_(part, part)], *chosen, num_values=rows.shape[1]
            )

        def held_out(fit: IntArray, out: IntArray) -> DoubleArray:
            found, intercepts = fitted(fit)
            of_rows = rows[out] if products is None else products[np.ix_(out, fit)]
            return np.asarray(of_rows @ found.T + intercepts)

        found, intercepts = fitted(np.arange(len(labels)))
        weights_found = found if products is None else found @ rows
        values = {
            "weights": torch.from_numpy(weights_found),
            "intercepts": torch.from_numpy(intercepts),
        }
        return values, [held_out(fit, out) for fit, out in folds]


def discriminant(
    rows: DoubleArray, labels: IntArray, importance: DoubleArray, shrinkage: float
) -> tuple[DoubleArray, DoubleArray]:
    """Weights (P, F) and intercepts (P,) of (N, F) rows, their labels 0 to P - 1 and weights."""
    priors, to_means, importance = _shares(labels, importance)
    means = to_means @ rows  # (P, F)
    spread = (rows - means[labels]) * np.sqrt(importance)[:, None]  # Σ = spreadᵀ spread
    num_values = rows.shape[1]
    ridge = shrinkage * max(float(np.square(spread).sum()) / num_values, LEAST_VARIANCE)
    covariance = (1 - shrinkage) * (spread.T @ spread) + ridge * np.eye(num_values)
    found = np.linalg.solve(covariance, means.T).T
    return found, np.log(priors) - 0.5 * np.einsum("pf,pf->p", found, means)


def discriminant_shares(
    products: DoubleArray,
    labels: IntArray,
    importance: DoubleArray,
    shrinkage: float,
    *,
    num_values: int,
) -> tuple[DoubleArray, DoubleArray]:
    """The same by the (N, N) scalar products of the rows: the weights are ``shares @ rows``.

    Returns:
        shares (P, N) and intercepts (P,).
    """
    priors, to_means, importance = _shares(labels, importance)
    root = np.sqrt(importance)[:, None]
    half = (products - (to_means @ products)[labels]) * root  # spread · rowsᵀ, (N, N)
    gram = (half - (half @ to_means.T)[:, labels]) * root.T  # spread · spreadᵀ
    ridge = shrinkage * max(float(np.trace(gram)) / num_values, LEAST_VARIANCE)
    share = 1 - shrinkage
    system = share * gram + ridge * np.eye(len(labels))
    weighted = np.linalg.solve(system, half @ to_means.T).T * root.T  # (P, N), of centred rows
    of_class = np.stack([weighted[:, labels == k].sum(axis=1) for k in range(len(priors))], axis=1)
    shares = (to_means - share * (weighted - of_class @ to_means)) / ridge
    return shares, np.log(priors) - 0.5 * np.einsum("pn,pn->p", shares @ products, to_means)


def _shares(
    labels: IntArray, importance: DoubleArray
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Priors (P,), what means are of rows (P, N), and weights (N,) of sum 1."""
    importance = importance / importance.sum()
    of_class = np.eye(labels.max() + 1)[labels] * importance[:, None]  # (N, P)
    priors = of_class.sum(axis=0)
    return priors, (of_class / priors).T, importance
