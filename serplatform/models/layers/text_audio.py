"""What the systems with a BLSTM for audio and a BLSTM for text have in common.

Shapes: B utterances, T frames, L words, S steps, H hidden units a direction.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from torch import Tensor, nn

from serplatform.models.base import Batch, Criterion, Framewise, ModelOutput, SerModel
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.local_windows import LocalWindows
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.words import WordEmbedding, batch_words

#: frames of a step, and frames that its class is of, it in their middle
STEP_FRAMES, LOCAL_FRAMES = 10, 50


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Both modalities of utterances, encoded.

    Attributes:
        audio: (B, T, 2H) outputs of the audio encoder.
        lengths: (B,) int64, frames; ``valid`` marks them, (B, T).
        text: (B, L, 2H) outputs of the text encoder.
        counts: (B,) int64, words; ``valid_words`` marks them, (B, L).
    """

    audio: Tensor
    lengths: Tensor
    valid: Tensor
    text: Tensor
    counts: Tensor
    valid_words: Tensor


class TextAudioModel(SerModel):
    """Word vectors, an encoder a modality, the dropout that follows them, and a head.

    A subclass has the head, :meth:`classify`.

    Attributes:
        drops_encoded: dropout follows the encoders, too.
    """

    drops_encoded: ClassVar[bool] = False

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

    def encode(self, batch: Batch) -> Encoded:
        """Run both encoders."""
        words = batch_words(batch)
        drop = self.dropout if self.drops_encoded else nn.Identity()
        return Encoded(
            audio=drop(self.audio_encoder(batch.frames, batch.lengths)),
            lengths=batch.lengths,
            valid=valid_steps(batch.lengths, batch.frames.shape[1]),
            text=drop(self.text_encoder(self.embedding(words.ids, words.vectors), words.counts)),
            counts=words.counts,
            valid_words=words.valid,
        )

    def classify(self, encoded: Encoded) -> ModelOutput:
        """The head: classes of encoded utterances."""
        raise NotImplementedError

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch; for the attention see :meth:`classify`."""
        return self.classify(self.encode(batch))

    def framewise(self, batch: Batch) -> Framewise:
        """The class were the audio of :data:`LOCAL_FRAMES` around a step all the audio (ours).

        These systems know no times of words, so a step is :data:`STEP_FRAMES` frames, and the text
        is that of the whole utterance: what changes over time is what the audio adds to it. The
        audio encoder's outputs know what lies around them.
        """
        whole = self.encode(batch)
        around = LocalWindows.of(batch.lengths, hop=STEP_FRAMES, size=LOCAL_FRAMES)
        local = Encoded(
            audio=around.gather(whole.audio),
            lengths=around.lengths,
            valid=around.valid,
            text=around.of_utterance(whole.text),
            counts=around.of_utterance(whole.counts),
            valid_words=around.of_utterance(whole.valid_words),
        )
        found = around.by_step(self.classify(local).log_posteriors)
        return Framewise(found, around.steps, around.spans)
