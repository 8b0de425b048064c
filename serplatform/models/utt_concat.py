"""UttConcat: a recurrent encoder for audio, one for text, their vectors side by side.

The multimodal baseline "UttConcat" of Table 1 in Li, Ding, Wu and Liu, "Learning Fine-Grained
Cross Modality Excitement for Speech Emotion Recognition", 2020, after Yoon, Byun and Jung,
"Multimodal Speech Emotion Recognition Using Audio and Text", SLT 2018.

Shapes: B utterances, T frames, L words, D feature dimension, E values of a word vector, H hidden
units a direction, K classes.
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
from serplatform.models.layers.utterance_pooling import PoolingKind, UtterancePooling
from serplatform.models.layers.word_embedding import WordEmbedding, WordVectorsConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class UttConcatConfig(WordVectorsConfig):
    """Settings of :class:`UttConcat`; the paper does not state those of its baseline."""

    hidden_dim: int = setting(128, "LSTM units a direction, of both encoders", low=1)
    num_layers: int = setting(1, "stacked bidirectional LSTM layers", low=1, high=8)
    pooling: Literal["last", "mean", "max", "attention"] = setting(
        "last", "what stands for a modality: its LSTM's last outputs, mean, maximum or attention"
    )
    dropout: float = setting(
        0.3, "share dropped between LSTM layers and before the classifier", low=0.0, high=0.95
    )


class UttConcat(SerModel):
    r"""Two BLSTMs, each pooled to one vector; concatenation; linear classifier.

    .. math:: o = W_c [z^{audio}; z^{text}] + b_c

    "Two individual bi-directional LSTMs are used as unimodal encoders […] and the unimodal
    embeddings are concatenated at utterance level for the final prediction" is all that the
    paper says. As in Yoon, Byun and Jung, an encoder's last outputs are its embedding; their
    prosodic features and the dense layer of each modality are left out, as the paper names
    neither. Sizes and dropout are those that Lee et al. (Interspeech 2020) give their
    bidirectional LSTMs. An utterance without words is one unknown word.

    Args:
        feature_dim: D.
        embedding: of the word ids.
        num_classes: K.
        hidden_dim: H.
        num_layers: LSTM layers.
        pooling: how an encoder's outputs become one vector.
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
        pooling: PoolingKind,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.audio_encoder = BiLstm(feature_dim, hidden_dim, num_layers, dropout)
        self.text_encoder = BiLstm(embedding.embedding_dim, hidden_dim, num_layers, dropout)
        self.audio_pooling = UtterancePooling(2 * hidden_dim, pooling)
        self.text_pooling = UtterancePooling(2 * hidden_dim, pooling)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(4 * hidden_dim, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch.

        With ``pooling`` "attention", ``attention["frames"]`` is (B, T) and
        ``attention["words"]`` (B, L); each sums to 1.
        """
        words = batch_words(batch)
        valid = valid_steps(batch.lengths, batch.frames.shape[1])  # (B, T)
        audio = self.audio_encoder(batch.frames, batch.lengths)  # (B, T, 2H)
        text = self.text_encoder(self.embedding(words.ids), words.counts)  # (B, L, 2H)
        audio, frame_weights = self.audio_pooling(audio, batch.lengths, valid)  # (B, 2H)
        text, word_weights = self.text_pooling(text, words.counts, words.valid)  # (B, 2H)
        utterance = torch.cat([audio, text], dim=1)  # (B, 4H)
        logits = self.classifier(self.dropout(utterance))  # (B, K)
        maps = {"frames": frame_weights, "words": word_weights}
        return ModelOutput(
            log_posteriors=logits.log_softmax(dim=-1),
            logits=logits,
            attention={name: w.detach() for name, w in maps.items() if w is not None},
        )


build = builder(UttConcat)

ARCHITECTURES.register("utt_concat")(
    Architecture(
        name="utt_concat",
        config=UttConcatConfig,
        build=build,
        reference=(
            "Li, Ding, Wu and Liu, 'Learning Fine-Grained Cross Modality Excitement for Speech "
            "Emotion Recognition', 2020, Table 1 (UttConcat), after Yoon, Byun and Jung, SLT 2018"
        ),
        training={"learning_rate": 5e-4},
        data={"feature": "log_mel_40"},
        inputs=frozenset({"audio", "text"}),
        small={"embedding_dim": 12, "hidden_dim": 16},
    )
)
