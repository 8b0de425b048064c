r"""Per-utterance losses: class weights, soft targets of mixup, and the one number minimised.

The loss of a batch is the weighted mean that ``torch.nn.functional.cross_entropy`` computes,

.. math:: L = \frac{\sum_i \ell_i}{\sum_i w_{y_i}}

where :math:`\ell_i` already holds its class weight and :math:`w = 1` without class weights.
Workers which hold a shard each divide by the sum over the whole batch.

Mixup trains on weighted sums of two utterances and of their labels, Zhang, Cissé, Dauphin and
Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018:

.. math::

    \tilde x = \lambda x_i + (1 - \lambda) x_j, \qquad
    \tilde y = \lambda y_i + (1 - \lambda) y_j, \qquad
    \lambda \sim \mathrm{Beta}(\alpha, \alpha)

Frames are mixed from their first on, the shorter utterance being zero beyond its end, and one λ is
drawn an utterance. Labels become rows of a table of soft targets, and the criterion looks them up:
a model that cuts utterances into pieces and repeats their labels needs no change.

Shapes: B utterances, T frames, K classes, N items that the loss is computed of.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from serplatform.arrays import IntArray
from serplatform.models.base import Batch, Criterion


def class_weights(
    kind: Literal["none", "balanced"], labels: IntArray, num_classes: int
) -> Tensor | None:
    """(K,) weights of the classes from the (N,) training labels, or None for ``"none"``.

    ``"balanced"`` gives :math:`w_k = N / (C n_k)`, where C is the number of classes that occur:
    their mean over the rows is 1. A class that does not occur gets 0.

    Example:
        >>> class_weights("balanced", np.array([0, 0, 0, 1]), 2)
        tensor([0.6667, 2.0000])
    """
    if kind == "none":
        return None
    counts = np.bincount(labels, minlength=num_classes)
    occurring = np.count_nonzero(counts)
    weights = np.divide(
        len(labels), occurring * counts, out=np.zeros(num_classes), where=counts > 0
    )
    return torch.tensor(weights, dtype=torch.float32)


def denominator(weights: Tensor | None, labels: IntArray) -> float:
    """Sum of the class weights of a whole batch's labels; without weights, their number."""
    if weights is None:
        return float(len(labels))
    return float(weights.double().numpy()[labels].sum())


class SoftCriterion(Criterion):
    """Cross-entropy with (B, K) soft targets, weighed as ``hard`` is; labels are rows of them."""

    def __init__(self, targets: Tensor, hard: Criterion) -> None:
        super().__init__(hard.class_weights, hard.label_smoothing)
        self.targets = targets

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, K) and (N,) rows of the table to (N,) weighted losses."""
        return nn.functional.cross_entropy(
            logits,
            self.targets[labels].to(logits.dtype),
            weight=None if self.class_weights is None else self.class_weights.to(logits),
            label_smoothing=self.label_smoothing,
            reduction="none",
        )

    def weights_of(self, labels: Tensor) -> Tensor | None:
        """(N,) expected class weight of each item's target, or None."""
        if self.class_weights is None:
            return None
        targets = self.targets[labels]
        return targets @ self.class_weights.to(targets)


def mix(
    batch: Batch, criterion: Criterion, num_classes: int, alpha: float
) -> tuple[Batch, SoftCriterion]:
    """Mix every utterance of a batch with another of the same batch.

    Draws from torch's global random state; ``alpha`` is of the Beta distribution.

    Returns:
        the mixed batch, whose labels are 0 to B - 1, and the criterion that understands them.
    """
    count, device = len(batch), batch.frames.device
    shares = torch.distributions.Beta(alpha, alpha).sample((count,)).to(device)  # (B,)
    partner = torch.randperm(count).to(device)
    share = shares.to(batch.frames.dtype).view(-1, 1, 1)
    frames = share * batch.frames + (1 - share) * batch.frames[partner]  # (B, T, D)
    hard = nn.functional.one_hot(batch.labels, num_classes).to(frames.dtype)  # (B, K)
    targets = share.squeeze(2) * hard + (1 - share.squeeze(2)) * hard[partner]
    mixed = dataclasses.replace(
        batch,
        frames=frames,
        lengths=torch.maximum(batch.lengths, batch.lengths[partner]),
        labels=torch.arange(count, device=device),
    )
    return mixed, SoftCriterion(targets, criterion)
