r"""A support vector machine on one vector an utterance, the field's oldest strong system.

Schuller et al., "The INTERSPEECH 2016 Computational Paralinguistics Challenge", on functionals; on
mean and deviation of a frozen speech encoder's frames it is the usual first judgement of it.
Fitted by scikit-learn (libsvm): one machine for each pair of classes i < j,

.. math:: f_{ij}(x) = \sum_s \alpha_{s, ij}\, k(x, x_s) + b_{ij}, \qquad
          k(x, y) = \exp(-\gamma \lVert x - y \rVert^2) \text{ or } \gamma\, x \cdot y

positive for i; with γ in both, one range of costs serves both. A class's score is the sum of the
values of its pairs.

Shapes: B utterances, N training rows, S support vectors, F values a vector, P classes in the
training rows, Q = P (P - 1) / 2 pairs of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from serplatform.arrays import DoubleArray, IntArray
from serplatform.config import setting
from serplatform.errors import BadInputError
from serplatform.models.builders import architecture
from serplatform.models.pooled_classifier import Calibration, PooledClassifier

#: training rows at most: kernel values between all of them are held in memory, 8 bytes each
MOST_ROWS = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SvmConfig:
    """Settings of :class:`Svm`."""

    kernel: Literal["rbf", "linear"] = setting("rbf", "Gaussian, or the scalar product")
    C: float = setting(10.0, "cost of a training row on the wrong side", low=1e-6, high=1e6)
    gamma: float = setting(
        1.0,
        "of the kernel, as a multiple of 1 / (F · variance of the training vectors); of the linear "
        "one, the cost does the same",
        low=1e-4,
        high=1e4,
    )
    calibration: Literal["logistic", "temperature"] = setting(
        "logistic",
        "from scores to posteriors, fitted on held-out training speakers: multinomial logistic "
        "regression, or one temperature",
    )


@architecture(
    "svm",
    SvmConfig,
    reference="an SVM on pooled features, as in ComParE, Interspeech 2016",
    training={"max_epochs": 1, "refit": True},
    data={"feature": "log_mel_40", "pooling": "utterance", "pooling_whole": "moments"},
)
class Svm(PooledClassifier):
    """Pairwise support vector machines with calibrated posteriors."""

    gamma: Tensor
    support_vectors: Tensor
    coefficients: Tensor
    weights: Tensor
    intercepts: Tensor

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        frame_shift: float,
        kernel: Literal["rbf", "linear"],
        C: float,  # noqa: N803 - its name in the field
        gamma: float,
        calibration: Calibration,
    ) -> None:
        super().__init__(feature_dim, num_classes, frame_shift, calibration)
        self.kernel = kernel
        self.cost = C
        self.gamma_multiple = gamma
        if kernel == "rbf":
            self.declare("gamma", 1)
            self.declare("support_vectors", "S", self.size, dtype=torch.float32)
            self.declare("coefficients", "S", "Q")
        else:
            self.declare("weights", "Q", self.size)
        self.declare("intercepts", "Q")

    def pair_values(self, vectors: Tensor) -> Tensor:
        """(B, F) to (B, Q), pairs in the order 01, 02, …, 12, …; positive for the first.

        It is scikit-learn's ``decision_function`` of shape ``ovo``, for two classes its negative.
        """
        if self.kernel == "linear":
            return vectors @ self.weights.double().T + self.intercepts
        kernel = gaussian(vectors, self.support_vectors.double(), self.gamma.double())
        return kernel @ self.coefficients.double() + self.intercepts

    def scores(self, vectors: Tensor) -> Tensor:
        """(B, F) to (B, P)."""
        return self.pair_values(vectors) @ pair_signs(len(self.present)).to(vectors.device)

    def fit_scores(
        self,
        vectors: Tensor,
        labels: IntArray,
        weights: dict[int, float] | None,
        folds: Sequence[tuple[IntArray, IntArray]],
    ) -> tuple[dict[str, Tensor], Sequence[DoubleArray]]:
        """Fit all machines on one matrix of kernel values."""
        if len(vectors) > MOST_ROWS:
            raise BadInputError(
                f"svm: {len(vectors):,} training rows; its kernel matrix is held in memory for at "
                f"most {MOST_ROWS:,}: train logistic, or on a part of the data"
            )
        gamma = self.gamma_multiple / (
            vectors.shape[1] * vectors.var(correction=0).clamp(min=1e-12)
        )
        if self.kernel == "linear":
            kernel = (gamma * vectors @ vectors.T).cpu().numpy()
        else:
            kernel = gaussian(vectors, vectors, gamma).cpu().numpy()
        signs = pair_signs(int(labels.max()) + 1).numpy()
        held = []
        for fit, out in folds:
            found, intercepts = fit_pairs(kernel[np.ix_(fit, fit)], labels[fit], self.cost, weights)
            held.append((kernel[np.ix_(out, fit)] @ found + intercepts) @ signs)
        found, intercepts = fit_pairs(kernel, labels, self.cost, weights)
        coefficients = torch.from_numpy(found).to(vectors.device)
        values = {"intercepts": torch.from_numpy(intercepts)}
        if self.kernel == "linear":
            return {**values, "weights": gamma * coefficients.T @ vectors}, held
        used = coefficients.any(dim=1)
        return {
            **values,
            "gamma": gamma[None],
            "support_vectors": vectors[used].float(),  # as exact as they came
            "coefficients": coefficients[used],
        }, held


def gaussian(x: Tensor, y: Tensor, gamma: Tensor) -> Tensor:
    """Kernel values between (B, F) and (S, F) vectors, (B, S)."""
    squares = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1) - 2.0 * x @ y.T
    return (-gamma * squares.clamp(min=0.0)).exp()


def pair_signs(num_classes: int) -> Tensor:
    """(Q, P): what a pair's value says of each class.

    Example:
        >>> pair_signs(3).tolist()
        [[1.0, -1.0, 0.0], [1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]
    """
    first, second = torch.triu_indices(num_classes, num_classes, offset=1)
    one_hot = torch.eye(num_classes, dtype=torch.float64)
    return one_hot[first] - one_hot[second]


def fit_pairs(
    kernel: DoubleArray, labels: IntArray, cost: float, weights: dict[int, float] | None
) -> tuple[DoubleArray, DoubleArray]:
    """Fit on (N, N) kernel values; what :func:`machines` gives."""
    from sklearn.svm import SVC

    svc = SVC(kernel="precomputed", C=cost, class_weight=weights, cache_size=1000)
    return machines(svc.fit(kernel, labels), labels)


def machines(svc: Any, labels: IntArray) -> tuple[DoubleArray, DoubleArray]:
    """Coefficients (N, Q) of all training rows and intercepts (Q,) of the pairs of a fitted SVC."""
    count = len(svc.classes_)
    sign = -1.0 if count == 2 else 1.0  # a single pair's value is for the second in scikit-learn
    first, second = np.triu_indices(count, 1)
    of = np.searchsorted(svc.classes_, labels[svc.support_])  # (S,) class of each support vector
    coefficients = np.zeros((len(labels), len(first)))
    for pair, (i, j) in enumerate(zip(first, second, strict=True)):
        # row j - 1 holds what a vector of class i has against class j, row i that of j against i
        chosen = np.where(of == i, svc.dual_coef_[j - 1], np.where(of == j, svc.dual_coef_[i], 0))
        coefficients[svc.support_, pair] = sign * chosen
    return coefficients, sign * svc.intercept_
