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

from serplatform.models import (
    Batch,
    Criterion,
    Framewise,
    ModelOutput,
    SerModel,
    architecture,
    setting,
)
from serplatform.models.layers.bilstm import BiLstm
from serplatform.models.layers.convolution_block import convolution_blocks
from serplatform.models.layers.local_windows import LocalWindows
from serplatform.models.layers.masks import valid_steps
from serplatform.models.layers.onnx_lstm import lstm_operators
from serplatform.models.layers.words import (
    BatchWords,
    WordEmbedding,
    WordPooling,
    WordSegments,
    WordVectorsConfig,
    batch_words,
    pool_words,
)

Convolution = Literal["linear", "relu", "norm_relu"]

#: words that a word's class is of, it in their middle
LOCAL_WORDS = 3


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
    max_words: int = setting(128, "positions of words that ctc distinguishes", low=1, high=1024)
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


@architecture(
    "fgcme",
    FgcmeConfig,
    reference="Li, Ding, Wu and Liu, 2020 (FG-CME), section 3",
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
        self.blocks = convolution_blocks(
            feature_dim,
            channels,
            kernel_sizes,
            norm=convolution == "norm_relu",
            relu=convolution != "linear",
        )
        self.ctc = CtcWordAlignment(audio_dim, max_words) if alignment == "ctc" else None
        if self.ctc is not None:
            self.no_steps = "alignment=ctc gives words no times"
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
        hidden, maps, alignment_losses = self._encode(batch, words, criterion is not None)
        logits, winner = self._classify(hidden, words.valid)
        output = ModelOutput.of(logits, **maps)
        if criterion is None:
            wins = torch.zeros_like(words.ids).scatter_add(1, winner, torch.ones_like(winner))
            output.attention["words"] = wins / winner.shape[1]
        elif alignment_losses is not None:
            weight = criterion.weights_of(batch.labels)
            if weight is not None:
                alignment_losses = alignment_losses * weight.to(alignment_losses)
            losses = criterion(logits, batch.labels)  # Eq. (2)
            output.losses = losses + self.ctc_weight * alignment_losses
        return output

    def framewise(self, batch: Batch) -> Framewise | None:
        """The class were the :data:`LOCAL_WORDS` around a word all words (ours).

        The maximum is taken over their LSTM outputs alone, which know the words around them.
        None where the alignment is predicted, as it gives words weights and no times.
        """
        if self.ctc is not None:
            return None
        words = batch_words(batch)
        hidden, _, _ = self._encode(batch, words, training=False)
        around = LocalWindows.of(words.counts, hop=1, size=LOCAL_WORDS)
        logits, _ = self._classify(around.gather(hidden), around.valid)
        found = around.by_step(logits.log_softmax(dim=-1))
        return Framewise(found, around.steps, words.frames(batch.lengths), words=True)

    def _encode(
        self, batch: Batch, words: BatchWords, training: bool
    ) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """(B, L, 2H) outputs of words, maps, and in training the predicted alignment's losses."""
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
            if training:
                alignment_losses = self.ctc.losses(log_weights, batch.lengths, words.counts)  # (B,)
            maps["alignment"] = weights
        text = self.text_projection(self.embedding(words.ids, words.vectors))  # Z^s, (B, L, S)
        audio, text = self.excitement(audio, text)  # Z̄^a and Z̄^s
        steps = self.dropout(torch.cat([audio, text], dim=2))  # g, (B, L, A + S)
        return self.encoder(steps, words.counts), maps, alignment_losses  # h

    def _classify(self, hidden: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, 2H) words, of which some are valid, to (B, K) and the (B, 2H) words of maxima."""
        hidden = hidden.masked_fill(~valid.unsqueeze(2), -torch.inf)
        utterance, winner = hidden.max(dim=1)  # h*, (B, 2H)
        return self.classifier(self.hidden(self.dropout(utterance)).relu()), winner  # Eq. (1)

    def _convolve(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D) frames to (B, T, C), zero on padding."""
        valid = valid_steps(lengths, frames.shape[1])
        maps = (frames * valid.unsqueeze(2)).transpose(1, 2)  # (B, D, T)
        for block in self.blocks:
            maps = block(maps, valid, valid)
        return maps.transpose(1, 2)


Excite = Literal["both", "audio", "text", "none"]


class CrossExcitement(nn.Module):
    r"""Gates between 0 and 1 that one modality sets for the other.

    Li, Ding, Wu and Liu, 2020 (FG-CME), section 3.3:

    .. math::

        E^a = \sigma(W^a Z^s), \qquad E^s = \sigma(W^s Z^a), \qquad
        \bar Z^a = E^a \odot Z^a, \qquad \bar Z^s = E^s \odot Z^s

    Both gates see the other modality's values before its own gate. As in the equations, the
    projections have no bias. The paper's W^s is also the projection of word vectors in section
    3.1.2; its shape says that these are two matrices.

    Args:
        audio_dim: A.
        text_dim: S.
        excite: the representations that are gated. ``"text"`` is the paper's "w/o Excite^a",
            ``"audio"`` its "w/o Excite^s", ``"none"`` its "w/o Excite^m".
        residual: add what is gated, Z + E ⊙ Z, as the authors' program does and the paper does
            not say.
    """

    def __init__(
        self, audio_dim: int, text_dim: int, excite: Excite = "both", residual: bool = False
    ) -> None:
        super().__init__()
        self.residual = residual
        gates_audio, gates_text = excite in ("both", "audio"), excite in ("both", "text")
        self.audio_gate = nn.Linear(text_dim, audio_dim, bias=False) if gates_audio else None
        self.text_gate = nn.Linear(audio_dim, text_dim, bias=False) if gates_text else None

    def forward(self, audio: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Gate both: (B, L, A) and (B, L, S) to the same shapes."""
        return self._gated(audio, text, self.audio_gate), self._gated(text, audio, self.text_gate)

    def _gated(self, values: Tensor, other: Tensor, gate: nn.Linear | None) -> Tensor:
        if gate is None:
            return values
        factor: Tensor = gate(other).sigmoid()
        return (factor + 1 if self.residual else factor) * values


_BLANK = 0


class CtcWordAlignment(nn.Module):
    r"""An LSTM that says of every frame which word it belongs to: the first, the second, ….

    Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences", ACL 2019,
    which Li et al., 2020 (FG-CME) take for "w/ CTC align": two stacked LSTM layers of P + 1
    units, whose outputs are the logits of blank and of P positions,

    .. math:: p_t = \mathrm{softmax}(\mathrm{LSTM}(x)_t), \qquad z_j = \sum_t p_{t,j} x_t

    and a connectionist temporal classification loss whose target is 1, 2, …, number of words.

    Departs from Tsai et al.: utterances have their own numbers of frames and words instead of
    being padded to one length. Words beyond the last position share it, and have no part in
    the loss.

    Example:
        >>> align = CtcWordAlignment(input_dim=3, max_words=4)
        >>> weights, log_weights = align(torch.zeros(1, 5, 3), torch.tensor([5]), num_words=2)
        >>> weights.shape, align.losses(log_weights, torch.tensor([5]), torch.tensor([2])).shape
        (torch.Size([1, 2, 5]), torch.Size([1]))
    """

    def __init__(self, input_dim: int, max_words: int) -> None:
        super().__init__()
        self.max_words = max_words
        self.lstm = nn.LSTM(input_dim, max_words + 1, num_layers=2, batch_first=True)

    def forward(self, frames: Tensor, lengths: Tensor, num_words: int) -> tuple[Tensor, Tensor]:
        """Predict the alignment of (B, T, D) finite frames with L words.

        Returns:
            (B, L, T) weights of the frames of each word, zero on padded frames, and
            (B, T, P + 1) logarithms for :meth:`losses`.
        """
        # the LSTM runs from left to right, so padding at the end changes no real frame
        exporting = torch.compiler.is_exporting()
        hidden = lstm_operators(self.lstm, frames, lengths) if exporting else self.lstm(frames)[0]
        log_weights = hidden.log_softmax(dim=-1)  # (B, T, P + 1)
        position = torch.arange(num_words, device=frames.device).clamp(max=self.max_words - 1) + 1
        valid = valid_steps(lengths, frames.shape[1])  # (B, T)
        weights = log_weights[..., position].exp() * valid.unsqueeze(2)  # (B, T, L)
        return weights.transpose(1, 2), log_weights

    def losses(self, log_weights: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        """(B,) losses of the words' order, divided by the number of words.

        Zero where there are fewer frames than words, which no alignment can be.
        """
        counts = counts.clamp(max=self.max_words)
        order = torch.arange(1, self.max_words + 1, device=counts.device)
        losses: Tensor = nn.functional.ctc_loss(
            log_weights.transpose(0, 1).float(),
            order.expand(len(counts), -1),
            lengths,
            counts,
            blank=_BLANK,
            reduction="none",
            zero_infinity=True,
        )
        return losses / counts
