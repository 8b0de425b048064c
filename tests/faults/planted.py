"""An architecture whose training goes wrong in the way that its setting says."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import time
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from serplatform.config import setting
from serplatform.models.base import (
    ARCHITECTURES,
    Architecture,
    Batch,
    Criterion,
    InputSpec,
    ModelOutput,
    SerModel,
)

#: directory of the marks of faults that came; a fault comes again only where PLANTED_AGAIN is set
MARKS = "PLANTED_MARKS"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlantedConfig:
    """Settings of :class:`Planted`."""

    fault: Literal["none", "raise", "memory", "cuda", "nan", "hang", "stone", "slow"] = setting(
        "none", "what goes wrong"
    )
    after: int = setting(4, "training batches before it does", low=0)
    mark: int = setting(0, "tells trials apart", low=0)


class Planted(SerModel):
    """A linear classifier of the mean frame."""

    def __init__(self, config: PlantedConfig, inputs: InputSpec) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(inputs.feature_dim, inputs.num_classes)
        self.batches = 0

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        logits: Tensor = self.linear(batch.frames.mean(dim=1))
        if self.training:
            self.batches += 1
            if self.batches > self.config.after:
                logits = logits * self._strike()
        return ModelOutput(log_posteriors=logits.log_softmax(dim=1), logits=logits)

    def _strike(self) -> float:
        fault = self.config.fault
        if fault == "slow":
            time.sleep(0.3)
        if fault in ("none", "slow"):
            return 1.0
        mark = Path(os.environ[MARKS]) / f"{fault}-{self.config.mark}"
        again = "PLANTED_AGAIN" in os.environ
        if mark.exists() and not again:
            return 1.0
        mark.touch()
        if fault == "raise":
            raise RuntimeError("a planted error")
        if fault == "memory":
            raise MemoryError("planted: cannot allocate memory")
        if fault == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory (planted)")
        if fault == "hang":
            time.sleep(1e6)
        if fault == "stone":  # in C and with Python's lock: no thread of this process runs any more
            ctypes.PyDLL(None).sleep(10**6)
        return float("nan")


ARCHITECTURES.register("planted")(
    Architecture(
        name="planted",
        config=PlantedConfig,
        build=Planted,
        data={"feature": "log_mel_23"},
    )
)
