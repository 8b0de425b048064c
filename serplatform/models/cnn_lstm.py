"""CNN + LSTM over audio: convolutions shorten the frames, an LSTM sums the utterance up.

The acoustic baseline "CNN+LSTM" of Table 1 in Li, Ding, Wu and Liu, "Learning Fine-Grained
Cross Modality Excitement for Speech Emotion Recognition", 2020, after Satt, Rozenberg and
Hoory, "Efficient Emotion Recognition from Speech Using Deep Learning on Spectrograms",
Interspeech 2017.

Shapes: B utterances, T frames, S steps after pooling, D feature dimension, C channels, H
hidden units a direction, K classes.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from serplatform.models import Batch, Criterion, ModelOutput, SerModel, architecture, setting
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.convolution_block import convolution_blocks
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.pooling import last_outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class CnnLstmConfig:
    """Settings of :class:`CnnLstm`; convolutions as in the paper's own acoustic embedding."""

    channels_1: int = setting(64, "channels of the first convolution", low=1)
    channels_2: int = setting(128, "channels of the second convolution", low=1)
    channels_3: int = setting(128, "channels of the third convolution", low=1)
    kernel_1: int = setting(5, "frames under the first convolution's kernel", low=1, high=31)
    kernel_2: int = setting(2, "steps under the second convolution's kernel", low=1, high=31)
    kernel_3: int = setting(2, "steps under the third convolution's kernel", low=1, high=31)
    pool: int = setting(2, "steps that each convolution's output is maximum-pooled over", low=1)
    hidden_dim: int = setting(128, "LSTM units a direction", low=1)
    num_layers: int = setting(1, "stacked bidirectional LSTM layers", low=1, high=8)
    dropout: float = setting(
        0.0, "share dropped between LSTM layers and before the classifier", low=0.0, high=0.95
    )


@architecture(
    "cnn_lstm",
    CnnLstmConfig,
    reference="Li et al., 2020 (FG-CME), Table 1 (CNN+LSTM); Satt et al., Interspeech 2017",
    training={"learning_rate": 5e-4},
    data={"feature": "log_mel_40"},
    small={"channels_1": 12, "channels_2": 14, "channels_3": 16, "hidden_dim": 16},
)
class CnnLstm(SerModel):
    """Convolution blocks with pooling, a BLSTM's last outputs, a linear classifier.

    The paper says only that the baseline is "similar" to Satt et al.'s: a CNN for acoustic
    embeddings and an LSTM "at the top for aggregating utterance embedding". Here the CNN is
    the paper's own acoustic one (40 → 64 → 128 → 128 channels, kernels 5, 2, 2), each
    convolution batch-normalised and followed by maximum pooling over time, as Satt et al.
    pool; their LSTM of 128 units a direction follows, and the utterance is its last output
    forward and its last output backward.

    A step of a pooled sequence exists if any of its frames does; padding is zero, and what
    is pooled is not negative, so padding never is the maximum.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        channels: tuple[int, ...],
        kernel_sizes: tuple[int, ...],
        pool: int,
        hidden_dim: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.blocks = convolution_blocks(feature_dim, channels, kernel_sizes)
        self.encoder = BiLstm(channels[-1], hidden_dim, num_layers, dropout)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * hidden_dim, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch."""
        steps, lengths = self._convolve(batch.frames, batch.lengths)  # (B, S, C), (B,)
        hidden = self.encoder(steps, lengths)  # (B, S, 2H)
        utterance = last_outputs(hidden, lengths)  # (B, 2H)
        logits = self.classifier(self.dropout(utterance))  # (B, K)
        return ModelOutput.of(logits)

    def _convolve(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) frames to (B, S, C) steps and their numbers."""
        valid = valid_steps(lengths, frames.shape[1])
        maps = (frames * valid.unsqueeze(2)).transpose(1, 2)  # (B, D, T)
        for block in self.blocks:
            maps = block(maps, valid, valid)
            if self.pool > 1:
                maps = self._maximum(maps)
                lengths = (lengths + self.pool - 1) // self.pool
                valid = valid_steps(lengths, maps.shape[2])
        return maps.transpose(1, 2), lengths

    def _maximum(self, maps: Tensor) -> Tensor:
        """(B, C, T) to (B, C, S): the largest of every ``pool`` steps."""
        if torch.compiler.is_exporting():  # max_pool1d would fix the number of steps
            flat = maps.unsqueeze(2)
            return nn.functional.max_pool2d(flat, (1, self.pool), ceil_mode=True).squeeze(2)
        return nn.functional.max_pool1d(maps, self.pool, ceil_mode=True)
