"""Sums over the workers of a distributed training, with gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


class _AllReduceSum(torch.autograd.Function):
    """Every worker's loss depends on every worker's value: gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


def num_workers() -> int:
    """Workers of the default process group; 1 outside of distributed training."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


#: whether this worker's values count; see :func:`counting`
_counts = True


@contextlib.contextmanager
def counting(counts: bool) -> Iterator[None]:
    """Say whether this worker's values count in sums until the end of the block.

    A worker without an utterance of its own goes through the motions with another's, so that
    no other worker waits for it; it then adds zeros.
    """
    global _counts
    before, _counts = _counts, counts
    try:
        yield
    finally:
        _counts = before


def global_sum(value: Tensor) -> Tensor:
    """Sum a tensor over the workers; itself when there is one.

    All workers must call it the same number of times and in the same order.

    Example:
        >>> global_sum(torch.tensor([1.0, 2.0]))
        tensor([1., 2.])
    """
    if num_workers() == 1:
        return value
    if not _counts:
        value = value * 0
    total: Tensor = _AllReduceSum.apply(value)  # type: ignore[no-untyped-call]
    return total
