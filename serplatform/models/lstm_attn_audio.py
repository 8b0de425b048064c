"""LSTM + attention over audio: a bidirectional LSTM pooled by a learned query.

The acoustic baseline "LSTM+Attn" of Table 1 in Li, Ding, Wu and Liu, "Learning Fine-Grained
Cross Modality Excitement for Speech Emotion Recognition", 2020 (after Mirsamadi, Barsoum and
Zhang, ICASSP 2017), and the "AudioModel" of Table 2 in Lee et al., "Multimodal Speech Emotion
Recognition using Cross Attention with Aligned Audio and Text", Interspeech 2020.

Shapes: B utterances, T frames, D feature dimension, H hidden units a direction, K classes.
"""

from __future__ import annotations

import dataclasses

from torch import nn

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
from serplatform.models.layers.attention_pooling import AttentionPooling
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.masks import valid_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class LstmAttnAudioConfig:
    """Settings of :class:`LstmAttnAudio`; neither paper states those of its baseline."""

    hidden_dim: int = setting(128, "LSTM units a direction", low=1)
    num_layers: int = setting(1, "stacked bidirectional LSTM layers", low=1, high=8)
    dropout: float = setting(
        0.3, "share dropped between LSTM layers and before the classifier", low=0.0, high=0.95
    )


class LstmAttnAudio(SerModel):
    r"""BLSTM, softmax attention with a learned query, linear classifier.

    Both papers name the baseline without its sizes: 128 units and dropout 0.3 are those that
    Lee et al. give their bidirectional LSTMs, and the number of units of Mirsamadi et al.

    Args:
        feature_dim: D.
        num_classes: K.
        hidden_dim: H.
        num_layers: LSTM layers.
        dropout: in [0, 1).
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        hidden_dim: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.encoder = BiLstm(feature_dim, hidden_dim, num_layers, dropout)
        self.pooling = AttentionPooling(2 * hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * hidden_dim, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch; ``attention["frames"]`` is (B, T) and sums to 1."""
        hidden = self.encoder(batch.frames, batch.lengths)  # (B, T, 2H)
        valid = valid_steps(batch.lengths, hidden.shape[1])  # (B, T)
        utterance, weights = self.pooling(hidden, valid)  # (B, 2H), (B, T)
        logits = self.classifier(self.dropout(utterance))  # (B, K)
        return ModelOutput(
            log_posteriors=logits.log_softmax(dim=-1),
            logits=logits,
            attention={"frames": weights.detach()},
        )


build = builder(LstmAttnAudio)

ARCHITECTURES.register("lstm_attn_audio")(
    Architecture(
        name="lstm_attn_audio",
        config=LstmAttnAudioConfig,
        build=build,
        reference=(
            "Li, Ding, Wu and Liu, 'Learning Fine-Grained Cross Modality Excitement for Speech "
            "Emotion Recognition', 2020, Table 1 (LSTM+Attn, audio); Lee et al., Interspeech "
            "2020, Table 2 (AudioModel)"
        ),
        training={"learning_rate": 5e-4},
        data={"feature": "log_mel_40"},
        small={"hidden_dim": 16},
    )
)
