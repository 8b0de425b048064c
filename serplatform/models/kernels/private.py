"""Operators that torch has and does not document; None where its version lacks them.

Nothing else in the package names one. ``tests/models/kernels`` says with which versions of torch
they were tried.
"""

from __future__ import annotations

from typing import Any

import torch

#: matrix product of float32 matrices by oneDNN: (left, right, bias, "none", [], "") to
#: ``left @ right.T + bias``
linear_pointwise: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
#: gradients by the outputs of sigmoid and of tanh, into a tensor that is there already
sigmoid_backward: Any = getattr(torch.ops.aten, "sigmoid_backward", None)
tanh_backward: Any = getattr(torch.ops.aten, "tanh_backward", None)

HAS_SLOPES = sigmoid_backward is not None and tanh_backward is not None
HAS_ONEDNN = (
    linear_pointwise is not None and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
)
