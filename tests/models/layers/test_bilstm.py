"""The bidirectional LSTM against packed sequences and against plain loops."""

import numpy as np
import pytest
import torch
from torch import nn

from serplatform.models.layers.bilstm import BiLstm
from tests.support.plain_loops import array, bilstm

LENGTHS = [[5], [1], [7, 7], [1, 9], [9, 1, 4, 6], [3, 12, 12, 1, 8, 2]]


def packed_output(layer, frames, lengths):
    packed = nn.utils.rnn.pack_padded_sequence(
        frames, lengths, batch_first=True, enforce_sorted=False
    )
    output, _ = layer.lstm(packed)
    return nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=frames.shape[1])[
        0
    ]


def gradients(layer, frames, output, slope):
    inputs = [frames, *layer.parameters()]
    return torch.autograd.grad((output * slope).sum(), inputs)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_output_and_gradients_equal_the_packed_ones(lengths, num_layers):
    torch.manual_seed(0)
    layer = BiLstm(5, 6, num_layers)
    sizes = torch.tensor(lengths)
    frames = torch.randn(len(lengths), max(lengths) + 2, 5, requires_grad=True)
    expected = packed_output(layer, frames, sizes)
    result = layer(frames, sizes)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    slope = torch.randn_like(result)
    pairs = zip(
        gradients(layer, frames, result, slope),
        gradients(layer, frames, expected, slope),
        strict=True,
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_output_equals_cells_in_a_plain_loop(num_layers):
    torch.manual_seed(1)
    layer = BiLstm(4, 3, num_layers).double()
    lengths = [6, 2, 5]
    frames = torch.randn(3, 6, 4, dtype=torch.float64)
    result = layer(frames, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        expected = bilstm(array(frames[row, :length]), layer.lstm)
        np.testing.assert_allclose(array(result[row, :length]), expected, rtol=0, atol=1e-12)
        assert not result[row, length:].any()


def test_the_reference_way_packs_and_gives_the_same(monkeypatch):
    torch.manual_seed(2)
    layer = BiLstm(4, 3, 2)
    frames, lengths = torch.randn(3, 8, 4), torch.tensor([8, 3, 5])
    expected = layer(frames, lengths)
    monkeypatch.setenv("SERPLATFORM_KERNELS", "reference")
    torch.testing.assert_close(layer(frames, lengths), expected, rtol=0, atol=1e-6)
    monkeypatch.setattr(nn.utils.rnn, "pack_padded_sequence", None)
    with pytest.raises(TypeError, match="not callable"):
        layer(frames, lengths)


def test_cpu_never_packs(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("packed")

    monkeypatch.setattr(nn.utils.rnn, "pack_padded_sequence", refuse)
    layer = BiLstm(4, 3)
    assert layer(torch.zeros(1, 2, 4), torch.tensor([2])).shape == (1, 2, 6)


def test_padding_values_reach_neither_output_nor_gradient():
    torch.manual_seed(3)
    layer = BiLstm(4, 3, 2)
    frames, lengths = torch.randn(2, 6, 4), torch.tensor([6, 2])
    other = frames.clone()
    other[1, 2:] = 1e4
    results = []
    for values in (frames, other):
        layer.zero_grad()
        output = layer(values, lengths)
        output.square().sum().backward()
        results.append([output.detach(), *(p.grad.clone() for p in layer.parameters())])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


def test_dropout_lies_between_layers_in_training_only():
    torch.manual_seed(4)
    layer = BiLstm(4, 8, 2, dropout=0.5)
    frames, lengths = torch.randn(2, 6, 4), torch.tensor([6, 3])
    assert not torch.equal(layer(frames, lengths), layer(frames, lengths))
    layer.eval()
    assert torch.equal(layer(frames, lengths), layer(frames, lengths))
    single = BiLstm(4, 8, 1, dropout=0.5).train()
    assert torch.equal(single(frames, lengths), single(frames, lengths))


def test_both_directions_of_the_next_layer_see_the_same_dropout():
    """With every unit of layer 0 dropped, layer 1 sees zeros in both directions."""
    torch.manual_seed(5)
    layer = BiLstm(4, 8, 2, dropout=1.0)
    frames, lengths = torch.randn(1, 6, 4), torch.tensor([6])
    first = layer(frames, lengths)
    torch.testing.assert_close(first, layer(torch.randn(1, 6, 4), lengths))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_cpu():
    torch.manual_seed(6)
    layer = BiLstm(5, 6, 2)
    frames, lengths = torch.randn(4, 9, 5), torch.tensor([9, 1, 4, 6])
    expected = layer(frames, lengths)
    result = layer.cuda()(frames.cuda(), lengths.cuda())
    torch.testing.assert_close(result.cpu(), expected, rtol=0, atol=1e-5)


def test_the_reference_way_drops_between_layers_too(monkeypatch):
    monkeypatch.setenv("SERPLATFORM_KERNELS", "reference")
    torch.manual_seed(7)
    layer = BiLstm(4, 8, 2, dropout=0.5)
    frames, lengths = torch.randn(2, 6, 4), torch.tensor([6, 3])
    assert layer.lstm.dropout == 0.5
    assert not torch.equal(layer(frames, lengths), layer(frames, lengths))
    layer.eval()
    assert torch.equal(layer(frames, lengths), layer(frames, lengths))
