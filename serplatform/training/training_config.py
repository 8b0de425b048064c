"""How a model is trained: optimiser, schedule, batches, stopping, precision."""

from __future__ import annotations

import dataclasses
from typing import Literal

from serplatform.config import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Training settings; an architecture states where its paper differs from these."""

    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = setting(
        "adam", "rule that turns gradients into steps"
    )
    learning_rate: float = setting(1e-3, "step size at the start (the peak of one_cycle)", low=0.0)
    weight_decay: float = setting(
        0.0, "pull of the weights to zero: decoupled for adamw, an L2 penalty otherwise", low=0.0
    )
    momentum: float = setting(
        0.0, "of sgd and rmsprop; adam and adamw ignore it", low=0.0, high=1.0
    )
    beta_1: float = setting(0.9, "decay of adam's and adamw's mean of gradients", low=0.0, high=1.0)
    beta_2: float | None = setting(
        None,
        "decay of the mean of squared gradients, the alpha of rmsprop; unset: 0.999 for adam and "
        "adamw, 0.99 for rmsprop",
        low=0.0,
        high=1.0,
    )
    epsilon: float = setting(
        1e-8, "added to the root of that mean, for adam, adamw and rmsprop", low=1e-30
    )
    batch_size: int = setting(32, "utterances in a batch, over all workers", low=1)
    frames_per_batch: int | None = setting(
        None,
        "padded frames in a batch, over all workers; when set, it bounds a batch besides "
        "batch_size",
        low=1,
    )
    max_epochs: int = setting(60, "passes over the training rows at most", low=1)
    patience: int = setting(
        10, "epochs without a better dev metric after which training stops", low=1
    )
    scheduler: Literal["none", "plateau", "cosine", "one_cycle"] = setting(
        "none", "how the learning rate changes: on a dev plateau, or along max_epochs"
    )
    plateau_patience: int = setting(
        4, "epochs without a better dev metric before the rate is reduced", low=0
    )
    plateau_factor: float = setting(
        0.1, "what a plateau multiplies the learning rate by", low=0.0, high=1.0
    )
    gradient_clip: float | None = setting(
        None, "largest L2 norm of the whole gradient; larger ones are scaled down", low=0.0
    )
    class_weights: Literal["none", "balanced"] = setting(
        "none", "balanced: weight classes by the inverse of their count in the training rows"
    )
    label_smoothing: float = setting(
        0.0, "share of the target spread over all classes", low=0.0, high=0.999
    )
    mixup: float = setting(
        0.0,
        "alpha of the Beta distribution that utterances and labels are mixed with; 0 mixes none; "
        "for models of audio alone",
        low=0.0,
        high=10.0,
    )
    ema_decay: float = setting(
        0.0,
        "decay of the moving average of the weights that is evaluated and kept; 0 keeps the "
        "weights themselves",
        low=0.0,
        high=0.99999,
    )
    swa_epochs: int = setting(
        0,
        "last epochs whose weights are averaged (SWA); the average is kept where its dev metric is "
        "better than every epoch's; 0 averages none",
        low=0,
        high=1000,
    )
    sharpness: float = setting(
        0.0,
        "rho of sharpness-aware minimisation (SAM), two passes a batch; 0 is off",
        low=0.0,
        high=10.0,
    )
    precision: Literal["float32", "bfloat16", "float16"] = setting(
        "float32", "arithmetic of the forward pass; float16 needs a CUDA device"
    )
    monitor: Literal[
        "accuracy", "uar", "macro_f1", "ova_accuracy", "ova_balanced_accuracy", "nll", "brier"
    ] = setting("uar", "dev metric that chooses the best epoch, stops early and steers the plateau")
    refit: bool = setting(
        False,
        "after the choice by dev rows: the model that is kept, and that meets test rows and new "
        "audio, is fitted once more on training and dev rows together; dev posteriors stay those "
        "of the model that has not seen them; for what is fitted in closed form",
    )

    def __post_init__(self) -> None:
        """Check the rules between fields and the open ends of ranges.

        Raises:
            ValueError: with every broken rule.
        """
        errors = []
        if self.learning_rate == 0:
            errors.append("learning_rate = 0: must be above 0, else nothing is learned")
        if self.gradient_clip == 0:
            errors.append("gradient_clip = 0: must be above 0; leave it out for no clipping")
        if self.scheduler == "plateau" and not 0 < self.plateau_factor < 1:
            errors.append(f"plateau_factor = {self.plateau_factor}: must be above 0 and below 1")
        if self.sharpness and self.precision == "float16":
            errors.append(
                f"sharpness = {self.sharpness}: scaled losses of float16 may overflow in one of "
                "its two passes; set precision to bfloat16 or float32"
            )
        errors += [
            f"{name} = 1: must be below 1"
            for name in ("momentum", "beta_1", "beta_2")
            if getattr(self, name) == 1
        ]
        if errors:
            raise ValueError("; ".join(errors))
