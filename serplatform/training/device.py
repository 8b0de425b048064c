"""The device that a model is trained on."""

from __future__ import annotations

import torch

from serplatform.errors import BadInputError


def checked_device(name: str, precision: str) -> torch.device:
    """The device, if it is there and can do the precision.

    Raises:
        BadInputError: it is not, or cannot.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInputError(f"device '{name}' is unknown; give cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise BadInputError(f"device '{name}' is not supported; give cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInputError(f"device '{name}': torch sees no CUDA device here; give cpu")
    if precision == "float16" and device.type != "cuda":
        raise BadInputError(
            "training.precision = 'float16' needs a CUDA device; on the CPU give float32 or "
            "bfloat16"
        )
    return device
