"""FG-CME: words' acoustic and semantic vectors that excite each other, and an LSTM over words.

Li, Ding, Wu and Liu, "Learning Fine-Grained Cross Modality Excitement for Speech Emotion
Recognition", 2020, section 3; the authors' program is github.com/tal-ai/FG_CME.

Shapes: B utterances, T frames, L words, D feature dimension, C channels, E values of a word
vector, A and S values of an acoustic and a semantic word, H hidden units a direction, K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

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
from serplatform.models.layers.batch_words import batch_words
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.convolution_block import ConvolutionBlock
from serplatform.models.layers.cross_excitement import CrossExcitement, Excite
from serplatform.models.layers.ctc_word_alignment import CtcWordAlignment
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.plain_convolution import PlainConvolution
from serplatform.models.layers.word_embedding import WordEmbedding, WordVectorsConfig
from serplatform.models.layers.word_pooling import WordPooling, pool_words
from serplatform.models.layers.word_segments import WordSegments

Convolution = Literal["linear", "relu", "norm_relu"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FgcmeConfig(WordVectorsConfig):
    """Settings of :class:`Fgcme`; the defaults are the paper's."""

    channels_1: int = setting(64, "channels of the first convolution", low=1)
    channels_2: int = setting(128, "channels of the second convolution", low=1)
    channels_3: int = setting(128, "channels of the third convolution", low=1)
    kernel_1: int = setting(5, "frames under the first convolution's kernel", low=1, high=31)
    kernel_2: int = setting(2, "frames under the second convolution's kernel", low=1, high=31)
    kernel_3: int = setting(2, "frames under the third convolution's kernel", low=1, high=31)
    convolution: Literal["linear", "relu", "norm_relu"] = setting(
        "linear", "what follows a convolution: nothing, ReLU, or batch normalisation and ReLU"
    )
    alignment: Literal["forced", "ctc"] = setting(
        "forced", "words' frames from the data, or predicted by the model (ablation)"
    )
    pooling: Literal["mean_max", "mean", "max"] = setting(
        "mean_max", "how a word's frames become its acoustic vector; not with ctc"
    )
    ctc_weight: float = setting(1.0, "weight of the ctc alignment's loss", low=0.0, high=100.0)
    max_words: int = setting(128, "positions of words that ctc tells apart", low=1, high=1024)
    text_dim: int = setting(256, "values that a word vector is projected to", low=1)
    excite: Literal["both", "audio", "text", "none"] = setting(
        "both",
        "modalities that are gated by the other; text is the paper's 'w/o Excite-a', audio its "
        "'w/o Excite-s' (ablations)",
    )
    residual: bool = setting(
        False, "add what is gated to the gated, as the authors' program does, not their paper"
    )
    hidden_dim: int = setting(256, "LSTM units a direction", low=1)
    num_layers: int = setting(1, "stacked bidirectional LSTM layers", low=1, high=8)
    classifier_dim: int = setting(128, "units of the layer before the last", low=1)
    dropout: float = setting(
        0.0, "share dropped of words' vectors and before the classifier", low=0.0, high=0.95
    )


