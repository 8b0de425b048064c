"""Architectures that adapt a pretrained encoder: which it is, and where it can be trained."""

from __future__ import annotations

import dataclasses

from serplatform.encoders.pinned import locate, pinned
from serplatform.errors import BadInputError
from serplatform.models.architectures import ARCHITECTURES
from serplatform.training.trial_config import TrialConfig

#: parameters of an encoder that a CPU can fine-tune: those of tests and demonstrations
LARGEST_ON_CPU = 1_000_000


def check_device(config: TrialConfig, device: str | None) -> None:
    """Refuse to train where it would take days; ``device`` None: only look for the encoder.

    Raises:
        BadInputError: the encoder is not named or not found, or the device is too slow for it.
    """
    field = ARCHITECTURES.get(config.architecture).encoder
    if field is None:
        return
    encoder = locate(getattr(config.model, field))
    if device is None or device.startswith("cuda") or encoder.num_parameters <= LARGEST_ON_CPU:
        return
    millions = encoder.num_parameters / 1e6
    raise BadInputError(
        f"{config.architecture}: fine-tuning {millions:.0f} million parameters ({encoder.name}) "
        "needs a GPU, and this would train on the CPU; give a trial one (--gpus-per-trial 1), or "
        f"use the encoder's frozen features, pretrained:{encoder.name}@LAYER, with any other "
        "architecture"
    )


def with_pinned_encoder(config: TrialConfig) -> TrialConfig:
    """The same configuration, its encoder named by name and checksum instead of by its place."""
    field = ARCHITECTURES.get(config.architecture).encoder
    if field is None:
        return config
    name = pinned(locate(getattr(config.model, field)))
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **{field: name}))
