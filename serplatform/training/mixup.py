r"""Mixup: training on weighted sums of two utterances and of their labels.

Zhang, Cissé, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018:

.. math::

    \tilde x = \lambda x_i + (1 - \lambda) x_j, \qquad
    \tilde y = \lambda y_i + (1 - \lambda) y_j, \qquad
    \lambda \sim \mathrm{Beta}(\alpha, \alpha)

Frames are mixed from their first on; the longer of the two lengths holds, and the shorter
utterance is zero beyond its end, which is the mean where frames are standardised. One λ an
utterance.

A model is given labels that are rows of a table of soft targets, and a criterion that looks
them up: a model that cuts utterances into pieces and repeats their labels needs no change.

Shapes: B utterances, T frames, K classes, N items that the loss is computed of.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from serplatform.models.base import Batch, Criterion


class SoftCriterion(Criterion):
    """Cross-entropy with soft targets; labels are rows of the table.

    Args:
        targets: (B, K), rows with sum 1.
        hard: its class weights and label smoothing are kept.
    """

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

    Draws from torch's global random state.

    Args:
        batch: of audio; it is left as it is.
        criterion: of hard labels.
        num_classes: K.
        alpha: of the Beta distribution, above 0; small values mix little.

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
