"""Architectures: networks from padded frames and words to class posteriors.

A model's file holds its configuration, its module and, above the module, what ``architecture``
registers: name, reference, the paper's settings. What several models share lies in ``layers``,
faster CPU code in ``kernels``. Start with ``base.py``, then ``blstmatt.py``.
"""

from serplatform.config import setting
from serplatform.models.base import (
    ARCHITECTURES,
    Architecture,
    Batch,
    ClosedFormModel,
    Criterion,
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
    "InputSpec",
    "ModelOutput",
    "SerModel",
    "architecture",
    "builder",
    "setting",
]
