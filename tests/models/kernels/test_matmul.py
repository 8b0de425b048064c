"""Products by oneDNN against PyTorch's own."""

import pytest
import torch

from serplatform.models.kernels.matmul import linear, product


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 5, 4), (33, 20, 7), (1, 1, 1), (0, 3, 2)])
def test_product_with_any_strides(shape, dtype):
    torch.manual_seed(0)
    m, k, n = shape
    left, right, bias = torch.randn(m, k), torch.randn(n, k), torch.randn(n)
    left, right, bias = (part.to(dtype) for part in (left, right, bias))
    expected = left.double() @ right.double().T + bias.double()
    for one in (left, left.T.contiguous().T):
        for two in (right, right.T.contiguous().T):
            result = product(one, two, bias)
            torch.testing.assert_close(result.double(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_has_the_gradients_of_torch(with_bias):
    torch.manual_seed(0)
    values = torch.randn(3, 6, 5, requires_grad=True)
    weight = torch.randn(4, 5, requires_grad=True)
    bias = torch.randn(4, requires_grad=True) if with_bias else None
    ours, theirs = linear(values, weight, bias), torch.nn.functional.linear(values, weight, bias)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    slope = torch.randn_like(ours)
    inputs = [values, weight, *([bias] if with_bias else [])]
    pairs = zip(
        torch.autograd.grad((ours * slope).sum(), inputs),
        torch.autograd.grad((theirs * slope).sum(), inputs),
        strict=True,
    )
    for one, two in pairs:
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
