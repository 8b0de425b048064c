"""Two-dimensional CNN, BLSTM and attentive statistics pooling over a log-mel spectrogram.

None of the five papers: a small system of the field, for ensembles that want another view.
Convolutions over bands and frames as in Satt, Rozenberg and Hoory, "Efficient Emotion
Recognition from Speech Using Deep Learning on Spectrograms", Interspeech 2017; pooling of
Okabe, Koshinaka and Shinoda, "Attentive Statistics Pooling for Deep Speaker Embedding",
Interspeech 2018. The combination, its sizes and its defaults are this platform's.

Shapes: B utterances, T frames, S steps after pooling, D feature dimension, C channels, H
hidden units a direction, K classes.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from serplatform.models import (
    Batch,
    Criterion,
    Framewise,
    ModelOutput,
    SerModel,
    architecture,
    setting,
)
from serplatform.models.layers.attentive_statistics import (
    AttentiveStatisticsPooling,
    local_statistics,
)
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.masked_batch_norm import MaskedBatchNorm
from serplatform.models.layers.masks import valid_steps

#: bands and steps that each block pools into one; the first by its stride
POOLS = ((2, 2), (2, 1), (2, 2), (1, 1))
#: share of ``dropout`` that whole channels of the convolutions are dropped with
CHANNEL_DROPOUT = 0.3
#: steps that a step's class is of, it in their middle: half a second of 10 ms frames
LOCAL_STEPS = 13


@dataclasses.dataclass(frozen=True, kw_only=True)
class CnnBlstmAspConfig:
    """Settings of :class:`CnnBlstmAsp`."""

    channels: int = setting(
        16, "channels of the first block; the others have 2, 3 and 4 times as many", low=1
    )
    hidden_dim: int = setting(64, "LSTM units a direction", low=1)
    num_layers: int = setting(1, "stacked bidirectional LSTM layers", low=1, high=8)
    attention_dim: int = setting(64, "hidden units of the pooling's attention", low=1)
    dropout: float = setting(
        0.3,
        "share dropped before and between LSTM layers and before the classifier; of a block's "
        "whole channels three tenths of it",
        low=0.0,
        high=0.95,
    )


@architecture(
    "cnn_blstm_asp",
    CnnBlstmAspConfig,
    reference="after Satt et al., Interspeech 2017, and Okabe et al., Interspeech 2018",
    training={
        "optimizer": "adamw",
        "learning_rate": 2e-3,
        "weight_decay": 1e-3,
        "scheduler": "one_cycle",
        "gradient_clip": 2.0,
        "label_smoothing": 0.1,
        "max_epochs": 40,
        "patience": 40,
    },
    data={
        "feature": "log_mel_40",
        "trim": True,
        "time_masks": 1,
        "frequency_masks": 1,
        "speed": 0.15,
    },
    small={"channels": 16, "hidden_dim": 16, "attention_dim": 12},
)
class CnnBlstmAsp(SerModel):
    """Four convolution blocks, a BLSTM, attentive statistics, a linear classifier.

    The spectrogram is halved in time twice and in frequency three times; what is left of the
    bands and the channels of a step is the LSTM's input.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        channels: int,
        hidden_dim: int,
        num_layers: int,
        attention_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        blocks: list[SpectrogramConvolution] = []
        inputs, bands = 1, feature_dim
        for index, (band_pool, step_pool) in enumerate(POOLS):
            outputs = channels * (index + 1)
            blocks.append(
                SpectrogramConvolution(
                    inputs,
                    outputs,
                    band_pool=band_pool,
                    step_pool=step_pool,
                    stride=index == 0,
                    dropout=CHANNEL_DROPOUT * dropout,
                )
            )
            inputs, bands = outputs, -(-bands // band_pool)
        self.blocks = nn.ModuleList(blocks)
        self.dropout = nn.Dropout(dropout)
        self.encoder = BiLstm(inputs * bands, hidden_dim, num_layers, dropout)
        self.pooling = AttentiveStatisticsPooling(2 * hidden_dim, attention_dim)
        self.classifier = nn.Linear(4 * hidden_dim, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch."""
        hidden, lengths = self._encode(batch)
        utterance, _ = self.pooling(hidden, valid_steps(lengths, hidden.shape[1]))  # (B, 4H)
        logits = self.classifier(self.dropout(utterance))  # (B, K)
        return ModelOutput.of(logits)

    def framewise(self, batch: Batch) -> Framewise:
        """The class of the :data:`LOCAL_STEPS` around each step, pooled as if they were all.

        Ours, as in :class:`.AttnPool`: the classifier reads deviations, which one step has not.
        """
        hidden, lengths = self._encode(batch)
        _, weights = self.pooling(hidden, valid_steps(lengths, hidden.shape[1]))  # (B, S)
        local = local_statistics(weights.unsqueeze(1), hidden, LOCAL_STEPS)  # (B, S, 4H)
        log_posteriors = self.classifier(self.dropout(local)).log_softmax(dim=-1)
        pooled = math.prod(steps for _, steps in POOLS)
        first = pooled * torch.arange(hidden.shape[1], device=hidden.device)  # (S,)
        ends = torch.minimum(first + pooled, batch.lengths.unsqueeze(1))  # (B, S)
        return Framewise(log_posteriors, lengths, torch.stack([first.expand_as(ends), ends], 2))

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, T, D) frames to (B, S, 2H) hidden steps and their numbers."""
        steps, lengths = self._convolve(batch)  # (B, S, C·F), (B,)
        return self.encoder(self.dropout(steps), lengths), lengths

    def _convolve(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, T, D) frames to (B, S, C·F) steps and their numbers."""
        lengths = batch.lengths
        valid = valid_steps(lengths, batch.frames.shape[1])
        maps = (batch.frames * valid.unsqueeze(2)).transpose(1, 2).unsqueeze(1)  # (B, 1, D, T)
        for block in self.blocks:
            maps, lengths = block(maps, lengths)
        return maps.flatten(1, 2).transpose(1, 2), lengths  # (B, S, C·F)


class SpectrogramConvolution(nn.Module):
    """A 3 by 3 convolution over bands and steps, its normalisation, ReLU, maximum pooling.

    Shapes: B utterances, C channels, F bands, T steps.

    ``band_pool`` bands and ``step_pool`` steps are pooled into one; with ``stride`` by a strided
    convolution instead of by maxima, which costs ``band_pool * step_pool`` times less. Whole
    channels are dropped.
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
        """(B, C, F, T) maps, zero beyond each length, to (B, C', F', T') and the new lengths.

        F' and T' are rounded up; the maps are at least 0, and 0 beyond each length.
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
