"""The written-out LSTM against nn.LSTM."""

import pytest
import torch
from torch import nn

from serplatform.models.kernels.lstm import lstm, tanh
from serplatform.models.vrnn import dropout_factors


@pytest.mark.parametrize("num_steps", [1, 2, 5])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_outputs_and_gradients_equal_nn_lstm(num_steps, dtype, tolerance):
    torch.manual_seed(0)
    layer = nn.LSTM(5, 6).to(dtype)
    inputs = torch.randn(num_steps, 4, 5, dtype=dtype, requires_grad=True)
    expected, _ = layer(inputs)
    from_input, from_hidden, bias_ih, bias_hh = layer.all_weights[0]
    result = lstm(inputs, from_input, from_hidden, bias_ih + bias_hh)
    torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)
    slope = torch.randn_like(result)
    tensors = [inputs, *layer.parameters()]
    pairs = zip(
        torch.autograd.grad((result * slope).sum(), tensors),
        torch.autograd.grad((expected * slope).sum(), tensors),
        strict=True,
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=10 * tolerance)


def test_tanh_is_exact_up_to_rounding_of_one():
    values = torch.linspace(-50, 50, 20_001)
    assert float((tanh(values) - values.double().tanh()).abs().max()) < 2e-7
    wide = values.double()
    assert float((tanh(wide) - wide.tanh()).abs().max()) < 5e-16


@pytest.mark.parametrize("dropout", [0.1, 0.3, 0.8])
def test_factors_of_dropout_have_mean_one(dropout):
    torch.manual_seed(0)
    factors = dropout_factors((3, 1001, 333), dropout, torch.zeros(0, dtype=torch.float64))
    assert factors.shape == (3, 1001, 333)
    dropped = float((factors == 0).double().mean())
    assert dropped == pytest.approx(dropout, abs=0.002)  # four deviations of a million draws
    assert float(factors.mean()) == pytest.approx(1.0, abs=0.01)
    neighbours = (factors[..., 1:] == 0) & (factors[..., :-1] == 0)
    assert float(neighbours.double().mean()) == pytest.approx(dropout**2, abs=0.003)
