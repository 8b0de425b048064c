"""BLSTMATT in plain loops, and the paper's settings."""

import numpy as np
import torch

from serplatform.models.base import ARCHITECTURES, InputSpec, count_parameters
from serplatform.models.blstmatt import BlstmattConfig
from serplatform.testing.batches import random_batch
from tests.support.plain_loops import array, bilstm, mean_attention, softmax

build = ARCHITECTURES.get("blstmatt").build

SPEC = InputSpec(feature_dim=5, num_classes=4)
LENGTHS = (8, 1, 5)


def test_model_equals_the_equations_in_plain_loops():
    torch.manual_seed(0)
    model = build(BlstmattConfig(hidden_dim=4, attention_dim=3), SPEC).double().eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    output = model(batch)
    layer = model.attention
    for row, length in enumerate(LENGTHS):
        y = bilstm(array(batch.frames[row, :length]), model.encoder.lstm)
        attention = mean_attention(
            y, array(layer.frame.weight), array(layer.mean.weight), array(layer.energy[0])
        )
        utterance = np.zeros(y.shape[1])
        for t in range(length):
            utterance = utterance + attention[t] * y[t]
        logits = array(model.classifier.weight) @ utterance + array(model.classifier.bias)
        np.testing.assert_allclose(
            array(output.log_posteriors[row].exp()), softmax(logits), atol=1e-12
        )
        np.testing.assert_allclose(
            array(output.attention["layer1"][row, :length]), attention, atol=1e-12
        )


def test_defaults_are_the_papers():
    architecture = ARCHITECTURES.get("blstmatt")
    config = architecture.config()
    assert (config.hidden_dim, config.num_layers, config.attention_dim) == (512, 2, 128)
    assert config.dropout == 0.0
    assert architecture.training == {
        "learning_rate": 1e-4,
        "scheduler": "plateau",
        "plateau_patience": 4,
        "plateau_factor": 0.8,
    }
    assert architecture.data == {"feature": "log_mel_23"}


def test_number_of_parameters_at_the_papers_size():
    h, a, d, k = 512, 128, 23, 4
    lstm = 2 * 4 * h * (d + h + 2) + 2 * 4 * h * (2 * h + h + 2)
    expected = lstm + 2 * (2 * h * a) + a + k * 2 * h + k
    model = build(BlstmattConfig(), InputSpec(feature_dim=d, num_classes=k))
    assert count_parameters(model) == expected
