"""LSTM + attention over text: a bidirectional LSTM over word vectors, pooled by a learned query.

The semantic baseline "LSTM+Attn" of Table 1 in Li, Ding, Wu and Liu, "Learning Fine-Grained
Cross Modality Excitement for Speech Emotion Recognition", 2020, and the "TextModel" of Table 2
in Lee et al., "Multimodal Speech Emotion Recognition using Cross Attention with Aligned Audio
and Text", Interspeech 2020; both take Mirsamadi, Barsoum and Zhang, ICASSP 2017, to words.

Shapes: B utterances, L words, E values of a word vector, H hidden units a direction, K classes.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from serplatform.models import Batch, Criterion, ModelOutput, SerModel, architecture
from serplatform.models.layers.bilstm import BiLstm, BlstmConfig
from serplatform.models.layers.pooling import AttentionPooling
from serplatform.models.layers.words import WordEmbedding, WordVectorsConfig, batch_words


@dataclasses.dataclass(frozen=True, kw_only=True)
class LstmAttnTextConfig(BlstmConfig, WordVectorsConfig):
    """Settings of :class:`LstmAttnText`; neither paper states those of its baseline."""


@architecture(
    "lstm_attn_text",
    LstmAttnTextConfig,
    reference=(
        "Li, Ding, Wu and Liu, 'Learning Fine-Grained Cross Modality Excitement for Speech "
        "Emotion Recognition', 2020, Table 1 (LSTM+Attn, semantic); Lee et al., Interspeech "
        "2020, Table 2 (TextModel)"
    ),
    training={"learning_rate": 5e-4},
    data={"feature": "log_mel_40"},
    inputs=frozenset({"text"}),
    small={"embedding_dim": 12, "hidden_dim": 16},
)
class LstmAttnText(SerModel):
    r"""Word vectors, BLSTM, softmax attention with a learned query, linear classifier.

    .. math::

        \alpha_i = \mathrm{softmax}_i(u^\top h_i), \qquad z = \sum_i \alpha_i h_i, \qquad
        o = W_c z + b_c

    Both papers name the baseline without its sizes: 128 units and dropout 0.3 are those that
    Lee et al. give their bidirectional LSTMs, 300 values those of the GloVe vectors of both.
    No audio is read. An utterance without words is one unknown word.

    ``num_classes`` is K, ``embedding`` gives E values a word; the others are
    settings of :class:`LstmAttnTextConfig`.
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
        super().__init__()
        self.embedding = embedding
        self.encoder = BiLstm(embedding.embedding_dim, hidden_dim, num_layers, dropout)
        self.pooling = AttentionPooling(2 * hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * hidden_dim, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch; ``attention["words"]`` is (B, L) and sums to 1."""
        words = batch_words(batch)
        hidden = self.encoder(self.embedding(words.ids), words.counts)  # (B, L, 2H)
        utterance, weights = self.pooling(hidden, words.valid)  # (B, 2H), (B, L)
        logits = self.classifier(self.dropout(utterance))  # (B, K)
        return ModelOutput.of(logits, words=weights)
