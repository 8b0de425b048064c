"""BLSTMATT: a bidirectional LSTM whose frames are weighed by attention to their mean.

Jalal, Milner and Hain, "Empirical Interpretation of Speech Emotion Perception with Attention
Based Model for Speech Emotion Recognition", Interspeech 2020, section 3.1; the attention is
written out in Jalal et al., Interspeech 2020 (MOMA), Eqs. (1)-(5).

Shapes: B utterances, T frames, D feature dimension, H hidden units a direction, K classes.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from serplatform.models import (
    Batch,
    Criterion,
    Framewise,
    ModelOutput,
    SerModel,
    architecture,
    setting,
)
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.mean_tanh_attention import MeanTanhAttention
from serplatform.models.layers.pooling import weighted_sum


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlstmattConfig:
    """Settings of :class:`Blstmatt`; the defaults are the paper's."""

    hidden_dim: int = setting(512, "LSTM units a direction", low=1)
    num_layers: int = setting(2, "stacked bidirectional LSTM layers", low=1, high=8)
    attention_dim: int = setting(128, "units of the attention", low=1)
    dropout: float = setting(
        0.0, "share dropped between LSTM layers and before the classifier", low=0.0, high=0.95
    )


@architecture(
    "blstmatt",
    BlstmattConfig,
    reference="Jalal, Milner and Hain, Interspeech 2020, section 3.1",
    training={
        "learning_rate": 1e-4,
        "scheduler": "plateau",
        "plateau_patience": 4,
        "plateau_factor": 0.8,
    },
    data={"feature": "log_mel_23"},
    small={"hidden_dim": 16, "attention_dim": 12},
)
class Blstmatt(SerModel):
    r"""BLSTM, attention to the mean, linear classifier.

    .. math:: a = \mathrm{attention}(Y), \qquad v = \sum_t a_t y_t, \qquad o = W_c v + b_c

    Departs from the paper: padded frames take no part in the mean, the softmax or the sum;
    dropout is ours and off by default. "A context vector of size 128, which is projected to
    1024 nodes" is read as the 128 units that make the attention and the weighted sum of the
    2H = 1024 outputs.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        hidden_dim: int,
        num_layers: int,
        attention_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.encoder = BiLstm(feature_dim, hidden_dim, num_layers, dropout)
        self.attention = MeanTanhAttention(2 * hidden_dim, attention_dim)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * hidden_dim, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch; ``attention["layer1"]`` is (B, T)."""
        hidden = self.encoder(batch.frames, batch.lengths)  # Y, Eqs. (1)-(3), (B, T, 2H)
        valid = valid_steps(batch.lengths, hidden.shape[1])  # (B, T)
        attention = self.attention(hidden, valid).squeeze(1)  # Eqs. (4)-(5), (B, T)
        utterance = weighted_sum(attention, hidden)  # (B, 2H)
        logits = self.classifier(self.dropout(utterance))  # (B, K)
        return ModelOutput.of(logits, layer1=attention)

    def framewise(self, batch: Batch) -> Framewise:
        """The class of each frame were all attention on it (ours).

        The classifier is linear and attention sums to 1: an utterance's logits are the sum of its
        frames' logits weighted by attention. A frame's BLSTM output knows what lies around it.
        """
        hidden = self.encoder(batch.frames, batch.lengths)
        return Framewise.of_frames(self.classifier(hidden), batch.lengths)
