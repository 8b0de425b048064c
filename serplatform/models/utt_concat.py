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

from serplatform.models import ModelOutput, architecture, setting
from serplatform.models.layers.bilstm import BlstmConfig
from serplatform.models.layers.pooling import PoolingKind, UtterancePooling
from serplatform.models.layers.text_audio import Encoded, TextAudioModel
from serplatform.models.layers.words import WordEmbedding, WordVectorsConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class UttConcatConfig(BlstmConfig, WordVectorsConfig):
    """Settings of :class:`UttConcat`; the paper does not state those of its baseline."""

    pooling: Literal["last", "mean", "max", "attention"] = setting(
        "last", "what stands for a modality: its LSTM's last outputs, mean, maximum or attention"
    )


@architecture(
    "utt_concat",
    UttConcatConfig,
    reference="Li et al., 2020 (FG-CME), Table 1 (UttConcat); Yoon et al., SLT 2018",
    training={"learning_rate": 5e-4},
    data={"feature": "log_mel_40"},
    inputs=frozenset({"audio", "text"}),
    small={"embedding_dim": 12, "hidden_dim": 16},
)
class UttConcat(TextAudioModel):
    r"""Two BLSTMs, each pooled to one vector; concatenation; linear classifier.

    .. math:: o = W_c [z^{audio}; z^{text}] + b_c

    "Two individual bi-directional LSTMs are used as unimodal encoders […] and the unimodal
    embeddings are concatenated at utterance level for the final prediction" is all that the
    paper says. As in Yoon, Byun and Jung, an encoder's last outputs are its embedding; their
    prosodic features and the dense layer of each modality are left out, as the paper names
    neither. Sizes and dropout are those that Lee et al. (Interspeech 2020) give their
    bidirectional LSTMs. An utterance without words is one unknown word.
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
        super().__init__(feature_dim, embedding, hidden_dim, num_layers, dropout)
        self.audio_pooling = UtterancePooling(2 * hidden_dim, pooling)
        self.text_pooling = UtterancePooling(2 * hidden_dim, pooling)
        self.classifier = nn.Linear(4 * hidden_dim, num_classes)

    def classify(self, encoded: Encoded) -> ModelOutput:
        """Pool and classify encoded utterances.

        With ``pooling`` "attention", ``attention["frames"]`` is (B, T) and
        ``attention["words"]`` (B, L); each sums to 1.
        """
        audio, frame_weights = self.audio_pooling(encoded.audio, encoded.lengths, encoded.valid)
        text, word_weights = self.text_pooling(encoded.text, encoded.counts, encoded.valid_words)
        utterance = torch.cat([audio, text], dim=1)  # (B, 4H)
        logits = self.classifier(self.dropout(utterance))  # (B, K)
        return ModelOutput.of(logits, frames=frame_weights, words=word_weights)
