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
import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from serplatform.models import ModelOutput, architecture, setting
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.pooling import PoolingKind, UtterancePooling
from serplatform.models.layers.text_audio import Encoded, TextAudioModel
from serplatform.models.layers.words import WordEmbedding, WordVectorsConfig


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


@architecture(
    "attn_fusion",
    AttnFusionConfig,
    reference="Xu et al., Interspeech 2019; Li et al., 2020 (FG-CME), Table 1 (AttnFusion)",
    training={"learning_rate": 5e-4},
    data={"feature": "log_mel_40"},
    inputs=frozenset({"audio", "text"}),
    small={"embedding_dim": 12, "hidden_dim": 16, "projection_dim": 12},
)
class AttnFusion(TextAudioModel):
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
    """

    drops_encoded: ClassVar[bool] = True

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
        super().__init__(feature_dim, embedding, hidden_dim, num_layers, dropout)
        width = 2 * hidden_dim
        self.alignment: TanhAlignment | MultiHeadAlignment = (
            TanhAlignment(width, width)
            if alignment == "tanh"
            else MultiHeadAlignment(width, width, num_heads)
        )
        self.fusion = BiLstm(2 * width, hidden_dim)
        self.pooling = UtterancePooling(width, pooling)
        self.projection = nn.Linear(width, projection_dim)
        self.classifier = nn.Linear(projection_dim, num_classes)

    def classify(self, encoded: Encoded) -> ModelOutput:
        """Align, fuse and classify encoded utterances.

        ``attention["alignment"]`` is (B, L, T), each word's weights over the frames, sum 1; with
        ``pooling`` "attention" also ``attention["words"]``, (B, L).
        """
        text, counts, valid_words = encoded.text, encoded.counts, encoded.valid_words  # s
        aligned, weights = self.alignment(text, encoded.audio, valid_words, encoded.valid)
        hidden = self.fusion(torch.cat([text, aligned], dim=2), counts)  # c, (B, L, 2H)
        utterance, word_weights = self.pooling(hidden, counts, valid_words)  # (B, 2H)
        dense = self.projection(self.dropout(utterance)).relu()  # (B, P)
        logits = self.classifier(dense)  # (B, K)
        return ModelOutput.of(logits, alignment=weights, words=word_weights)


class TanhAlignment(nn.Module):
    r"""Give every word a weighted sum of frames; the weights are learned.

    Xu et al., "Learning Alignment for Multimodal Emotion Recognition from Speech", Interspeech
    2019, the attention based alignment, for word j and frame i:

    .. math::

        a_{j,i} = \tanh(v^\top s_j + u^\top h_i + b), \qquad
        \alpha_{j,i} = \mathrm{softmax}_i(a_{j,i}), \qquad
        \tilde h_j = \sum_i \alpha_{j,i} h_i

    Not yet compared with the printed equations, whose numbers are therefore not given.

    Word and frame meet only through the hyperbolic tangent: where it does not saturate, the
    word's term is the same for all frames and the softmax takes it out. Padding gets no weight,
    neither as a frame nor as a word.

    Example:
        >>> layer = TanhAlignment(3, 2)
        >>> words, frames = torch.zeros(1, 2, 3), torch.zeros(1, 4, 2)
        >>> read = torch.tensor([[True, False]]), torch.tensor([[True, True, False, False]])
        >>> layer(words, frames, *read)[1].tolist()
        [[[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]
    """

    def __init__(self, word_dim: int, frame_dim: int) -> None:
        super().__init__()
        self.word = nn.Linear(word_dim, 1, bias=False)  # v
        self.frame = nn.Linear(frame_dim, 1)  # u, b

    def forward(
        self, words: Tensor, frames: Tensor, valid_words: Tensor, valid_frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Align (B, L, word_dim) words with (B, T, frame_dim) frames.

        Returns:
            (B, L, frame_dim) frames of each word, zero on padding; (B, L, T) weights.
        """
        scores = torch.tanh(self.word(words) + self.frame(frames).transpose(1, 2))  # (B, L, T)
        weights = scores.masked_fill(~valid_frames.unsqueeze(1), -torch.inf).softmax(dim=2)
        weights = weights * valid_words.unsqueeze(2)
        return torch.bmm(weights, frames), weights


class MultiHeadAlignment(nn.Module):
    r"""Give every word weighted sums of frames, one a head.

    Vaswani et al., "Attention Is All You Need", NIPS 2017, section 3.2.2, words asking frames:

    .. math::

        \mathrm{head}_m = \mathrm{softmax}(S W^Q_m (H W^K_m)^\top / \sqrt{E}) \, H W^V_m, \qquad
        \tilde H = [\mathrm{head}_1; …; \mathrm{head}_M] W^O

    Without biases, as written there. Padding gets no weight, neither as a frame nor as a word.

    Args:
        word_dim: values of a word, and of its aligned frames.
        frame_dim: values of a frame.
        num_heads: M, which divides ``word_dim``; a head has E values.

    Raises:
        ValueError: it does not.

    Example:
        >>> layer = MultiHeadAlignment(4, 2, num_heads=2)
        >>> words, frames = torch.zeros(1, 2, 4), torch.zeros(1, 4, 2)
        >>> read = torch.tensor([[True, False]]), torch.tensor([[True, True, False, False]])
        >>> layer(words, frames, *read)[1].tolist()
        [[[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]
    """

    def __init__(self, word_dim: int, frame_dim: int, num_heads: int) -> None:
        super().__init__()
        if word_dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {word_dim} values")
        self.num_heads = num_heads
        self.query = nn.Linear(word_dim, word_dim, bias=False)
        self.key = nn.Linear(frame_dim, word_dim, bias=False)
        self.value = nn.Linear(frame_dim, word_dim, bias=False)
        self.output = nn.Linear(word_dim, word_dim, bias=False)

    def forward(
        self, words: Tensor, frames: Tensor, valid_words: Tensor, valid_frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Align one padded batch; see :meth:`TanhAlignment.forward`.

        Gives (B, L, word_dim) frames of each word and (B, L, T) mean weights of the heads.
        """
        query, key, value = self.query(words), self.key(frames), self.value(frames)
        query, key, value = (self._heads(x) for x in (query, key, value))  # (B, M, ·, E)
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])  # (B, M, L, T)
        scores = scores.masked_fill(~valid_frames[:, None, None], -torch.inf)
        weights = scores.softmax(dim=3) * valid_words[:, None, :, None]
        heads = (weights @ value).transpose(1, 2).flatten(2)  # (B, L, M·E)
        return self.output(heads), weights.mean(dim=1)

    def _heads(self, values: Tensor) -> Tensor:
        """(B, ·, M·E) to (B, M, ·, E)."""
        return values.view(*values.shape[:2], self.num_heads, -1).transpose(1, 2)
