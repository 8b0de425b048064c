"""A bidirectional LSTM over padded utterances, exact and without packing on a CPU.

Shapes: B utterances, T frames, D input values a frame, H hidden units a direction.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from serplatform.config import setting
from serplatform.models.kernels import fast_kernels_enabled
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.onnx_lstm import lstm_operators


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlstmConfig:
    """Settings of a baseline of one BLSTM a modality, as Lee et al. (Interspeech 2020) set them."""

    hidden_dim: int = setting(128, "LSTM units a direction, of every encoder", low=1)
    num_layers: int = setting(1, "stacked bidirectional LSTM layers", low=1, high=8)
    dropout: float = setting(
        0.3, "share dropped between LSTM layers and before the classifier", low=0.0, high=0.95
    )


class BiLstm(nn.Module):
    r"""Stacked bidirectional LSTM; each utterance as if it were alone.

    Jalal et al., Interspeech 2020 (MOMA), Eqs. (1)-(3):

    .. math::

        y^{fwd}_t = \mathrm{LSTM}(x_t, y^{fwd}_{t-1}), \qquad
        y^{bck}_t = \mathrm{LSTM}(x_t, y^{bck}_{t+1}), \qquad
        y_t = [y^{fwd}_t, y^{bck}_t]

    The backward direction starts at each utterance's last frame. On a CPU that is done by
    running it over the batch reversed within each length and reversing its output: the same
    numbers as a packed sequence, which PyTorch runs without its fused CPU kernel and so
    several times slower (``benchmarks/blstm_step.py``). On CUDA, where one cuDNN call runs all
    layers and both directions, and with ``SERPLATFORM_KERNELS=reference`` sequences are packed.

    ``dropout`` is of the outputs of every layer but the last.

    Example:
        >>> layer = BiLstm(input_dim=23, hidden_dim=8, num_layers=2)
        >>> layer(torch.zeros(2, 5, 23), torch.tensor([5, 3])).shape
        torch.Size([2, 5, 16])
    """

    def __init__(
        self, input_dim: int, hidden_dim: int, num_layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.lstm = nn.LSTM(
            input_dim,
            hidden_dim,
            num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if num_layers > 1 else 0.0,
        )

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D) frames, finite on padding, and (B,) lengths, 1 to T, to (B, T, 2H).

        Forward, then backward outputs; zero on padding.
        """
        if torch.compiler.is_exporting():
            return lstm_operators(self.lstm, frames, lengths)
        if frames.is_cuda or not fast_kernels_enabled():
            return self._packed(frames, lengths)
        num_steps = frames.shape[1]
        mirror = reversal(lengths, num_steps)
        hidden = frames.transpose(0, 1).contiguous()  # (T, B, D)
        for layer in range(self.lstm.num_layers):
            if layer:
                hidden = nn.functional.dropout(hidden, self.dropout, self.training)
            forward = self._direction(hidden, layer, "")  # Eq. (1), (T, B, H)
            mirrored = self._direction(_rows(hidden, mirror), layer, "_reverse")
            backward = _rows(mirrored, mirror)  # Eq. (2)
            hidden = torch.cat([forward, backward], dim=2)  # Eq. (3), (T, B, 2H)
        valid = valid_steps(lengths, num_steps).T.unsqueeze(2)  # (T, B, 1)
        return (hidden * valid).transpose(0, 1)

    def _direction(self, sequence: Tensor, layer: int, suffix: str) -> Tensor:
        """Run one direction of one layer from left to right: (T, B, ·) to (T, B, H)."""
        weights = [
            getattr(self.lstm, f"{kind}_l{layer}{suffix}")
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        start = sequence.new_zeros(1, sequence.shape[1], self.lstm.hidden_size)
        output: Tensor = torch.lstm(
            sequence, (start, start), weights, True, 1, 0.0, self.training, False, False
        )[0]
        return output

    def _packed(self, frames: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            frames, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        output, _ = self.lstm(packed)
        padded: Tensor = nn.utils.rnn.pad_packed_sequence(
            output, batch_first=True, total_length=frames.shape[1]
        )[0]
        return padded


def reversal(lengths: Tensor, num_steps: int) -> Tensor:
    """Where each row of a time-major batch comes from when utterances are reversed in place.

    Frame t < length goes to length − 1 − t; padding stays where it is. Applied twice it gives
    the input back. Of (B,) lengths, 1 to T: (T·B,) int64.

    Example:
        >>> reversal(torch.tensor([3, 2]), 3).view(3, 2) // 2  # the frames of both utterances
        tensor([[2, 1],
                [1, 0],
                [0, 2]])
    """
    steps = torch.arange(num_steps, device=lengths.device).unsqueeze(1)  # (T, 1)
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)  # (T, B)
    columns = torch.arange(lengths.shape[0], device=lengths.device)
    return (source * lengths.shape[0] + columns).flatten()


def _rows(sequence: Tensor, index: Tensor) -> Tensor:
    """(T, B, D) with its T·B rows in another order."""
    return sequence.flatten(0, 1).index_select(0, index).view_as(sequence)
