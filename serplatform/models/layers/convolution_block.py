"""Convolution over time, batch normalisation, ReLU, none of which sees padding.

Shapes: N sequences, H channels, T steps.
"""

from __future__ import annotations

from torch import Tensor, nn

from serplatform.models.layers.masked_batch_norm import MaskedBatchNorm


class ConvolutionBlock(nn.Module):
    """One convolution over time with its normalisation and ReLU.

    Args:
        input_dim: channels in.
        num_channels: channels out, H.
        kernel_size: steps; the sequence keeps its length, and an even kernel reaches one step
            further ahead than back.
    """

    def __init__(self, input_dim: int, num_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.padding = nn.ConstantPad1d(((kernel_size - 1) // 2, kernel_size // 2), 0.0)
        # the normalisation would take a bias away again
        self.convolution = nn.Conv1d(input_dim, num_channels, kernel_size, bias=False)
        self.norm = MaskedBatchNorm(num_channels)

    def forward(
        self, maps: Tensor, valid: Tensor | None = None, counted: Tensor | None = None
    ) -> Tensor:
        """Apply the block.

        Args:
            maps: (N, ·, T), zero where not valid.
            valid: (N, T), bool, steps that exist; ``None`` means all.
            counted: (N, T), bool, steps whose statistics normalise; ``None`` means all.

        Returns:
            (N, H, T), at least 0, and 0 where not valid.
        """
        maps = self.norm(self.convolution(self.padding(maps)), counted).relu()
        return maps if valid is None else maps * valid.unsqueeze(1)
