"""Convolution over time and frequency, normalisation, ReLU and pooling; padding is never seen.

Shapes: B utterances, C channels, F bands, T steps.
"""

from __future__ import annotations

from torch import Tensor, nn

from serplatform.models.layers.masked_batch_norm import MaskedBatchNorm
from serplatform.models.layers.masks import valid_steps


class SpectrogramConvolution(nn.Module):
    """A 3 by 3 convolution over bands and steps, its normalisation, ReLU, maximum pooling.

    Args:
        input_channels: C in.
        output_channels: C out.
        band_pool: bands that are pooled into one.
        step_pool: steps that are pooled into one.
        stride: pool by a strided convolution instead of by maxima, which costs
            ``band_pool * step_pool`` times less.
        dropout: share of whole channels dropped from the output.
    """

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        *,
        band_pool: int = 1,
        step_pool: int = 1,
        stride: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pool = (band_pool, step_pool)
        self.stride = stride
        # the normalisation would take a bias away again
        self.convolution = nn.Conv2d(
            input_channels,
            output_channels,
            kernel_size=3,
            padding=1,
            stride=self.pool if stride else 1,
            bias=False,
        )
        self.norm = MaskedBatchNorm(output_channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, maps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the block.

        Args:
            maps: (B, C, F, T), zero beyond each length.
            lengths: (B,), int64, steps of each utterance.

        Returns:
            (B, C', F', T'), at least 0 and 0 beyond each length, F' and T' rounded up, and the
            (B,) new lengths.
        """
        maps = self.convolution(maps)  # (B, C', F, T)
        if self.stride:
            lengths = self._pooled(lengths)
        bands, steps = maps.shape[2:]
        valid = valid_steps(lengths, steps)  # (B, T)
        every_band = valid.unsqueeze(1).expand(-1, bands, -1).flatten(1)  # (B, F·T)
        flat = self.norm(maps.flatten(2), every_band).relu() * every_band.unsqueeze(1)
        maps = flat.unflatten(2, (bands, steps))
        if not self.stride and self.pool != (1, 1):
            maps = nn.functional.max_pool2d(maps, self.pool, ceil_mode=True)
            lengths = self._pooled(lengths)
        return self.dropout(maps), lengths

    def _pooled(self, lengths: Tensor) -> Tensor:
        """Steps left of each length; a step exists if any of its frames does."""
        return (lengths + self.pool[1] - 1) // self.pool[1]
