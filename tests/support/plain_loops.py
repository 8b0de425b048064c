"""Layers written a second time: float64 NumPy, one utterance, one frame at a time.

They are the oracles of the layers' tests, so they share no code with them and take no short cut.

Shapes: T frames, D values a frame, H hidden units a direction, A attention units.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from serplatform.arrays import DoubleArray
from serplatform.models.layers.convolution_block import ConvolutionBlock
from serplatform.models.layers.pooling import UtterancePooling
from serplatform.models.layers.words import WordEmbedding


def array(values: Tensor) -> DoubleArray:
    """A tensor's values."""
    return values.detach().double().numpy()


def sigmoid(values: DoubleArray) -> DoubleArray:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-values))


def softmax(values: DoubleArray) -> DoubleArray:
    """exp(x) over their sum, of a vector."""
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def lstm_direction(
    frames: DoubleArray, weights: nn.LSTM, layer: int, *, backward: bool
) -> DoubleArray:
    """One direction of one layer of an LSTM: (T, ·) to (T, H), cell by cell."""
    suffix = f"_l{layer}{'_reverse' if backward else ''}"
    w_ih, w_hh, b_ih, b_hh = (
        array(getattr(weights, kind + suffix))
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden = np.zeros(weights.hidden_size)
    cell = np.zeros(weights.hidden_size)
    outputs = np.zeros((len(frames), weights.hidden_size))
    order = range(len(frames))
    for t in reversed(order) if backward else order:
        gates = w_ih @ frames[t] + b_ih + w_hh @ hidden + b_hh
        entering, kept, proposed, leaving = np.split(gates, 4)
        cell = sigmoid(kept) * cell + sigmoid(entering) * np.tanh(proposed)
        hidden = sigmoid(leaving) * np.tanh(cell)
        outputs[t] = hidden
    return outputs


def bilstm(frames: DoubleArray, weights: nn.LSTM) -> DoubleArray:
    """All layers and both directions: (T, D) to (T, 2H)."""
    for layer in range(weights.num_layers):
        forward = lstm_direction(frames, weights, layer, backward=False)
        backward = lstm_direction(frames, weights, layer, backward=True)
        frames = np.concatenate([forward, backward], axis=1)
    return frames


def mean_attention(
    frames: DoubleArray, w_h: DoubleArray, w_m: DoubleArray, w_e: DoubleArray
) -> DoubleArray:
    """MOMA's Eqs. (4)-(5), frame by frame: (T, D), (A, D), (A, D), (A,) to (T,)."""
    total = np.zeros(frames.shape[1])
    for frame in frames:
        total = total + frame
    mean = total / len(frames)
    energies = np.zeros(len(frames))
    for t, frame in enumerate(frames):
        e = np.tanh(w_h @ frame) * np.tanh(w_m @ mean)
        energies[t] = w_e @ e
    return softmax(energies)


def convolution(maps: DoubleArray, weight: DoubleArray) -> DoubleArray:
    """(H_in, T) and (H_out, H_in, K) to (H_out, T); zeros beyond both ends."""
    size = weight.shape[2]
    result = np.zeros((weight.shape[0], maps.shape[1]))
    for place in range(maps.shape[1]):
        for tap in range(size):
            source = place + tap - (size - 1) // 2
            if 0 <= source < maps.shape[1]:
                result[:, place] += weight[:, :, tap] @ maps[:, source]
    return result


def convolution_block(maps: DoubleArray, block: ConvolutionBlock) -> DoubleArray:
    """Convolution, normalisation by the running statistics, ReLU: (H_in, T) to (H_out, T)."""
    norm = block.norm
    assert norm is not None
    mean, variance = array(norm.running_mean), array(norm.running_variance)
    weight, bias = array(norm.weight), array(norm.bias)
    maps = convolution(maps, array(block.convolution.weight))
    for channel in range(len(maps)):
        scaled = (maps[channel] - mean[channel]) / np.sqrt(variance[channel] + norm.epsilon)
        maps[channel] = np.maximum(scaled * weight[channel] + bias[channel], 0.0)
    return maps


def word_vectors(ids: Tensor, embedding: WordEmbedding) -> DoubleArray:
    """Vectors of the words of one utterance: (L,) ids, none of them padding, to (L, E)."""
    rows = [embedding.unknown if i == 1 else embedding.vectors[i - 2] for i in ids.tolist()]
    return np.stack([array(row) for row in rows])


def pooled(frames: DoubleArray, pooling: UtterancePooling) -> DoubleArray:
    """One vector of an utterance: (T, 2H) to (2H,)."""
    half = frames.shape[1] // 2
    if pooling.attention is not None:
        query = array(pooling.attention.query.weight[0])
        weights = softmax(np.array([query @ frame for frame in frames]))
        total = np.zeros(2 * half)
        for weight, frame in zip(weights, frames, strict=True):
            total = total + weight * frame
        return total
    if pooling.kind == "last":
        return np.concatenate([frames[-1, :half], frames[0, half:]])
    if pooling.kind == "mean":
        return np.array([sum(column) / len(frames) for column in frames.T])
    return np.array([max(column) for column in frames.T])
