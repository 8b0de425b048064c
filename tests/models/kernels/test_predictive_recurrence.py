"""The recurrence with its gradient by hand, against autograd one step after another."""

import pytest
import torch

from serplatform.models.kernels.predictive_recurrence import Weights, choose, fused, step_by_step

D, Z, E, G, B = 5, 3, 6, 4, 7


def setup(num_windows, dtype=torch.float64, scale=0.5):
    torch.manual_seed(0)
    shapes = [(4 * E, D), (4 * E, E), (4 * E,), (2 * Z, E), (2 * Z,)]
    shapes += [(4 * G, Z), (4 * G, G), (4 * G,), (D, G), (D,)]
    weights = Weights(*(scale * torch.randn(shape, dtype=dtype) for shape in shapes))
    for tensor in vars(weights).values():
        tensor.requires_grad_()
    windows = torch.randn(num_windows, B, D, dtype=dtype)
    noise = torch.randn(num_windows, B, Z, dtype=dtype)
    encoder_mask = 2.0 * (torch.rand(num_windows, B, E) < 0.5).to(dtype)
    generator_mask = 2.0 * (torch.rand(num_windows - 1, B, G) < 0.5).to(dtype)
    return windows, weights, noise, encoder_mask, generator_mask


def gradients(recurrence, weights):
    """Of a sum in which every differentiable output has random slopes."""
    generator = torch.Generator().manual_seed(1)
    total = 0
    for name, value in recurrence._asdict().items():
        if name != "sampled":
            slope = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            total = total + (slope * value).sum()
    tensors = list(vars(weights).values())
    return torch.autograd.grad(total, tensors, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("num_windows", [1, 2, 3, 6])
@pytest.mark.parametrize("random", [True, False], ids=["training", "evaluation"])
def test_values_and_gradients_equal_autograd(num_windows, random):
    windows, weights, *rest = setup(num_windows)
    rest = rest if random else [None, None, None]
    ours, theirs = fused(windows, weights, *rest), step_by_step(windows, weights, *rest)
    for name, value in ours._asdict().items():
        torch.testing.assert_close(value, getattr(theirs, name), rtol=0, atol=1e-12, msg=name)
    pairs = zip(vars(weights), gradients(ours, weights), gradients(theirs, weights), strict=True)
    for name, one, two in pairs:
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10, msg=name)


def test_gradients_equal_autograd_where_log_stds_are_bounded():
    windows, weights, *rest = setup(3, scale=4.0)
    ours, theirs = fused(windows, weights, *rest), step_by_step(windows, weights, *rest)
    assert (ours.log_std.abs() == 7.0).any()
    for one, two in zip(gradients(ours, weights), gradients(theirs, weights), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-6)


def test_float32_on_onednn_equals_autograd():
    windows, weights, *rest = setup(4, dtype=torch.float32)
    ours, theirs = fused(windows, weights, *rest), step_by_step(windows, weights, *rest)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
    for one, two in zip(gradients(ours, weights), gradients(theirs, weights), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_some_elements_are_sampled_and_some_are_not():
    torch.manual_seed(0)
    window, predicted = torch.randn(500, 40), torch.randn(500, 40)
    sampled = choose(window, predicted)
    saliency = (window - predicted).abs()
    assert torch.equal(sampled, saliency >= saliency.mean(dim=1, keepdim=True))
    assert sampled.any(dim=1).all()
    assert not sampled.all(dim=1).any()


def test_equal_saliencies_sample_everything():
    """Also where the mean of equal numbers is rounded above them."""
    for value in torch.rand(2000, generator=torch.Generator().manual_seed(0)):
        assert choose(value.expand(1, 40), torch.zeros(1, 40)).all()
