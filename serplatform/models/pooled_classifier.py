"""What classifiers of one vector an utterance have in common: pooling, and calibration.

Posteriors come of scores by an affine map and a softmax,

.. math:: p = \\mathrm{softmax}(W s + b)

which is fitted to the scores of training rows that were held out, speakers apart, in an inner
cross-validation (Platt, "Probabilistic Outputs for Support Vector Machines", 1999, for two classes;
temperature scaling, Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, Eq. (9), is
W = I / T, b = 0). No dev or test row takes part.

Shapes: B utterances, N training rows, F values a vector, K classes, P of them in the training rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from serplatform.arrays import DoubleArray, IntArray
from serplatform.errors import BadInputError
from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.models.base import Batch, ClosedFormModel, Criterion, ModelOutput
from serplatform.models.functionals_mlp import moments
from serplatform.models.layers.masks import valid_steps

Calibration = Literal["logistic", "temperature"]

#: folds of the inner cross-validation, at most
INNER_FOLDS = 5
#: inverse strength of the penalty on the weights of the calibration, scores of deviation 1
CALIBRATION_STRENGTH = 0.1
#: range of the temperature
TEMPERATURES = (0.1, 10.0)


class PooledClassifier(ClosedFormModel):
    """Mean and deviation over frames, or one vector as it is; scores; calibrated posteriors."""

    present: Tensor
    unseen: Tensor
    calibration: Tensor
    offset: Tensor

    def __init__(
        self, feature_dim: int, num_classes: int, frame_shift: float, calibration: Calibration
    ) -> None:
        super().__init__()
        self.summed_up = frame_shift >= WHOLE_UTTERANCE  # taken as it is
        self.size = feature_dim if self.summed_up else 2 * feature_dim
        self.num_classes = num_classes
        self.method: Calibration = calibration
        self.declare("present", "P", dtype=torch.int64)
        self.declare("unseen", 1)
        self.declare("calibration", "P", "P")
        self.declare("offset", "P")

    @abstractmethod
    def fit_scores(
        self,
        vectors: Tensor,
        labels: IntArray,
        weights: dict[int, float] | None,
        folds: Sequence[tuple[IntArray, IntArray]],
    ) -> tuple[dict[str, Tensor], Sequence[DoubleArray]]:
        """Fit to all rows and, besides, to the first rows of each fold.

        Args:
            vectors: (N, F), float64.
            labels: (N,) 0 to P - 1, each at least once, also in the first rows of a fold.
            weights: of each label, or None.
            folds: rows to fit to and rows held out.

        Returns:
            the values of the declared buffers, and the scores of the rows held out, (n, P) a fold.
        """

    @abstractmethod
    def scores(self, vectors: Tensor) -> Tensor:
        """(B, F) to (B, P) in float64."""

    def vectors(self, batch: Batch) -> Tensor:
        """(B, F) in float64, as exact as the frames' own type."""
        frames = batch.frames
        if self.summed_up:
            return frames[:, 0].double()
        valid = valid_steps(batch.lengths, frames.shape[1])
        return moments(frames.double(), valid).to(frames.dtype).double()

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a batch of utterances."""
        if not len(self.present):
            raise RuntimeError("the model is not fitted yet")
        scores = self.scores(self.vectors(batch))
        known = (scores @ self.calibration.double().T + self.offset).log_softmax(dim=1)  # (B, P)
        unseen = self.num_classes - len(self.present)
        shape = (scores.shape[0], self.num_classes)
        logits = self.unseen.double().log().expand(shape).clone()  # (B, K)
        logits[:, self.present] = known + torch.log1p(-unseen * self.unseen.double())
        return ModelOutput.of(logits.to(batch.frames.dtype))

    def fit(self, batches: Iterable[Batch], groups: IntArray, class_weights: Tensor | None) -> None:
        """Fit scores and calibration; a class without a training row gets 1 / (N + K)."""
        pooled, targets = zip(*((self.vectors(b), b.labels) for b in batches), strict=True)
        vectors, labels = torch.cat(pooled), torch.cat(targets).cpu().numpy()
        present, codes = np.unique(labels, return_inverse=True)
        if len(present) < 2:
            raise BadInputError(
                f"the {len(labels)} training rows are of one class only; a classifier needs two"
            )
        weights = None
        if class_weights is not None:
            weights = {code: float(class_weights[row]) for code, row in enumerate(present)}
        folds = inner_folds(codes, groups)
        values, held = self.fit_scores(vectors, codes, weights, folds)
        matrix, offset = np.eye(len(present)), np.zeros(len(present))
        if folds:
            truth = np.concatenate([codes[out] for _, out in folds])
            matrix, offset = calibrate(np.concatenate(held), truth, self.method, weights)
        self.learned(
            present=torch.from_numpy(present),
            unseen=torch.tensor([1.0 / (len(labels) + self.num_classes)]),
            calibration=torch.from_numpy(matrix),
            offset=torch.from_numpy(offset),
            **values,
        )


class LinearClassifier(PooledClassifier):
    """Scores are linear in the vector."""

    weights: Tensor
    intercepts: Tensor

    def __init__(
        self, feature_dim: int, num_classes: int, frame_shift: float, calibration: Calibration
    ) -> None:
        super().__init__(feature_dim, num_classes, frame_shift, calibration)
        self.declare("weights", "P", self.size)
        self.declare("intercepts", "P")

    def scores(self, vectors: Tensor) -> Tensor:
        return vectors @ self.weights.double().T + self.intercepts


def inner_folds(labels: IntArray, groups: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Rows to fit to and rows held out; groups stay whole.

    A fold whose first part lacks a class is left out: its scores would be of another problem.
    Without a fold, scores are taken as logits.

    Example:
        >>> inner_folds(np.array([0, 1, 0, 1]), np.array([3, 3, 8, 8]))
        [(array([0, 1]), array([2, 3])), (array([2, 3]), array([0, 1]))]
    """
    from sklearn.model_selection import GroupKFold

    count = min(INNER_FOLDS, len(np.unique(groups)))
    if count < 2:
        return []
    cut = GroupKFold(count).split(labels, groups=groups)
    complete = len(np.unique(labels))
    return [(fit, out) for fit, out in cut if len(np.unique(labels[fit])) == complete]


