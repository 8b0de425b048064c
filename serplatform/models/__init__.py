"""Architectures: networks from padded frames and words to class posteriors.

A model's file holds its configuration, its module and, above the module, what ``architecture``
registers: name, reference, the paper's settings. What several models share lies in ``layers``,
faster CPU code in ``kernels``. Start with ``base.py``, then ``blstmatt.py``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serplatform.config import setting
    from serplatform.models.base import (
        ARCHITECTURES,
        Architecture,
        Batch,
        ClosedFormModel,
        Criterion,
        Framewise,
        Generation,
        InputSpec,
        ModelOutput,
        SerModel,
    )
    from serplatform.models.builders import architecture, builder

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Batch",
    "ClosedFormModel",
    "Criterion",
    "Framewise",
    "Generation",
    "InputSpec",
    "ModelOutput",
    "SerModel",
    "architecture",
    "builder",
    "setting",
]


def __getattr__(name: str) -> Any:  # settings and kernels are read without torch
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = {"setting": "serplatform.config"}
    homes |= dict.fromkeys(["architecture", "builder"], "serplatform.models.builders")
    home = homes.get(name, "serplatform.models.base")
    return getattr(importlib.import_module(home), name)
