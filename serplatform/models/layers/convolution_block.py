"""Convolution over time, batch normalisation, ReLU, none of which sees padding.

Shapes: N sequences, H channels, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from serplatform.models.layers.masked_batch_norm import MaskedBatchNorm


class ConvolutionBlock(nn.Module):
    """One convolution over time, with or without its normalisation and ReLU.

    The sequence keeps its length, and an even kernel reaches one step further ahead than back.
    ``norm`` normalises instead of adding a bias, which the normalisation would take away again.
    """

    def __init__(
        self,
        input_dim: int,
        num_channels: int,
        kernel_size: int,
        *,
        norm: bool = True,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.padding = nn.ConstantPad1d(((kernel_size - 1) // 2, kernel_size // 2), 0.0)
        self.convolution = nn.Conv1d(input_dim, num_channels, kernel_size, bias=not norm)
        self.norm = MaskedBatchNorm(num_channels) if norm else None
        self.relu = relu

    def forward(
        self, maps: Tensor, valid: Tensor | None = None, counted: Tensor | None = None
    ) -> Tensor:
        """(N, ·, T), zero where not valid, to (N, H, T), likewise.

        ``valid``, (N, T) bool, are the steps that exist, ``counted`` those whose statistics
        normalise; None means all.
        """
        maps = self.convolution(self.padding(maps))
        if self.norm is not None:
            maps = self.norm(maps, counted)
        if self.relu:
            maps = maps.relu()
        return maps if valid is None else maps * valid.unsqueeze(1)


def convolution_blocks(
    input_dim: int,
    channels: Sequence[int],
    kernel_sizes: Sequence[int],
    *,
    norm: bool = True,
    relu: bool = True,
) -> nn.ModuleList:
    """Blocks one after the other: channels out and kernel size of each."""
    sizes = zip((input_dim, *channels[:-1]), channels, kernel_sizes, strict=True)
    return nn.ModuleList(ConvolutionBlock(*size, norm=norm, relu=relu) for size in sizes)
