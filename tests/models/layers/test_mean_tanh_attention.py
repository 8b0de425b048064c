"""Attention to the mean, against the formula in plain loops."""

import numpy as np
import torch

from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.mean_tanh_attention import MeanTanhAttention
from tests.support.plain_loops import array, mean_attention

LENGTHS = [7, 1, 4]


def inputs(dtype=torch.float64):
    torch.manual_seed(0)
    lengths = torch.tensor(LENGTHS)
    valid = valid_steps(lengths, 9)
    return torch.randn(3, 9, 6, dtype=dtype) * valid.unsqueeze(2), valid


def test_blocks_equal_equations_4_and_5():
    frames, valid = inputs()
    layer = MeanTanhAttention(6, 5, num_blocks=3).double()
    weights = layer(frames, valid)
    assert weights.shape == (3, 3, 9)
    for row, length in enumerate(LENGTHS):
        for block in range(3):
            units = slice(5 * block, 5 * block + 5)
            expected = mean_attention(
                array(frames[row, :length]),
                array(layer.frame.weight[units]),
                array(layer.mean.weight[units]),
                array(layer.energy[block]),
            )
            np.testing.assert_allclose(array(weights[row, block, :length]), expected, atol=1e-14)
            assert not weights[row, block, length:].any()


def test_weights_sum_to_one_over_valid_frames():
    frames, valid = inputs(torch.float32)
    weights = MeanTanhAttention(6, 5, num_blocks=2)(frames, valid)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, 2), rtol=0, atol=1e-6)


def test_blocks_start_differently():
    frames, valid = inputs(torch.float32)
    weights = MeanTanhAttention(6, 5, num_blocks=2)(frames, valid)
    assert not torch.allclose(weights[0, 0], weights[0, 1])
