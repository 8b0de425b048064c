"""Recurrent layers as single operators of an ONNX graph, where ``torch.export`` traces a model.

PyTorch itself would write one copy of the cell a frame, of a fixed number of frames. The operator
"LSTM" (ONNX operators, https://onnx.ai/onnx/operators/onnx__LSTM.html) takes the lengths of the
sequences, begins its backward direction at each one's last step, and is zero on padding.

Shapes: B utterances, T frames, D input values a frame, H hidden units a direction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: places of PyTorch's gates (input, forget, cell, output) in the order of ONNX
_GATES = [0, 3, 1, 2]
_OPSET = 18


def lstm_operators(lstm: nn.LSTM, frames: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, D) frames, finite on padding, to (B, T, H) outputs, or (B, T, 2H) of both directions.

    One operator a layer; only while ``torch.export`` traces it.
    """
    suffixes = ("", "_reverse") if lstm.bidirectional else ("",)
    hidden = frames.transpose(0, 1)  # (T, B, D)
    for layer in range(lstm.num_layers):
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        inner, outer, inner_bias, outer_bias = (
            torch.stack([_reordered(getattr(lstm, f"{kind}_l{layer}{s}")) for s in suffixes])
            for kind in kinds
        )
        steps, batch = hidden.shape[:2]
        output = torch.onnx.ops.symbolic(
            "LSTM",
            [hidden, inner, outer, torch.cat([inner_bias, outer_bias], dim=1), lengths.int()],
            attrs={
                "direction": "bidirectional" if lstm.bidirectional else "forward",
                "hidden_size": lstm.hidden_size,
            },
            dtype=hidden.dtype,
            shape=[steps, len(suffixes), batch, lstm.hidden_size],
            version=_OPSET,
        )
        hidden = output.transpose(1, 2).flatten(2)  # (T, B, 2H)
    return hidden.transpose(0, 1)


def _reordered(weights: Tensor) -> Tensor:
    """The four gates' rows of a matrix or a bias, in the order of ONNX."""
    return torch.cat([weights.chunk(4)[gate] for gate in _GATES])
