"""What an epoch of training gave, or that it went astray."""

from __future__ import annotations

import dataclasses

from serplatform.errors import SerplatformError


class TrainingDiverged(SerplatformError):  # noqa: N818 - an outcome of training, not a fault
    """The loss or the posteriors are no longer finite numbers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What one epoch gave.

    Attributes:
        epoch: from 1.
        train_loss: weighted mean of the per-utterance losses, dropout and augmentation on.
        learning_rate: of the epoch's first step.
        dev: every metric of ``metrics.classification_metrics`` on the dev rows.
        seconds: training and evaluation.
        padded_share: share of the padded training frames that are padding.
        averaged_dev: the same of the averaged weights (``training.swa_epochs``), after the last
            epoch; else None.
    """

    epoch: int
    train_loss: float
    learning_rate: float
    dev: dict[str, float]
    seconds: float
    padded_share: float
    averaged_dev: dict[str, float] | None = None
