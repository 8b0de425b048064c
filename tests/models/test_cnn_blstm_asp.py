"""CNN, BLSTM and attentive statistics pooling in plain loops, and its settings."""

import numpy as np
import pytest
import torch

from serplatform.models.base import ARCHITECTURES, InputSpec
from serplatform.models.cnn_blstm_asp import CnnBlstmAspConfig, SpectrogramConvolution
from serplatform.models.layers.attentive_statistics import AttentiveStatisticsPooling
from serplatform.testing.batches import random_batch
from tests.support.plain_loops import array, bilstm, softmax

build = ARCHITECTURES.get("cnn_blstm_asp").build

SPEC = InputSpec(feature_dim=11, num_classes=4)
LENGTHS = (21, 1, 8, 9)


def plain_block(maps, block):
    """(C, F, T) of one utterance: convolve, normalise, ReLU, pool, one output at a time."""
    kernel, norm = array(block.convolution.weight), block.norm
    stride = block.pool if block.stride else (1, 1)
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    bands, steps = (-(-size // by) for size, by in zip(maps.shape[1:], stride, strict=True))
    result = np.zeros((len(kernel), bands, steps))
    for c in range(len(kernel)):
        for f in range(bands):
            for t in range(steps):
                window = padded[:, f * stride[0] :, t * stride[1] :][:, :3, :3]
                value = (kernel[c] * window).sum() - array(norm.running_mean)[c]
                value /= np.sqrt(array(norm.running_variance)[c] + norm.epsilon)
                value = value * array(norm.weight)[c] + array(norm.bias)[c]
                result[c, f, t] = max(value, 0.0)
    if block.stride:
        return result
    by_band, by_step = block.pool
    rows = [result[:, f : f + by_band].max(axis=1) for f in range(0, bands, by_band)]  # each (C, T)
    pooled = np.stack(rows, axis=1)
    columns = [pooled[:, :, t : t + by_step].max(axis=2) for t in range(0, steps, by_step)]
    return np.stack(columns, axis=2)


def plain_statistics(steps, pooling):
    """(S, D) steps to (2D,) weighted means and deviations."""
    weight, bias = array(pooling.projection.weight), array(pooling.projection.bias)
    energies = [array(pooling.query.weight)[0] @ np.tanh(weight @ h + bias) for h in steps]
    shares = softmax(np.array(energies))
    mean = sum(a * h for a, h in zip(shares, steps, strict=True))
    variance = sum(a * (h - mean) ** 2 for a, h in zip(shares, steps, strict=True))
    return np.concatenate([mean, np.sqrt(np.maximum(variance, 1e-5))])


def test_model_equals_plain_loops():
    torch.manual_seed(0)
    config = CnnBlstmAspConfig(channels=3, hidden_dim=4, attention_dim=5)
    model = build(config, SPEC).double()
    for _ in range(3):  # running statistics off their first values
        model.train()(random_batch((30, 20), SPEC, dtype=torch.float64))
    model.eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    posteriors = model(batch).log_posteriors.exp()
    for row, length in enumerate(LENGTHS):
        maps = array(batch.frames[row, :length]).T[None]  # (1, F, T)
        for block in model.blocks:
            maps = plain_block(maps, block)
        steps = maps.reshape(-1, maps.shape[2]).T
        utterance = plain_statistics(bilstm(steps, model.encoder.lstm), model.pooling)
        logits = array(model.classifier.weight) @ utterance + array(model.classifier.bias)
        np.testing.assert_allclose(array(posteriors[row]), softmax(logits), atol=1e-12)


def test_pooling_gives_padding_no_weight_and_survives_constant_steps():
    torch.manual_seed(0)
    pooling = AttentiveStatisticsPooling(3, 4)
    steps = torch.ones(2, 5, 3, requires_grad=True)
    valid = torch.tensor([[True] * 5, [True, True, False, False, False]])
    pooled, weights = pooling(steps, valid)
    assert weights[1, 2:].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    pooled.sum().backward()
    assert torch.isfinite(steps.grad).all()


@pytest.mark.parametrize(("stride", "lengths"), [(True, [4, 1]), (False, [4, 1])])
def test_a_step_exists_if_any_of_its_frames_does(stride, lengths):
    block = SpectrogramConvolution(1, 2, band_pool=2, step_pool=2, stride=stride)
    maps, shorter = block(torch.randn(2, 1, 6, 7), torch.tensor([7, 2]))
    assert shorter.tolist() == lengths
    assert maps.shape == (2, 2, 3, 4)
    assert maps[1, :, :, 1:].abs().sum() == 0


def test_padding_of_a_training_batch_does_not_move_the_running_statistics():
    torch.manual_seed(0)
    one = SpectrogramConvolution(1, 2)
    two = SpectrogramConvolution(1, 2)
    two.load_state_dict(one.state_dict())
    maps, lengths = torch.randn(2, 1, 6, 5), torch.tensor([5, 5])
    one.train()(maps, lengths)
    two.train()(torch.nn.functional.pad(maps, (0, 4)), lengths)
    torch.testing.assert_close(one.norm.running_variance, two.norm.running_variance)


def test_it_is_searched_and_trained_with_augmentation_by_default():
    architecture = ARCHITECTURES.get("cnn_blstm_asp")
    assert architecture.data["speed"] == 0.15
    assert architecture.training["scheduler"] == "one_cycle"
