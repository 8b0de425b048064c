"""LSTM + attention in plain loops, and its settings."""

import numpy as np
import torch

from serplatform.models.base import ARCHITECTURES, InputSpec
from serplatform.models.layers.bilstm import BlstmConfig
from serplatform.testing.batches import random_batch
from tests.support.plain_loops import array, bilstm, softmax

build = ARCHITECTURES.get("lstm_attn_audio").build

SPEC = InputSpec(feature_dim=5, num_classes=4)
LENGTHS = (8, 1, 5)


def test_model_equals_plain_loops():
    torch.manual_seed(0)
    model = build(BlstmConfig(hidden_dim=4), SPEC).double().eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    output = model(batch)
    for row, length in enumerate(LENGTHS):
        y = bilstm(array(batch.frames[row, :length]), model.encoder.lstm)
        query = array(model.pooling.query.weight[0])
        weights = softmax(np.array([query @ y[t] for t in range(length)]))
        utterance = np.zeros(y.shape[1])
        for t in range(length):
            utterance = utterance + weights[t] * y[t]
        logits = array(model.classifier.weight) @ utterance + array(model.classifier.bias)
        np.testing.assert_allclose(
            array(output.log_posteriors[row].exp()), softmax(logits), atol=1e-12
        )
        np.testing.assert_allclose(
            array(output.attention["frames"][row, :length]), weights, atol=1e-12
        )


def test_training_is_the_papers():
    architecture = ARCHITECTURES.get("lstm_attn_audio")
    assert architecture.training == {"learning_rate": 5e-4}
    assert architecture.data == {"feature": "log_mel_40"}
