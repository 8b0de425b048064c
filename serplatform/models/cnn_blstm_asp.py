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

from torch import Tensor, nn

from serplatform.config import setting
from serplatform.models.base import (
    ARCHITECTURES,
    Architecture,
    Batch,
    Criterion,
    ModelOutput,
    SerModel,
)
from serplatform.models.builders import builder
from serplatform.models.layers.attentive_statistics_pooling import AttentiveStatisticsPooling
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.spectrogram_convolution import SpectrogramConvolution

#: bands and steps that each block pools into one; the first by its stride
POOLS = ((2, 2), (2, 1), (2, 2), (1, 1))
#: share of ``dropout`` that whole channels of the convolutions are dropped with
CHANNEL_DROPOUT = 0.3


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


class CnnBlstmAsp(SerModel):
    """Four convolution blocks, a BLSTM, attentive statistics, a linear classifier.

    The spectrogram is halved in time twice and in frequency three times; what is left of the
    bands and the channels of a step is the LSTM's input.

    Args:
        feature_dim: D, bands of the spectrogram.
        num_classes: K.
        channels: C of the first block.
        hidden_dim: H.
        num_layers: LSTM layers.
        attention_dim: of the pooling.
        dropout: in [0, 1).
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
        steps, lengths = self._convolve(batch)  # (B, S, C·F), (B,)
        hidden = self.encoder(self.dropout(steps), lengths)  # (B, S, 2H)
        valid = valid_steps(lengths, hidden.shape[1])
        utterance, _ = self.pooling(hidden, valid)  # (B, 4H)
        logits = self.classifier(self.dropout(utterance))  # (B, K)
        return ModelOutput(log_posteriors=logits.log_softmax(dim=-1), logits=logits)

    def _convolve(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, T, D) frames to (B, S, C·F) steps and their numbers."""
        lengths = batch.lengths
        valid = valid_steps(lengths, batch.frames.shape[1])
        maps = (batch.frames * valid.unsqueeze(2)).transpose(1, 2).unsqueeze(1)  # (B, 1, D, T)
        for block in self.blocks:
            maps, lengths = block(maps, lengths)
        return maps.flatten(1, 2).transpose(1, 2), lengths  # (B, S, C·F)


build = builder(CnnBlstmAsp)

ARCHITECTURES.register("cnn_blstm_asp")(
    Architecture(
        name="cnn_blstm_asp",
        config=CnnBlstmAspConfig,
        build=build,
        reference=(
            "Convolutions after Satt et al., Interspeech 2017, attentive statistics pooling of "
            "Okabe et al., Interspeech 2018"
        ),
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
)
