"""Matrix products of float32 matrices on a CPU by oneDNN.

PyTorch multiplies float32 matrices by MKL, which does not use all of a non-Intel processor's
vector units: on an AMD EPYC with AVX-512, oneDNN takes 0.4 to 0.5 of the time for matrices of
the sizes used here. PyTorch uses oneDNN for LSTMs and convolutions, not for plain products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from serplatform.models.kernels import fast_kernels_enabled, private


def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """``left @ right.T + bias`` of (M, K) and (N, K) matrices of any strides, without gradients.

    Example:
        >>> product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([5.0]))
        tensor([[16.]])
    """
    if _by_onednn(left) and left.numel() and right.numel():
        result: Tensor = private.linear_pointwise(_dense(left), _dense(right), bias, "none", [], "")
        return result
    return nn.functional.linear(left, right, bias)


def _dense(matrix: Tensor) -> Tensor:
    """The matrix without gaps: oneDNN takes part of a larger one hundreds of times longer."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


def _by_onednn(values: Tensor) -> bool:
    return bool(
        values.dtype == torch.float32
        and values.device.type == "cpu"
        and private.HAS_ONEDNN
        and torch.backends.mkldnn.enabled
        and fast_kernels_enabled()
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return product(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        rows, weight = ctx.saved_tensors
        needs_rows, _, needs_bias = ctx.needs_input_grad
        return (
            product(gradient, weight.t()) if needs_rows else None,
            product(gradient.t(), rows.t()),
            gradient.sum(dim=0) if needs_bias else None,
        )


def linear(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``, (…, K) to (…, N), by oneDNN where that is possible."""
    if not _by_onednn(values) or torch.is_autocast_enabled("cpu") or not weight.requires_grad:
        return nn.functional.linear(values, weight, bias)
    rows = values.reshape(-1, values.shape[-1])
    result: Tensor = _Linear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    return result.view(*values.shape[:-1], -1)
