"""CAN: audio and text in word steps, each modality's attention applied to both.

Lee, Yoon and Jung, "Multimodal Speech Emotion Recognition using Cross Attention with Aligned
Audio and Text", Interspeech 2020, section 3, Eqs. (1)-(15).

Shapes: B utterances, T frames, L words, D feature dimension, E values of a word vector, H hidden
units a direction, M heads, K classes.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

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
from serplatform.models.layers.batch_words import BatchWords, batch_words
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.cross_attention import CrossAttention
from serplatform.models.layers.word_embedding import WordEmbedding, WordVectorsConfig
from serplatform.models.layers.word_segment_encoder import WordSegmentEncoder
from serplatform.models.layers.word_segments import WordSegments


@dataclasses.dataclass(frozen=True, kw_only=True)
class CanConfig(WordVectorsConfig):
    """Settings of :class:`Can`; the defaults are the paper's."""

    hidden_dim: int = setting(128, "LSTM units a direction, of all three LSTMs", low=1)
    num_heads: int = setting(4, "attention queries of each modality", low=1, high=64)
    dropout: float = setting(0.3, "share dropped after every LSTM", low=0.0, high=0.95)
    alpha: float = setting(
        0.1,
        "weight α of the single modalities' predictions, in the loss and in the posterior; "
        "0 leaves them out (ablation)",
        low=0.0,
        high=10.0,
    )
    stop_gradient: bool = setting(
        True, "a modality's attention learns nothing from the other modality; false: ablation"
    )
    cross_attention: bool = setting(
        True, "false leaves out the crossed contexts and with them α and stop_gradient (ablation)"
    )


class Can(SerModel):
    r"""Two recurrent encoders over words, cross attention, three linear classifiers.

    .. math::

        \hat y = \mathrm{softmax}(W^\top [c^{TT}; c^{TA}; c^{AA}; c^{AT}] + b), \qquad
        L = CE(\hat y) + \alpha (CE(\hat y^T) + CE(\hat y^A)), \qquad
        \hat y^{final} \propto \hat y \cdot (\hat y^T)^\alpha \cdot (\hat y^A)^\alpha

    Words and the frames of each come with the data: for the paper's segmentation the time of
    ``<s>``, ``<sil>``, ``</s>`` is divided between the neighbours (``data.word_silence: divide``)
    and neighbours overlap by 10 % (``data.word_overlap: 0.1``), which are this architecture's
    defaults; ``data.word_segmentation: equal`` is the ablation of Table 3 and needs no
    alignment. Every word's frames are encoded at once.

    The paper leaves open, and here: "128 hidden units" are units of a direction, as D_h is of
    f_θ in Eqs. (1)-(2), so a step has 2H values; every head attends to all of them with a query
    of its own, and its context vectors stand side by side; dropout follows each of the three
    LSTMs, after the pooling of the bottom one; Eq. (15) is renormalised. MFCCs are computed over
    the whole utterance and then cut, not computed from each cut piece of audio: frames at a cut
    see up to half a window (12.5 ms) of the neighbour.

    An utterance without words has one unknown word that spans it.

    The paper states no number of parameters. At its settings, with D = 40 and K = 7, ours are
    1,054,741 and 300 a word: 440,320 in the text LSTM, 174,080 and 395,264 in the lower and the
    upper audio LSTM, 2,048 in the queries, 28,679 + 2 · 7,175 in the classifiers.

    Args:
        feature_dim: D.
        num_classes: K.
        embedding: of the words, E values each.
        hidden_dim: H.
        num_heads: M.
        dropout: in [0, 1).
        alpha: at least 0; with 0 there are no classifiers of single modalities.
        stop_gradient: sg in Eqs. (7) and (9).
        cross_attention: false concatenates c(TT) and c(AA) only, without α.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        embedding: WordEmbedding,
        hidden_dim: int,
        num_heads: int,
        dropout: float,
        alpha: float,
        stop_gradient: bool,
        cross_attention: bool,
    ) -> None:
        super().__init__()
        self.alpha = alpha if cross_attention else 0.0
        self.embedding = embedding
        self.text_encoder = BiLstm(embedding.embedding_dim, hidden_dim)
        self.segment_encoder = WordSegmentEncoder(feature_dim, hidden_dim)
        self.audio_encoder = BiLstm(2 * hidden_dim, hidden_dim)
        self.attention = CrossAttention(2 * hidden_dim, num_heads, cross_attention, stop_gradient)
        self.dropout = nn.Dropout(dropout)
        context_dim = num_heads * 2 * hidden_dim
        self.classifier = nn.Linear((4 if cross_attention else 2) * context_dim, num_classes)
        self.text_classifier = nn.Linear(context_dim, num_classes) if self.alpha else None
        self.audio_classifier = nn.Linear(context_dim, num_classes) if self.alpha else None

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch.

        ``attention["text_words"]`` is α(T) and ``attention["audio_words"]`` is α(A), each the
        mean over the heads: (B, L), sums of 1.
        """
        words = batch_words(batch)
        text = self._encode(self.text_encoder, self.embedding(words.ids), words)  # Eqs. (1)-(3)
        segments = WordSegments.of(words, batch.lengths, batch.frames.shape[1])
        steps = self.dropout(self.segment_encoder(batch.frames, segments))  # (B, L, 2H)
        audio = self._encode(self.audio_encoder, steps, words)  # H(A), (B, L, 2H)
        c = self.attention(text, audio, words.valid)  # Eqs. (4)-(9)
        contexts = [vector for vector in (c.tt, c.ta, c.aa, c.at) if vector is not None]
        logits = self.classifier(torch.cat(contexts, dim=1))  # Eq. (10), (B, K)
        output = ModelOutput(
            log_posteriors=logits.log_softmax(dim=-1),
            logits=logits,
            attention={
                "text_words": c.text_weights.mean(dim=1).detach(),
                "audio_words": c.audio_weights.mean(dim=1).detach(),
            },
        )
        if self.text_classifier is None or self.audio_classifier is None:
            return output
        text_logits = self.text_classifier(c.tt)  # Eq. (11), (B, K)
        audio_logits = self.audio_classifier(c.aa)  # Eq. (12), (B, K)
        single = text_logits.log_softmax(dim=-1) + audio_logits.log_softmax(dim=-1)
        final = output.log_posteriors + self.alpha * single  # Eq. (15)
        output.log_posteriors = final.log_softmax(dim=-1)
        if criterion is not None:
            labels = batch.labels
            align = criterion(text_logits, labels) + criterion(audio_logits, labels)  # Eq. (13)
            output.losses = criterion(logits, labels) + self.alpha * align  # Eq. (14)
        return output

    def _encode(self, encoder: BiLstm, steps: Tensor, words: BatchWords) -> Tensor:
        """(B, L, ·) to (B, L, 2H), zero on padding, with dropout."""
        hidden: Tensor = self.dropout(encoder(steps, words.counts))
        return hidden


build = builder(Can)

ARCHITECTURES.register("can")(
    Architecture(
        name="can",
        config=CanConfig,
        build=build,
        reference=(
            "Lee, Yoon and Jung, 'Multimodal Speech Emotion Recognition using Cross Attention "
            "with Aligned Audio and Text', Interspeech 2020, Eqs. (1)-(15)"
        ),
        training={"learning_rate": 1e-3, "batch_size": 64, "gradient_clip": 1.0, "patience": 10},
        data={"feature": "mfcc_40", "word_silence": "divide", "word_overlap": 0.1},
        inputs=frozenset({"audio", "text", "words"}),
        small={"embedding_dim": 12, "hidden_dim": 16},
    )
)
