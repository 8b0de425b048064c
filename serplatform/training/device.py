"""The device that trains, and the random states of it and of everything global."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from serplatform.errors import BadInputError
from serplatform.seeding import derive_seed


def checked_device(name: str, precision: str) -> torch.device:
    """The device; a BadInputError where it is not there or cannot do the precision."""
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


def forked(device: torch.device, enabled: bool = True) -> contextlib.AbstractContextManager[None]:
    """Put torch's random states back after a block."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [], enabled)


@contextlib.contextmanager
def seeded(device: torch.device, seed: int, *path: str | int) -> Iterator[None]:
    """Seed every global random state for a while; then put the caller's states back."""
    seed = derive_seed(seed, *path)
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with forked(device):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
