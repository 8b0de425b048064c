r"""LSTM + attention, over audio or over text: a BLSTM pooled by a learned query.

The acoustic and the semantic baseline "LSTM+Attn" of Table 1 in Li, Ding, Wu and Liu, "Learning
Fine-Grained Cross Modality Excitement for Speech Emotion Recognition", 2020, and the "AudioModel"
and "TextModel" of Table 2 in Lee et al., "Multimodal Speech Emotion Recognition using Cross
Attention with Aligned Audio and Text", Interspeech 2020, after Mirsamadi, Barsoum and Zhang,
ICASSP 2017:

.. math::

    \alpha_i = \mathrm{softmax}_i(u^\top h_i), \qquad z = \sum_i \alpha_i h_i, \qquad
    o = W_c z + b_c

Both papers name their baselines without sizes: 128 units and dropout 0.3 are those that Lee et al.
give their bidirectional LSTMs, 300 values those of the GloVe vectors of both.

Shapes: B utterances, T frames, L words, D feature dimension, E values of a word vector, H hidden
units a direction, K classes.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from serplatform.models import Batch, Criterion, Framewise, ModelOutput, SerModel, architecture
from serplatform.models.layers.bilstm import BiLstm, BlstmConfig
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.pooling import AttentionPooling
from serplatform.models.layers.words import WordEmbedding, WordVectorsConfig, batch_words

REFERENCE = "Li et al., 2020 (FG-CME), Table 1; Lee et al., Interspeech 2020, Table 2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LstmAttnTextConfig(BlstmConfig, WordVectorsConfig):
    """Settings of :class:`LstmAttnText`; neither paper states those of its baseline."""


class LstmAttn(SerModel):
    """BLSTM, softmax attention with a learned query, linear classifier."""

    def __init__(
        self,
        input_dim: int,
        num_classes: int,
        hidden_dim: int,
        num_layers: int,
        dropout: float,
        embedding: WordEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.encoder = BiLstm(input_dim, hidden_dim, num_layers, dropout)
        self.pooling = AttentionPooling(2 * hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * hidden_dim, num_classes)

    def classify(self, steps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, ·) frames or vectors of words to (B, K) logits and (B, T) weights."""
        hidden = self.encoder(steps, lengths)  # (B, T, 2H)
        utterance, weights = self.pooling(hidden, valid_steps(lengths, hidden.shape[1]))
        return self.classifier(self.dropout(utterance)), weights


@architecture(
    "lstm_attn_audio",
    BlstmConfig,
    reference=REFERENCE,
    training={"learning_rate": 5e-4},
    data={"feature": "log_mel_40"},
    small={"hidden_dim": 16},
)
class LstmAttnAudio(LstmAttn):
    """:class:`LstmAttn` over D values a frame; arguments: see :class:`BlstmConfig`."""

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        hidden_dim: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__(feature_dim, num_classes, hidden_dim, num_layers, dropout)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch; ``attention["frames"]`` is (B, T) and sums to 1."""
        logits, weights = self.classify(batch.frames, batch.lengths)
        return ModelOutput.of(logits, frames=weights)

    def framewise(self, batch: Batch) -> Framewise:
        """As :meth:`.Blstmatt.framewise`."""
        hidden = self.encoder(batch.frames, batch.lengths)
        return Framewise.of_frames(self.classifier(hidden), batch.lengths)


@architecture(
    "lstm_attn_text",
    LstmAttnTextConfig,
    reference=REFERENCE,
    training={"learning_rate": 5e-4},
    data={"feature": "log_mel_40"},
    inputs=frozenset({"text"}),
    small={"embedding_dim": 12, "hidden_dim": 16},
)
class LstmAttnText(LstmAttn):
    """:class:`LstmAttn` over E values a word; arguments: see :class:`LstmAttnTextConfig`.

    No audio is read, whatever ``data.feature`` names. An utterance without words is one unknown
    word.
    """

    def __init__(
        self,
        *,
        embedding: WordEmbedding,
        num_classes: int,
        hidden_dim: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        size = embedding.embedding_dim
        super().__init__(size, num_classes, hidden_dim, num_layers, dropout, embedding)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch; ``attention["words"]`` is (B, L) and sums to 1."""
        words = batch_words(batch)
        assert self.embedding is not None  # noqa: S101 - for the type checker
        logits, weights = self.classify(self.embedding(words.ids, words.vectors), words.counts)
        return ModelOutput.of(logits, words=weights)
