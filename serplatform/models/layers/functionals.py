"""Functionals: statistics over time that sum an utterance up, whatever its length.

Shapes: B utterances, T frames, D values a frame, F functionals.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

FunctionalKind = Literal["mean", "moments", "percentiles"]

#: shares of the frames that lie below each percentile
PERCENTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: smallest variance, so that the root of a constant sequence has a gradient
VARIANCE_FLOOR = 1e-8


def moments(frames: Tensor, valid: Tensor) -> Tensor:
    """(B, 2D): mean and (population) standard deviation over the valid frames."""
    weight = valid.unsqueeze(2).to(frames.dtype)  # (B, T, 1)
    count = weight.sum(dim=1).clamp(min=1)  # (B, 1)
    mean = (frames * weight).sum(dim=1) / count
    variance = ((frames - mean.unsqueeze(1)).square() * weight).sum(dim=1) / count
    return torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=1)


def percentiles(frames: Tensor, lengths: Tensor, valid: Tensor) -> Tensor:
    """(B, 5D): percentiles over the valid frames, interpolated linearly as NumPy's are."""
    far = torch.finfo(frames.dtype).max
    ordered = frames.masked_fill(~valid.unsqueeze(2), far).sort(dim=1).values  # padding last
    rows = torch.arange(frames.shape[0], device=frames.device)
    result = []
    for share in PERCENTILES:
        position = share * (lengths - 1).to(frames.dtype)  # (B,)
        left = position.floor().long()
        right = torch.minimum(left + 1, lengths - 1)
        part = (position - left).unsqueeze(1)  # (B, 1)
        result.append(ordered[rows, left] * (1 - part) + ordered[rows, right] * part)
    return torch.cat(result, dim=1)


def differences(frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, D) first differences, zero at the first frame, and where they exist.

    An utterance of one frame has one difference, zero.
    """
    steps = torch.zeros_like(frames)
    steps[:, 1:] = (frames[:, 1:] - frames[:, :-1]) * valid[:, 1:].unsqueeze(2)
    return steps, valid


def functionals(
    frames: Tensor, lengths: Tensor, valid: Tensor, kind: FunctionalKind, deltas: bool
) -> Tensor:
    """Sum padded utterances up.

    Args:
        frames: (B, T, D), finite.
        lengths: (B,), int64, at least 1.
        valid: (B, T), bool, true before each length.
        kind: ``mean``; ``moments``: mean and deviation; ``percentiles``: these and five
            percentiles.
        deltas: add the same statistics of the frames' first differences.

    Returns:
        (B, F), see :func:`num_functionals`.

    Example:
        >>> frames = torch.tensor([[[1.0], [3.0], [0.0]]])
        >>> mask = torch.tensor([[True, True, False]])
        >>> functionals(frames, torch.tensor([2]), mask, "moments", False)
        tensor([[2., 1.]])
    """
    result = [_of(frames, lengths, valid, kind)]
    if deltas:
        steps, exist = differences(frames, valid)
        result.append(_of(steps, lengths, exist, kind))
    return torch.cat(result, dim=1)


def num_functionals(feature_dim: int, kind: FunctionalKind, deltas: bool) -> int:
    """F that :func:`functionals` gives for D values a frame."""
    each = {"mean": 1, "moments": 2, "percentiles": 2 + len(PERCENTILES)}[kind]
    return feature_dim * each * (2 if deltas else 1)


def _of(frames: Tensor, lengths: Tensor, valid: Tensor, kind: FunctionalKind) -> Tensor:
    both = moments(frames, valid)
    if kind == "mean":
        return both[:, : frames.shape[2]]
    if kind == "moments":
        return both
    return torch.cat([both, percentiles(frames, lengths, valid)], dim=1)
