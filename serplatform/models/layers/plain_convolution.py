"""A convolution over time with a bias, that does not see padding.

Shapes: N sequences, H channels, T steps.
"""

from __future__ import annotations

from torch import Tensor, nn


class PlainConvolution(nn.Module):
    """One convolution over time, with or without ReLU, without normalisation.

    Args:
        input_dim: channels in.
        num_channels: channels out, H.
        kernel_size: steps; the sequence keeps its length, and an even kernel reaches one step
            further ahead than back.
        relu: whether negative outputs become zero.
    """

    def __init__(self, input_dim: int, num_channels: int, kernel_size: int, relu: bool) -> None:
        super().__init__()
        self.padding = nn.ConstantPad1d(((kernel_size - 1) // 2, kernel_size // 2), 0.0)
        self.convolution = nn.Conv1d(input_dim, num_channels, kernel_size)
        self.relu = relu

    def forward(self, maps: Tensor, valid: Tensor) -> Tensor:
        """Apply the convolution.

        Args:
            maps: (N, ·, T), zero where not valid.
            valid: (N, T), bool, steps that exist.

        Returns:
            (N, H, T), 0 where not valid.
        """
        maps = self.convolution(self.padding(maps))
        return (maps.relu() if self.relu else maps) * valid.unsqueeze(1)
