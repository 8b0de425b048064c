"""Batch normalisation over valid steps, against nn.BatchNorm1d on the valid steps alone."""

import pytest
import torch
from torch import nn

from serplatform.models.layers.masked_batch_norm import MaskedBatchNorm


def pair(channels=3, dtype=torch.float64):
    torch.manual_seed(0)
    ours, theirs = MaskedBatchNorm(channels).to(dtype), nn.BatchNorm1d(channels).to(dtype)
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.tensor([0.5, 1.5, -1.0]))
            norm.bias.copy_(torch.tensor([0.1, 0.0, 2.0]))
    return ours, theirs


def rows(values, valid):
    """(N, C, T) to the (M, C) valid steps."""
    return values.transpose(1, 2)[valid]


@pytest.mark.parametrize("masked", [True, False])
def test_training_equals_batch_norm_of_the_valid_steps(masked):
    ours, theirs = pair()
    valid = torch.ones(4, 6, dtype=torch.bool)
    if masked:
        valid[1, 2:] = False
        valid[3, :5] = False
    mask = valid if masked else None
    for step in range(3):
        values = torch.randn(4, 3, 6, dtype=torch.float64) * (step + 1) + step
        values.requires_grad_()
        result = rows(ours(values, mask), valid)
        expected = theirs(rows(values, valid))
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
        slope = torch.randn_like(result)
        for one, two in zip(
            torch.autograd.grad((result * slope).sum(), [values, *ours.parameters()]),
            torch.autograd.grad((expected * slope).sum(), [values, *theirs.parameters()]),
            strict=True,
        ):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-11)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_variance, theirs.running_var)
    ours.eval(), theirs.eval()
    values = torch.randn(2, 3, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(values), theirs(values), rtol=0, atol=1e-12)


def test_batch_without_valid_steps_leaves_the_statistics():
    ours, _ = pair()
    result = ours(torch.randn(2, 3, 4).double(), torch.zeros(2, 4, dtype=torch.bool))
    assert torch.isfinite(result).all()
    assert torch.equal(ours.running_mean, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(ours.running_variance, torch.ones(3, dtype=torch.float64))
