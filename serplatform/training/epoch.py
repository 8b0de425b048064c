"""What one epoch of training gives, or why it cannot."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from serplatform.errors import BadInputError, SerplatformError


class TrainingDiverged(SerplatformError):  # noqa: N818 - an outcome of training, not a fault
    """The loss or the posteriors are no longer finite numbers."""


def diverged(architecture: str, what: str, epoch: int, rate: float) -> TrainingDiverged:
    """The error of a loss or of posteriors (``what``) that are not finite, with its remedy."""
    return TrainingDiverged(
        f"{architecture}: the {what} became infinite or not a number in epoch {epoch} at learning "
        f"rate {rate:g}; lower training.learning_rate or set training.gradient_clip"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What one epoch gave.

    Attributes:
        epoch: from 1.
        train_loss: weighted mean of the per-utterance losses, dropout and augmentation on.
        learning_rate: of the epoch's first step; None for a fit in closed form.
        dev: every metric of ``metrics.classification_metrics`` on the dev rows.
        seconds: training and evaluation.
        padded_share: share of the padded training frames that are padding.
        averaged_dev: of the weights averaged over ``training.swa_epochs``, after the last epoch.
    """

    epoch: int
    train_loss: float
    learning_rate: float | None
    dev: dict[str, float]
    seconds: float
    padded_share: float
    averaged_dev: dict[str, float] | None = None


def check_shape(
    architecture: str, name: str, values: Tensor | None, wanted: tuple[int, int]
) -> None:
    """Refuse an output of another shape than (B, K) with a sentence that names the model."""
    shape = None if values is None else tuple(values.shape)
    if shape != wanted:
        raise BadInputError(
            f"{architecture}: its {name} are of shape {shape}, where a batch of "
            f"{wanted[0]} utterances and {wanted[1]} classes needs {wanted}"
        )
