"""CNN + LSTM in plain loops, and its settings."""

import numpy as np
import pytest
import torch

from serplatform.models.base import ARCHITECTURES, InputSpec
from serplatform.models.cnn_lstm import CnnLstmConfig
from serplatform.testing.batches import random_batch
from tests.support.plain_loops import array, bilstm, convolution_block, softmax

build = ARCHITECTURES.get("cnn_lstm").build

SPEC = InputSpec(feature_dim=5, num_classes=4)
LENGTHS = (21, 1, 8, 9)


@pytest.mark.parametrize("pool", [1, 2, 3])
def test_model_equals_plain_loops(pool):
    torch.manual_seed(0)
    config = CnnLstmConfig(channels_1=3, channels_2=4, channels_3=5, hidden_dim=4, pool=pool)
    model = build(config, SPEC).double()
    for _ in range(3):  # running statistics off their first values
        model.train()(random_batch((30, 20), SPEC, dtype=torch.float64))
    model.eval()
    batch = random_batch(LENGTHS, SPEC, dtype=torch.float64)
    posteriors = model(batch).log_posteriors.exp()
    for row, length in enumerate(LENGTHS):
        maps = array(batch.frames[row, :length]).T
        for block in model.blocks:
            maps = convolution_block(maps, block)
            starts = range(0, maps.shape[1], pool)
            maps = np.stack([maps[:, start : start + pool].max(axis=1) for start in starts], axis=1)
        y = bilstm(maps.T, model.encoder.lstm)
        utterance = np.concatenate([y[-1, :4], y[0, 4:]])
        logits = array(model.classifier.weight) @ utterance + array(model.classifier.bias)
        np.testing.assert_allclose(array(posteriors[row]), softmax(logits), atol=1e-12)


def test_convolutions_are_the_papers():
    architecture = ARCHITECTURES.get("cnn_lstm")
    config = architecture.config()
    assert (config.channels_1, config.channels_2, config.channels_3) == (64, 128, 128)
    assert (config.kernel_1, config.kernel_2, config.kernel_3) == (5, 2, 2)
    assert architecture.training == {"learning_rate": 5e-4}
    assert architecture.data == {"feature": "log_mel_40"}
