"""AttnFusion: every word learns which frames are its own, then words are read in order.

Xu, Zhang, Han, Wang, Peng and Li, "Learning Alignment for Multimodal Emotion Recognition from
Speech", Interspeech 2019; the baseline "AttnFusion" of Table 1 in Li, Ding, Wu and Liu, "Learning
Fine-Grained Cross Modality Excitement for Speech Emotion Recognition", 2020, and "Xu et al." of
Table 2 in Lee et al., Interspeech 2020.

Shapes: B utterances, T frames, L words, D feature dimension, E values of a word vector, H hidden
units a direction, P units of the projection, K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
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
from serplatform.models.layers.batch_words import batch_words
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.multi_head_alignment import MultiHeadAlignment
from serplatform.models.layers.tanh_alignment import TanhAlignment
from serplatform.models.layers.utterance_pooling import PoolingKind, UtterancePooling
from serplatform.models.layers.word_embedding import WordEmbedding, WordVectorsConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttnFusionConfig(WordVectorsConfig):
    """Settings of :class:`AttnFusion`; sizes are those of Lee et al.'s bidirectional LSTMs."""

    hidden_dim: int = setting(128, "LSTM units a direction, of all three LSTMs", low=1)
    num_layers: int = setting(1, "stacked layers of the two encoders", low=1, high=8)
    alignment: Literal["tanh", "multihead"] = setting(
        "tanh", "how words choose frames: one tanh unit (Xu et al.), or heads of dot products"
    )
    num_heads: int = setting(4, "heads, where alignment is multihead", low=1, high=64)
    pooling: Literal["last", "mean", "max", "attention"] = setting(
        "max", "what stands for the utterance: maximum, mean, last outputs or attention"
    )
    projection_dim: int = setting(128, "units of the hidden layer of the classifier", low=1)
    dropout: float = setting(0.3, "share dropped after every LSTM layer", low=0.0, high=0.95)

    def __post_init__(self) -> None:
        if self.alignment == "multihead" and (2 * self.hidden_dim) % self.num_heads:
            raise ValueError(
                f"num_heads = {self.num_heads}: must divide 2 · hidden_dim = {2 * self.hidden_dim}"
            )


class AttnFusion(SerModel):
    r"""Two BLSTMs, learned alignment, a BLSTM over words, pooling, two dense layers.

    .. math::

        \tilde h_j = \sum_i \alpha_{j,i} h_i, \qquad
        c_j = \mathrm{BLSTM}([s_j; \tilde h_j]), \qquad
        o = W_c \, \mathrm{relu}(W_p \max_j c_j + b_p) + b_c

    with s_j the text encoder's output of word j, h_i the audio encoder's of frame i and α the
    weights of :class:`.TanhAlignment`. Word times are not used: the alignment is learned from
    the labels alone. Li et al. call the same baseline "multihead attention for fusing the
    multimodal features at word level", and the code that Xu et al. released has such a layer:
    ``alignment: multihead``. The hidden dense layer has the size of Li et al.'s own; dropout is
    where Lee et al. have it, after every LSTM. An utterance without words is one unknown word,
    which is aligned to the frames as any other.

    Args:
        feature_dim: D.
        embedding: of the word ids.
        num_classes: K.
        hidden_dim: H.
        num_layers: layers of the two encoders.
        alignment: kind of attention.
        num_heads: of ``multihead``.
        pooling: how the last LSTM's outputs become one vector.
        projection_dim: P.
        dropout: in [0, 1).
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        embedding: WordEmbedding,
        num_classes: int,
        hidden_dim: int,
        num_layers: int,
        alignment: Literal["tanh", "multihead"],
        num_heads: int,
        pooling: PoolingKind,
        projection_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        width = 2 * hidden_dim
        self.embedding = embedding
        self.audio_encoder = BiLstm(feature_dim, hidden_dim, num_layers, dropout)
        self.text_encoder = BiLstm(embedding.embedding_dim, hidden_dim, num_layers, dropout)
        self.alignment: TanhAlignment | MultiHeadAlignment = (
            TanhAlignment(width, width)
            if alignment == "tanh"
            else MultiHeadAlignment(width, width, num_heads)
        )
        self.fusion = BiLstm(2 * width, hidden_dim)
        self.pooling = UtterancePooling(width, pooling)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(width, projection_dim)
        self.classifier = nn.Linear(projection_dim, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch.

        ``attention["alignment"]`` is (B, L, T), each word's weights over the frames, sum 1; with
        ``pooling`` "attention" also ``attention["words"]``, (B, L).
        """
        words = batch_words(batch)
        valid = valid_steps(batch.lengths, batch.frames.shape[1])  # (B, T)
        audio = self.dropout(self.audio_encoder(batch.frames, batch.lengths))  # h, (B, T, 2H)
        text = self.text_encoder(self.embedding(words.ids), words.counts)
        text = self.dropout(text)  # s, (B, L, 2H)
        aligned, weights = self.alignment(text, audio, words.valid, valid)  # (B, L, 2H)
        hidden = self.fusion(torch.cat([text, aligned], dim=2), words.counts)  # c, (B, L, 2H)
        utterance, word_weights = self.pooling(hidden, words.counts, words.valid)  # (B, 2H)
        dense = self.projection(self.dropout(utterance)).relu()  # (B, P)
        logits = self.classifier(dense)  # (B, K)
        maps = {"alignment": weights.detach()}
        if word_weights is not None:
            maps["words"] = word_weights.detach()
        return ModelOutput(log_posteriors=logits.log_softmax(dim=-1), logits=logits, attention=maps)


build = builder(AttnFusion)

ARCHITECTURES.register("attn_fusion")(
    Architecture(
        name="attn_fusion",
        config=AttnFusionConfig,
        build=build,
        reference=(
            "Xu et al., 'Learning Alignment for Multimodal Emotion Recognition from Speech', "
            "Interspeech 2019; Li, Ding, Wu and Liu, 2020, Table 1 (AttnFusion)"
        ),
        training={"learning_rate": 5e-4},
        data={"feature": "log_mel_40"},
        inputs=frozenset({"audio", "text"}),
        small={"embedding_dim": 12, "hidden_dim": 16, "projection_dim": 12},
    )
)
