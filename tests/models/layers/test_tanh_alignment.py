"""The alignment by one tanh unit."""

import torch

from serplatform.models.attn_fusion import TanhAlignment
from serplatform.models.layers.masks import valid_steps

WORDS, FRAMES = torch.tensor([3, 1]), torch.tensor([7, 4])


def layer_and_inputs():
    torch.manual_seed(0)
    layer = TanhAlignment(6, 5).double()
    words = torch.randn(2, 3, 6, dtype=torch.float64)
    frames = torch.randn(2, 7, 5, dtype=torch.float64)
    return layer, words, frames, valid_steps(WORDS, 3), valid_steps(FRAMES, 7)


def test_weights_of_a_word_sum_to_one_and_padding_has_none():
    weights = TanhAlignment.forward(*layer_and_inputs())[1]
    torch.testing.assert_close(weights.sum(dim=2), valid_steps(WORDS, 3).double())
    assert not weights[1, :, 4:].any()


def test_a_frame_weighs_at_most_e_squared_times_another():
    layer, *inputs = layer_and_inputs()
    torch.nn.init.constant_(layer.frame.weight, 50.0)
    weights = layer(*inputs)[1][0]
    assert float((weights.amax(dim=1) / weights.amin(dim=1)).max().detach()) <= 2.718281829**2


def test_an_unsaturated_word_term_changes_no_weight():
    layer, words, frames, *valid = layer_and_inputs()
    torch.nn.init.zeros_(layer.frame.bias)
    with torch.no_grad():
        layer.frame.weight.mul_(1e-4)
        layer.word.weight.mul_(1e-4)
    weights = layer(words, frames, *valid)[1]
    torch.testing.assert_close(weights[0, 0], weights[0, 2], rtol=0, atol=1e-9)
