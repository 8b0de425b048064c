"""Stacking: a regularised multinomial logistic regression on members' log posteriors.

Shapes: M members, N utterances, K classes, F stacked members, P classes in the fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from serplatform.arrays import DoubleArray, IntArray
from serplatform.artifacts.combiner import StackingParameters
from serplatform.ensembles.base import COMBINERS, Combiner, PosteriorSet
from serplatform.ensembles.dev_selection import (
    grouped_folds,
    objective_value,
    objective_values,
)

#: inverse strengths of the penalty that inner cross-validation chooses from, strongest first
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

#: log posteriors are floored at log(1e-6): a member's certainty beyond it is no evidence
STACKING_FLOOR = 1e-6


def centred_log_posteriors(posteriors: DoubleArray) -> DoubleArray:
    """(F, N, K) to (N, F·K): logs minus their mean over classes; 0 for a member that says 1/K."""
    logs = np.log(np.maximum(posteriors, STACKING_FLOOR))
    logs -= logs.mean(axis=2, keepdims=True)
    return np.asarray(logs.transpose(1, 0, 2).reshape(posteriors.shape[1], -1), dtype=np.float64)


class Regression(NamedTuple):
    """Coefficients (P, F·K), intercepts (P,) and the P classes that the fit saw."""

    coefficients: DoubleArray
    intercepts: DoubleArray
    present: IntArray

    def posteriors(self, features: DoubleArray, num_classes: int) -> DoubleArray:
        """(N, F·K) features to (N, K)."""
        logits = features @ self.coefficients.T + self.intercepts  # (N, P)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        posteriors = np.zeros((len(features), num_classes))
        posteriors[:, self.present] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return posteriors


@COMBINERS.register("stacking")
class Stacking(Combiner):
    """Learn what each member's opinion on each class is worth for each class.

    Wolpert, "Stacked Generalization", Neural Networks 5(2), 1992; with class posteriors as
    features: Ting and Witten, "Issues in Stacked Generalization", JAIR 10, 1999.

    The members are those with the best dev objective, ``max_members`` at most. The penalty's
    strength is chosen by cross-validation inside the dev rows with whole speakers held out.
    Classes are balanced when the objective is UAR. A class that no dev row has gets posterior 0.

    Args:
        objective: of the choice of strength and members.
        seed: unused; nothing is drawn.
        max_members: F at most.
    """

    auto_rank = 4
    parameters_kind = StackingParameters

    def __init__(self, *, objective: str = "uar", seed: int = 0, max_members: int = 50) -> None:
        super().__init__(objective=objective, seed=seed)
        self.max_members = max_members
        self._used: IntArray = np.zeros(0, dtype=np.int64)
        self._model = Regression(np.zeros((0, 0)), np.zeros(0), np.zeros(0, dtype=np.int64))
        self._strength = STRENGTHS[0]
        self._held_out = "none"

    def _fit(self, dev: PosteriorSet) -> None:
        values = objective_values(self.objective, dev.truth, dev.posteriors)
        ranked = sorted(dev.member_order().tolist(), key=lambda m: (-values[m][0], -values[m][1]))
        self._used = np.array(ranked[: self.max_members], dtype=np.int64)
        features = centred_log_posteriors(dev.posteriors[self._used])
        num_classes = len(dev.classes)
        self._strength = self._choose_strength(features, dev, num_classes)
        self._model = self._regress(features, dev.truth, self._strength)
        blocks = self._model.coefficients.reshape(-1, len(self._used), num_classes)
        sizes = np.sqrt(np.square(blocks).sum(axis=(0, 2)))
        self._weights = np.zeros(len(dev.members))
        total = sizes.sum()
        self._weights[self._used] = sizes / total if total > 0 else 1.0 / len(sizes)

    def _choose_strength(self, features: DoubleArray, dev: PosteriorSet, num_classes: int) -> float:
        folds, self._held_out = grouped_folds(dev.speaker_ids, dev.utterance_ids)
        best_value, best = (-np.inf, -np.inf), STRENGTHS[0]
        if not folds:
            return best
        for strength in STRENGTHS:
            held_out = np.zeros((dev.truth.size, num_classes))
            for fit_rows, rows in folds:
                model = self._regress(features[fit_rows], dev.truth[fit_rows], strength)
                held_out[rows] = model.posteriors(features[rows], num_classes)
            value = objective_value(self.objective, dev.truth, held_out)
            if value > best_value:
                best_value, best = value, strength
        return best

    def _regress(self, features: DoubleArray, truth: IntArray, strength: float) -> Regression:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        present = np.unique(truth).astype(np.int64)
        if len(present) == 1:
            return Regression(np.zeros((1, features.shape[1])), np.zeros(1), present)
        model = LogisticRegression(
            C=strength,
            class_weight="balanced" if self.objective == "uar" else None,
            max_iter=500,
            tol=1e-6,
        )
        with warnings.catch_warnings():
            # Short of the last digits after 500 steps is near enough for a penalised fit.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features, truth)
        coefficients, intercepts = model.coef_, model.intercept_
        if len(present) == 2:  # scikit-learn keeps the second class's logit only
            coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
            intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
        return Regression(coefficients.astype(np.float64), intercepts.astype(np.float64), present)

    @property
    def regression(self) -> tuple[list[int], Regression]:
        """Positions of the F stacked members, and what is made of their log posteriors."""
        return self._used.tolist(), self._model

    def combine(self, posteriors: DoubleArray) -> DoubleArray:
        """(M, N, K) to (N, K)."""
        self.weights()  # raises where nothing was fitted
        features = centred_log_posteriors(posteriors[self._used])
        return self._model.posteriors(features, posteriors.shape[2])

    def fits(self, num_members: int, num_classes: int) -> bool:
        """Whether the coefficients are of so many members and classes."""
        coefficients, intercepts, present = self._model
        return (
            super().fits(num_members, num_classes)
            and coefficients.shape == (present.size, self._used.size * num_classes)
            and intercepts.shape == present.shape
            and 0 < present.size <= num_classes > present.max()
            and 0 < self._used.size <= num_members > self._used.max()
        )

    def _state(self) -> dict[str, Any]:
        return {
            "objective": self.objective,
            "used": self._used.tolist(),
            "present": self._model.present.tolist(),
            "coefficients": self._model.coefficients.tolist(),
            "intercepts": self._model.intercepts.tolist(),
            "strength": self._strength,
            "held_out_by": self._held_out,
        }

    def _restore(self, parameters: Mapping[str, Any]) -> None:
        super()._restore(parameters)
        self._used = np.asarray(parameters["used"], dtype=np.int64)
        rows = parameters["coefficients"]
        even = len(set(map(len, rows))) == 1  # others fit nothing
        self._model = Regression(
            np.asarray(rows if even else np.zeros((0, 0)), dtype=np.float64),
            np.asarray(parameters["intercepts"], dtype=np.float64),
            np.asarray(parameters["present"], dtype=np.int64),
        )
        self._strength = parameters["strength"]
        self._held_out = parameters["held_out_by"]
