"""Heads of dot products against PyTorch's own multi-head attention."""

import pytest
import torch

from serplatform.models.attn_fusion import MultiHeadAlignment
from serplatform.models.layers.masks import valid_steps

WORDS, FRAMES = torch.tensor([3, 1]), torch.tensor([7, 4])


def test_equals_pytorchs_attention():
    torch.manual_seed(0)
    layer = MultiHeadAlignment(6, 5, num_heads=3).double()
    other = torch.nn.MultiheadAttention(6, 3, bias=False, batch_first=True, kdim=5, vdim=5).double()
    with torch.no_grad():
        other.q_proj_weight.copy_(layer.query.weight)
        other.k_proj_weight.copy_(layer.key.weight)
        other.v_proj_weight.copy_(layer.value.weight)
        other.out_proj.weight.copy_(layer.output.weight)
    words = torch.randn(2, 3, 6, dtype=torch.float64)
    frames = torch.randn(2, 7, 5, dtype=torch.float64)
    valid = valid_steps(FRAMES, 7)
    aligned, weights = layer(words, frames, valid_steps(WORDS, 3), valid)
    expected, expected_weights = other(words, frames, frames, key_padding_mask=~valid)
    for row, count in enumerate(WORDS.tolist()):
        torch.testing.assert_close(aligned[row, :count], expected[row, :count])
        torch.testing.assert_close(weights[row, :count], expected_weights[row, :count])
        assert not aligned[row, count:].any()
        assert not weights[row, count:].any()
    assert not weights[1, :, 4:].any()


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="4 heads do not divide 6 values"):
        MultiHeadAlignment(6, 5, num_heads=4)