class Fgcme(SerModel):
    r"""Convolutions, word pooling, cross modality excitement, BLSTM over words, classifier.

    .. math::

        z^a_j = [\mathrm{mean}_{t \in j}\, \hat x_t, \max_{t \in j}\, \hat x_t], \qquad
        g_j = [\sigma(W^a z^s_j) \odot z^a_j, \sigma(W^s z^a_j) \odot z^s_j], \qquad
        h^* = \max_j \mathrm{BLSTM}(g)_j

    The paper leaves open, and here: the CNN's layers follow each other without activation, as
    in the authors' program (``convolution``); frames keep their number, as the text says, and
    so word times fit them, where the program's layers lose six frames and widen words by as
    many; the two fully connected layers have a ReLU between; W^a, W^s and the projection of
    word vectors have no bias, as in the equations; "256 hidden units" are units of a direction,
    as in the program. Word vectors are trained, and unknown words have a vector of their own.

    Departs from the authors' program, which departs from the paper: the acoustic gate is
    computed from the word's vector Z^s, not from a second table of one gate vector a word;
    there is no residual (``residual``); two fully connected layers, not one; an unknown word
    is not padding.

    ``alignment: ctc`` is the paper's "w/ CTC align" as the program has it: the model predicts
    each frame's word, the weighted sum of frames takes the place of mean and max pooling, and
    the third convolution has twice its channels, so that words have as many values. It reads
    no alignment. The gates stay as they are (the program adds them there), so that the two
    rows of the paper's Table 1 differ in the alignment alone.

    An utterance without words has one unknown word that spans it.

    The paper states no number of parameters. At its settings, with D = 40 and K = 4, ours are
    1,913,284 and 300 a word: 62,272 in the convolutions, 76,800 in the projection of word
    vectors, 131,072 in the gates, 1,576,960 in the LSTM, 66,180 in the last two layers; with
    ``alignment: ctc`` 2,280,032.

    Args:
        feature_dim: D.
        num_classes: K.
        embedding: of the words, E values each.
        channels: C of each convolution.
        kernel_sizes: of each convolution.
        convolution: what follows a convolution.
        alignment: ``"forced"`` pools the data's spans, ``"ctc"`` predicts them.
        pooling: of a word's frames, where the alignment is forced.
        ctc_weight: of the predicted alignment's loss.
        max_words: positions of words that a predicted alignment tells apart.
        text_dim: S.
        excite: modalities that are gated.
        residual: add what is gated.
        hidden_dim: H.
        num_layers: LSTM layers.
        classifier_dim: units of the first fully connected layer.
        dropout: in [0, 1).
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        embedding: WordEmbedding,
        channels: tuple[int, ...],
        kernel_sizes: tuple[int, ...],
        convolution: Convolution,
        alignment: Literal["forced", "ctc"],
        pooling: WordPooling,
        ctc_weight: float,
        max_words: int,
        text_dim: int,
        excite: Excite,
        residual: bool,
        hidden_dim: int,
        num_layers: int,
        classifier_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.ctc_weight = ctc_weight
        audio_dim = channels[-1] * (2 if alignment == "ctc" or pooling == "mean_max" else 1)
        if alignment == "ctc":
            channels = (*channels[:-1], audio_dim)
        self.blocks = _convolutions(feature_dim, channels, kernel_sizes, convolution)
        self.ctc = CtcWordAlignment(audio_dim, max_words) if alignment == "ctc" else None
        self.embedding = embedding
        self.text_projection = nn.Linear(embedding.embedding_dim, text_dim, bias=False)
        self.excitement = CrossExcitement(audio_dim, text_dim, excite, residual)
        self.encoder = BiLstm(audio_dim + text_dim, hidden_dim, num_layers, dropout)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(2 * hidden_dim, classifier_dim)
        self.classifier = nn.Linear(classifier_dim, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch.

        In evaluation ``attention["words"]`` is (B, L): the share of the 2H maxima that come from
        each word. With a predicted alignment, ``attention["alignment"]`` is (B, L, T): how much
        of each frame each word has.
        """
        words = batch_words(batch)
        frames = self._convolve(batch.frames, batch.lengths)  # X̂^a, (B, T, C)
        maps: dict[str, Tensor] = {}
        alignment_losses = None
        if self.ctc is None:
            segments = WordSegments.of(words, batch.lengths, frames.shape[1])
            audio = pool_words(frames, segments, self.pooling)  # Z^a, (B, L, A)
        else:
            weights, log_weights = self.ctc(frames, batch.lengths, words.ids.shape[1])
            weights = weights * words.valid.unsqueeze(2)  # in the place of A, (B, L, T)
            audio = torch.bmm(weights, frames)  # Z^a, (B, L, A)
            alignment_losses = self.ctc.losses(log_weights, batch.lengths, words.counts)  # (B,)
            maps["alignment"] = weights.detach()
        text = self.text_projection(self.embedding(words.ids))  # Z^s, (B, L, S)
        audio, text = self.excitement(audio, text)  # Z̄^a and Z̄^s
        steps = self.dropout(torch.cat([audio, text], dim=2))  # g, (B, L, A + S)
        hidden = self.encoder(steps, words.counts)  # h, (B, L, 2H)
        hidden = hidden.masked_fill(~words.valid.unsqueeze(2), -torch.inf)
        utterance, winner = hidden.max(dim=1)  # h*, (B, 2H)
        logits = self.classifier(self.hidden(self.dropout(utterance)).relu())  # Eq. (1), (B, K)
        output = ModelOutput(
            log_posteriors=logits.log_softmax(dim=-1), logits=logits, attention=maps
        )
        if criterion is None:
            wins = torch.zeros_like(words.ids).scatter_add(1, winner, torch.ones_like(winner))
            maps["words"] = wins / winner.shape[1]
        elif alignment_losses is not None:
            weight = criterion.weights_of(batch.labels)
            if weight is not None:
                alignment_losses = alignment_losses * weight.to(alignment_losses)
            losses = criterion(logits, batch.labels)  # Eq. (2)
            output.losses = losses + self.ctc_weight * alignment_losses
        return output

    def _convolve(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D) frames to (B, T, C), zero on padding."""
        valid = valid_steps(lengths, frames.shape[1])
        maps = (frames * valid.unsqueeze(2)).transpose(1, 2)  # (B, D, T)
        for block in self.blocks:
            if isinstance(block, ConvolutionBlock):
                maps = block(maps, valid, valid)
            else:
                maps = block(maps, valid)
        return maps.transpose(1, 2)


def _convolutions(
    feature_dim: int, channels: tuple[int, ...], kernel_sizes: tuple[int, ...], kind: Convolution
) -> nn.ModuleList:
    """One convolution after the other, each with what follows it."""
    sizes = list(zip((feature_dim, *channels[:-1]), channels, kernel_sizes, strict=True))
    if kind == "norm_relu":
        return nn.ModuleList(ConvolutionBlock(*size) for size in sizes)
    return nn.ModuleList(PlainConvolution(*size, relu=kind == "relu") for size in sizes)


build = builder(Fgcme)

ARCHITECTURES.register("fgcme")(
    Architecture(
        name="fgcme",
        config=FgcmeConfig,
        build=build,
        reference=(
            "Li, Ding, Wu and Liu, 'Learning Fine-Grained Cross Modality Excitement for Speech "
            "Emotion Recognition', 2020, section 3"
        ),
        training={"learning_rate": 5e-4},
        data={"feature": "log_mel_40"},
        inputs=frozenset({"audio", "text", "words"}),
        small={
            "embedding_dim": 12,
            "channels_1": 12,
            "channels_2": 14,
            "channels_3": 16,
            "text_dim": 12,
            "hidden_dim": 16,
            "classifier_dim": 24,
        },
    )
)
