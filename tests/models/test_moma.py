"""MOMA, equation by equation in plain loops, and the paper's settings."""

import numpy as np
import pytest
import torch

from serplatform.models.base import ARCHITECTURES, InputSpec, count_parameters
from serplatform.models.moma import MomaConfig, initial_gamma
from serplatform.testing.batches import random_batch
from tests.support.plain_loops import array, bilstm, mean_attention, softmax

build = ARCHITECTURES.get("moma").build

SPEC = InputSpec(feature_dim=5, num_classes=4)
LENGTHS = (8, 1, 5)


def weights_of(layer, block):
    size = layer.attention_dim
    units = slice(size * block, size * (block + 1))
    return (
        array(layer.frame.weight[units]),
        array(layer.mean.weight[units]),
        array(layer.energy[block]),
    )


def plain_mixture(y, layer, gammas):
    total = np.zeros(len(y))
    for block, gamma in enumerate(array(gammas)):
        total = total + gamma * mean_attention(y, *weights_of(layer, block))  # Eqs. (7)-(9)
    return total


def plain_moma(model, frames):
    """Eqs. (1)-(9) for one utterance: posteriors and both attentions."""
    y = bilstm(frames, model.encoder.lstm)  # Eqs. (1)-(3)
    first = mean_attention(y, *weights_of(model.layer1, 0))  # Eqs. (4)-(5)
    projected = np.array([first[t] * y[t] for t in range(len(y))])
    y = projected + y if model.residual else projected  # Eq. (6)
    for layer, gammas in zip(model.stacked, model.stacked_gammas, strict=True):  # ours
        weights = plain_mixture(y, layer, gammas)
        y = np.array([weights[t] * y[t] + y[t] for t in range(len(y))])
    second = plain_mixture(y, model.layer2, model.gamma)
    utterance = np.zeros(y.shape[1])
    for t in range(len(y)):
        utterance = utterance + second[t] * y[t]
    utterance = array(model.projection.weight) @ utterance + array(model.projection.bias)
    logits = array(model.classifier.weight) @ utterance + array(model.classifier.bias)
    return softmax(logits), first, second


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(("num_blocks", "mixture_layers"), [(1, 1), (3, 1), (2, 3)])
def test_model_equals_the_equations_in_plain_loops(residual, num_blocks, mixture_layers):
    torch.manual_seed(0)
    config = MomaConfig(
        hidden_dim=4,
        attention_dim=3,
        num_blocks=num_blocks,
        mixture_layers=mixture_layers,
        residual=residual,
        gamma_init="normal",
    )
    model = build(config, SPEC).double().eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    output = model(batch)
    for row, length in enumerate(LENGTHS):
        posteriors, first, second = plain_moma(model, array(batch.frames[row, :length]))
        np.testing.assert_allclose(array(output.log_posteriors[row].exp()), posteriors, atol=1e-12)
        np.testing.assert_allclose(
            array(output.attention["layer1"][row, :length]), first, atol=1e-12
        )
        np.testing.assert_allclose(
            array(output.attention["layer2"][row, :length]), second, atol=1e-12
        )


def test_second_attention_sums_to_the_sum_of_gamma():
    model = build(MomaConfig(hidden_dim=4, attention_dim=3, num_blocks=3), SPEC).eval()
    output = model(random_batch(LENGTHS, SPEC))
    total = model.gamma.sum().expand(3)
    torch.testing.assert_close(output.attention["layer2"].sum(dim=1), total)


def test_gamma_starts_as_asked():
    torch.manual_seed(0)
    uniform = initial_gamma(10_000, "uniform", 2.0)
    assert 0 <= float(uniform.min()) < 0.01
    assert 1.99 < float(uniform.max()) <= 2.0
    normal = initial_gamma(10_000, "normal", 0.5)
    assert float(normal.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(normal.std()) == pytest.approx(0.5, abs=0.02)
    assert initial_gamma(3, "constant", 0.25).tolist() == [0.25] * 3


def test_defaults_are_the_papers():
    architecture = ARCHITECTURES.get("moma")
    config = architecture.config()
    assert (config.hidden_dim, config.num_layers, config.attention_dim) == (512, 2, 128)
    assert (config.num_blocks, config.residual, config.dropout) == (3, True, 0.0)
    assert architecture.training == {
        "learning_rate": 1e-4,
        "scheduler": "plateau",
        "plateau_patience": 4,
        "plateau_factor": 0.1,
    }
    assert architecture.data == {"feature": "log_mel_23"}


def test_number_of_parameters_at_the_papers_size():
    h, a, n, d, k = 512, 128, 3, 23, 4
    lstm = 2 * 4 * h * (d + h + 2) + 2 * 4 * h * (2 * h + h + 2)
    attention = (1 + n) * (2 * (2 * h * a) + a)
    expected = lstm + attention + n + (2 * h) * (2 * h) + 2 * h + k * 2 * h + k
    model = build(MomaConfig(), InputSpec(feature_dim=d, num_classes=k))
    assert count_parameters(model) == expected == 10_601_991
