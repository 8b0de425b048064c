"""Batch normalisation that padding and the number of workers do not change.

Shapes: N sequences, C channels, T steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from serplatform.models.layers.global_sum import global_sum, num_workers

#: torch's own, whose statistics are of one worker and of padding too
TORCH_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class MaskedBatchNorm(nn.Module):
    r"""Normalise every channel by its mean and variance over the valid steps of the batch.

    Ioffe and Szegedy, "Batch Normalization", ICML 2015, Algorithm 1, over valid steps of all
    workers' sequences: a batch shared among workers gives what one worker gives for the whole.
    Evaluation uses the running statistics, the variance unbiased, as ``nn.BatchNorm1d`` does.

    Example:
        >>> norm = MaskedBatchNorm(1)
        >>> values = torch.tensor([[[1.0, 3.0, 100.0]]])
        >>> norm(values, torch.tensor([[True, True, False]]))[0, 0, :2].detach().round(decimals=3)
        tensor([-1.,  1.])
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.momentum = 0.1  # share of the new statistics in the running ones
        self.epsilon = 1e-5  # added to the variance
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_variance", torch.ones(num_channels))

    def forward(self, values: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalise finite (N, C, T); ``valid``, (N, T) bool, says which steps count (None: all).

        Steps that do not count are normalised by the statistics of the others.
        """
        if self.training and (valid is not None or num_workers() > 1):
            return self._normalise(values, valid)
        return nn.functional.batch_norm(
            values,
            self.running_mean,
            self.running_variance,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.epsilon,
        )

    def _normalise(self, values: Tensor, valid: Tensor | None) -> Tensor:
        if valid is None:
            valid = torch.ones_like(values[:, 0], dtype=torch.bool)
        values = values.to(torch.promote_types(values.dtype, self.weight.dtype))
        mask = valid.unsqueeze(1).to(values.dtype)  # (N, 1, T)
        count = global_sum(mask.sum())
        divisor = count.clamp(min=1)
        mean = global_sum((values * mask).sum(dim=(0, 2))) / divisor  # (C,)
        centred = values - mean.unsqueeze(1)
        variance = global_sum((centred.square() * mask).sum(dim=(0, 2))) / divisor  # (C,)
        with torch.no_grad():
            # a batch without valid steps teaches nothing
            share = self.momentum * (count > 0).to(mean)
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean += share * (mean - self.running_mean)
            self.running_variance += share * (unbiased - self.running_variance)
        scale = self.weight * torch.rsqrt(variance + self.epsilon)
        return centred * scale.unsqueeze(1) + self.bias.unsqueeze(1)
