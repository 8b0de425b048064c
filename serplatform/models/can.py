"""CAN: audio and text in word steps, each modality's attention applied to both.

Lee, Yoon and Jung, "Multimodal Speech Emotion Recognition using Cross Attention with Aligned
Audio and Text", Interspeech 2020, section 3, Eqs. (1)-(15).

Shapes: B utterances, T frames, L words, D feature dimension, E values of a word vector, H hidden
units a direction, M heads, K classes.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple

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
from serplatform.models.layers.local_windows import LocalWindows
from serplatform.models.layers.words import (
    BatchWords,
    WordEmbedding,
    WordSegments,
    WordVectorsConfig,
    batch_words,
)

#: words that a word's class is of, it in their middle
LOCAL_WORDS = 1


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


@architecture(
    "can",
    CanConfig,
    reference="Lee, Yoon and Jung, Interspeech 2020, Eqs. (1)-(15)",
    training={"learning_rate": 1e-3, "batch_size": 64, "gradient_clip": 1.0, "patience": 10},
    data={"feature": "mfcc_40", "word_silence": "divide", "word_overlap": 0.1},
    inputs=frozenset({"audio", "text", "words"}),
    small={"embedding_dim": 12, "hidden_dim": 16},
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
        return self._classify(*self._encode(batch, words), words.valid, batch.labels, criterion)

    def framewise(self, batch: Batch) -> Framewise:
        """The class of each word were all attention, of every head and modality, on it (ours).

        What follows attention is linear and a head's attention sums to 1: an utterance's logits
        are sums of what heads take from words. A word's LSTM outputs know the words around it.
        With more :data:`LOCAL_WORDS` than one, attention is on the words around.
        """
        words = batch_words(batch)
        around = LocalWindows.of(words.counts, hop=1, size=LOCAL_WORDS)
        text, audio = (around.gather(steps) for steps in self._encode(batch, words))
        found = around.by_step(self._classify(text, audio, around.valid).log_posteriors)
        return Framewise(found, around.steps, words.frames(batch.lengths), words=True)

    def _encode(self, batch: Batch, words: BatchWords) -> tuple[Tensor, Tensor]:
        """H(T) and H(A), (B, L, 2H) each, zero on padding, with dropout."""
        embedded = self.embedding(words.ids, words.vectors)
        text = self.dropout(self.text_encoder(embedded, words.counts))  # Eqs. (1)-(3)
        segments = WordSegments.of(words, batch.lengths, batch.frames.shape[1])
        steps = self.dropout(self.segment_encoder(batch.frames, segments))  # (B, L, 2H)
        return text, self.dropout(self.audio_encoder(steps, words.counts))

    def _classify(
        self,
        text: Tensor,
        audio: Tensor,
        valid: Tensor,
        labels: Tensor | None = None,
        criterion: Criterion | None = None,
    ) -> ModelOutput:
        """Classify (B, L, 2H) words of both modalities, of which some are valid."""
        c = self.attention(text, audio, valid)  # Eqs. (4)-(9)
        contexts = [vector for vector in (c.tt, c.ta, c.aa, c.at) if vector is not None]
        logits = self.classifier(torch.cat(contexts, dim=1))  # Eq. (10), (B, K)
        output = ModelOutput.of(
            logits,
            text_words=c.text_weights.mean(dim=1),
            audio_words=c.audio_weights.mean(dim=1),
        )
        if self.text_classifier is None or self.audio_classifier is None:
            return output
        text_logits = self.text_classifier(c.tt)  # Eq. (11), (B, K)
        audio_logits = self.audio_classifier(c.aa)  # Eq. (12), (B, K)
        single = text_logits.log_softmax(dim=-1) + audio_logits.log_softmax(dim=-1)
        final = output.log_posteriors + self.alpha * single  # Eq. (15)
        output.log_posteriors = final.log_softmax(dim=-1)
        if criterion is not None and labels is not None:
            align = criterion(text_logits, labels) + criterion(audio_logits, labels)  # Eq. (13)
            output.losses = criterion(logits, labels) + self.alpha * align  # Eq. (14)
        return output


class Contexts(NamedTuple):
    """What :class:`CrossAttention` gives; the first letter is the query, the second the value.

    Contexts are (B, M·D), those of the other modality None without cross attention. Weights are
    (B, M, L), each row sums to 1 over valid steps and is zero on padding.
    """

    tt: Tensor
    ta: Tensor | None
    aa: Tensor
    at: Tensor | None
    text_weights: Tensor
    audio_weights: Tensor


class CrossAttention(nn.Module):
    r"""Global attention over each modality, and over the other with the same weights.

    Lee, Yoon and Jung, Interspeech 2020 (CAN), Eqs. (4)-(9), for each head with queries of its
    own:

    .. math::

        \alpha^{(T)}_i = \mathrm{softmax}_i(q^{(T)\top} H^{(T)}_i), \qquad
        c^{(TT)} = \sum_i \alpha^{(T)}_i H^{(T)}_i, \qquad
        c^{(TA)} = \sum_i \mathrm{sg}(\alpha^{(T)}_i) H^{(A)}_i

    and with text and audio exchanged. A context vector is the heads' vectors side by side.
    Padding gets no weight.

    Shapes: B utterances, L steps that both modalities share, D values a step, M heads.

    Without ``cross`` there are no c(TA) and c(AT); ``stop_gradient`` is the sg of Eqs. (7), (9).

    Example:
        >>> attention = CrossAttention(input_dim=3, num_heads=2)
        >>> valid = torch.tensor([[True, False]])
        >>> contexts = attention(torch.ones(1, 2, 3), torch.zeros(1, 2, 3), valid)
        >>> contexts.tt.shape, contexts.text_weights[0, 0].tolist()
        (torch.Size([1, 6]), [1.0, 0.0])
    """

    def __init__(
        self, input_dim: int, num_heads: int, cross: bool = True, stop_gradient: bool = True
    ) -> None:
        super().__init__()
        self.cross = cross
        self.stop_gradient = stop_gradient
        self.text_query = nn.Linear(input_dim, num_heads, bias=False)  # q(T), a row a head
        self.audio_query = nn.Linear(input_dim, num_heads, bias=False)  # q(A)

    def forward(self, text: Tensor, audio: Tensor, valid: Tensor) -> Contexts:
        """Aggregate H(T) and H(A), (B, L, D) each, from the view of both; ``valid`` is (B, L)."""
        by_text = _weights(self.text_query(text), valid)  # Eq. (4), (B, M, L)
        by_audio = _weights(self.audio_query(audio), valid)  # Eq. (5), (B, M, L)
        ta = at = None
        if self.cross:
            stop = self.stop_gradient
            ta = _context(by_text.detach() if stop else by_text, audio)  # Eq. (7)
            at = _context(by_audio.detach() if stop else by_audio, text)  # Eq. (9)
        return Contexts(
            tt=_context(by_text, text),  # Eq. (6)
            ta=ta,
            aa=_context(by_audio, audio),  # Eq. (8)
            at=at,
            text_weights=by_text,
            audio_weights=by_audio,
        )


def _weights(energies: Tensor, valid: Tensor) -> Tensor:
    """(B, L, M) energies to (B, M, L) weights."""
    masked = energies.transpose(1, 2).masked_fill(~valid.unsqueeze(1), -torch.inf)
    return masked.softmax(dim=2)


def _context(weights: Tensor, values: Tensor) -> Tensor:
    """(B, M, L) and (B, L, D) to (B, M·D)."""
    return torch.bmm(weights, values).flatten(1)


#: in a group of words the longest is less than this much longer than the shortest
GROUP_RATIO = 2


class WordSegmentEncoder(nn.Module):
    """Encode every word's frames as if they were alone, all words of a batch at once.

    Lee, Yoon and Jung, Interspeech 2020 (CAN), section 3.2.2 and Figure 1: the bottom LSTM of
    the audio encoder, whose weights all words share, and its average pooling. The paper pads
    all words to the longest. Here words are sorted into a few groups of like length, each
    padded to its own longest, so that one long word does not make all others expensive: less than
    half of the padded frames is padding, whatever the lengths. The result is the same, as
    padding is in neither the LSTM's states nor the mean. W are the words of the whole batch.
    """

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.encoder = BiLstm(input_dim, hidden_dim)

    def forward(self, frames: Tensor, segments: WordSegments) -> Tensor:
        """Encode the words of (B, T, D) frames: (B, L, 2H), zero where there is no word."""
        if torch.compiler.is_exporting():
            padded, _ = segments.padded(frames)
            return segments.spread(self._mean(padded, segments.length))
        length, order = segments.length.sort(descending=True, stable=True)  # (W,) each
        start = segments.start[order]
        flat = frames.flatten(0, 1)  # (B·T, D)
        groups = itertools.pairwise(group_bounds(length.tolist()))
        encoded = [self._encode(flat, start[a:b], length[a:b]) for a, b in groups]
        vectors = torch.cat(encoded)  # the longest word first, (W, 2H)
        return segments.spread(vectors.index_select(0, order.argsort()))

    def _encode(self, flat: Tensor, start: Tensor, length: Tensor) -> Tensor:
        """Encode words of one group, the longest first: (B·T, D), (N,), (N,) to (N, 2H)."""
        step = torch.arange(int(length[0]), device=flat.device)
        # padding repeats a word's last frame: any finite value will do
        frame = start.unsqueeze(1) + torch.minimum(step, length.unsqueeze(1) - 1)  # (N, S)
        segment = flat.index_select(0, frame.flatten()).view(*frame.shape, -1)  # (N, S, D)
        return self._mean(segment, length)

    def _mean(self, segment: Tensor, length: Tensor) -> Tensor:
        """(N, S, D) frames of words to the mean of their outputs, (N, 2H)."""
        hidden = self.encoder(segment, length)  # zero on padding, (N, S, 2H)
        mean: Tensor = hidden.sum(dim=1) / length.unsqueeze(1)
        return mean


def group_bounds(lengths: list[int]) -> list[int]:
    """Cut W descending lengths wherever one is too short for the group of the one before.

    Gives the first positions of the groups, and W at the end.

    Example:
        >>> group_bounds([90, 70, 46, 45, 12, 8, 7, 1])
        [0, 3, 4, 7, 8]
    """
    bounds = [0]
    for position, length in enumerate(lengths):
        if length * GROUP_RATIO <= lengths[bounds[-1]]:
            bounds.append(position)
    return [*bounds, len(lengths)]