def calibrate(
    scores: DoubleArray,
    labels: IntArray,
    method: Calibration,
    weights: dict[int, float] | None = None,
) -> tuple[DoubleArray, DoubleArray]:
    """The map W (P, P) and b (P,) of (N, P) scores and (N,) labels.

    ``logistic`` is a penalised regression, unsure where rows are few. Where a class has no row
    among them there is one temperature, whatever the method.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp
    from sklearn.linear_model import LogisticRegression

    num_classes = scores.shape[1]
    if method == "logistic" and len(np.unique(labels)) == num_classes:
        scale = scores.std()
        model = LogisticRegression(C=CALIBRATION_STRENGTH, class_weight=weights, max_iter=10_000)
        matrix, offset = class_map(model.fit(scores / scale, labels))
        return matrix / scale, offset
    importance = np.ones(len(labels)) if weights is None else np.vectorize(weights.get)(labels)
    gaps = scores - scores[np.arange(len(labels)), labels][:, None]  # the true class is at 0

    def loss(log_temperature: float) -> float:
        return float(importance @ logsumexp(gaps / np.exp(log_temperature), axis=1))

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return np.eye(num_classes) / np.exp(found.x), np.zeros(num_classes)


def class_map(model: Any) -> tuple[DoubleArray, DoubleArray]:
    """Weights (P, F) and intercepts (P,) of a fitted linear model of scikit-learn, whose two
    classes share one row."""
    weights, intercepts = model.coef_, model.intercept_
    if len(intercepts) == 1:
        half = np.array([-0.5, 0.5])
        return half[:, None] * weights, half * intercepts
    return weights, intercepts
