"""What the systems with a BLSTM for audio and a BLSTM for text begin with.

Shapes: B utterances, T frames, L words, H hidden units a direction.
"""

from __future__ import annotations

from torch import Tensor, nn

from serplatform.models.base import Batch, SerModel
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.words import BatchWords, WordEmbedding, batch_words


class TextAudioModel(SerModel):
    """Word vectors, an encoder a modality, and the dropout that follows them."""

    def __init__(
        self,
        feature_dim: int,
        embedding: WordEmbedding,
        hidden_dim: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.audio_encoder = BiLstm(feature_dim, hidden_dim, num_layers, dropout)
        self.text_encoder = BiLstm(embedding.embedding_dim, hidden_dim, num_layers, dropout)
        self.dropout = nn.Dropout(dropout)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, BatchWords]:
        """Run both encoders: (B, T, 2H) and (B, L, 2H) outputs, (B, T) valid frames, the words."""
        words = batch_words(batch)
        audio = self.audio_encoder(batch.frames, batch.lengths)
        text = self.text_encoder(self.embedding(words.ids, words.vectors), words.counts)
        return audio, text, valid_steps(batch.lengths, batch.frames.shape[1]), words
