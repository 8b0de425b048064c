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

from serplatform.models import Batch, Criterion, ModelOutput, SerModel, architecture
from serplatform.models.layers.bilstm import BiLstm, BlstmConfig
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.pooling import AttentionPooling


@dataclasses.dataclass(frozen=True, kw_only=True)
class LstmAttnAudioConfig(BlstmConfig):
    """Settings of :class:`LstmAttnAudio`; neither paper states those of its baseline."""


@architecture(
    "lstm_attn_audio",
    LstmAttnAudioConfig,
    reference=(
        "Li, Ding, Wu and Liu, 'Learning Fine-Grained Cross Modality Excitement for Speech "
        "Emotion Recognition', 2020, Table 1 (LSTM+Attn, audio); Lee et al., Interspeech "
        "2020, Table 2 (AudioModel)"
    ),
    training={"learning_rate": 5e-4},
    data={"feature": "log_mel_40"},
    small={"hidden_dim": 16},
)
class LstmAttnAudio(SerModel):
    r"""BLSTM, softmax attention with a learned query, linear classifier.

    Both papers name the baseline without its sizes: 128 units and dropout 0.3 are those that
    Lee et al. give their bidirectional LSTMs, and the number of units of Mirsamadi et al.

    ``feature_dim`` is D, ``num_classes`` K; the others are settings of
    :class:`LstmAttnAudioConfig`.
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
        return ModelOutput.of(logits, frames=weights)
