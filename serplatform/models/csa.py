"""CSA: convolutional self-attention over short overlapping chunks of an utterance.

Jalal, Milner and Hain, "Empirical Interpretation of Speech Emotion Perception with Attention
Based Model for Speech Emotion Recognition", Interspeech 2020, section 3.2, Eqs. (1)-(5).

Shapes: B utterances, T frames, D feature dimension, N chunks of the batch, C frames a chunk,
H channels, K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from serplatform.models import (
    Batch,
    Criterion,
    Framewise,
    ModelOutput,
    SerModel,
    architecture,
    setting,
)
from serplatform.models.layers.convolution_block import convolution_blocks
from serplatform.models.layers.global_sum import global_sum


@dataclasses.dataclass(frozen=True, kw_only=True)
class CsaConfig:
    """Settings of :class:`Csa`; the defaults are the paper's best row of Table 1."""

    context_frames: int = setting(30, "C, frames a chunk", low=2)
    overlap_frames: int = setting(10, "frames shared by a chunk and the next", low=0)
    channels: int = setting(128, "channels of every convolution", low=1)
    kernel_1: int = setting(6, "frames under the first convolution's kernel", low=1, high=31)
    kernel_2: int = setting(4, "frames under the second convolution's kernel", low=1, high=31)
    kernel_3: int = setting(2, "frames under the third convolution's kernel", low=1, high=31)
    downsample: int = setting(8, "by how much the attention's j and k reduce channels", low=1)
    gamma_init: float = setting(0.0, "first value of the attention's learned proportion γ")
    pooling: Literal["flatten", "mean"] = setting(
        "flatten", "how a chunk's positions meet the linear classifier"
    )
    dropout: float = setting(0.0, "share dropped before the classifier", low=0.0, high=0.95)
    drop_short: bool = setting(False, "do not train on utterances shorter than a chunk")

    def __post_init__(self) -> None:
        if self.overlap_frames >= self.context_frames:
            raise ValueError(
                f"overlap_frames = {self.overlap_frames} must be less than "
                f"context_frames = {self.context_frames}"
            )


@architecture(
    "csa",
    CsaConfig,
    reference="Jalal, Milner and Hain, Interspeech 2020, section 3.2, Eqs. (1)-(5)",
    training={
        "learning_rate": 1e-4,
        "scheduler": "plateau",
        "plateau_patience": 4,
        "plateau_factor": 0.8,
    },
    data={"feature": "log_mel_23"},
    small={"channels": 16},
)
class Csa(SerModel):
    r"""Three convolution blocks, self-attention and a linear classifier for every chunk.

    A chunk is a training sample, as in the paper: the losses of a batch have the mean over
    its chunks as their mean, so an utterance's loss is the sum over its chunks times B / N.
    An utterance's posterior is the renormalised mean of its chunks' log posteriors.

    The paper leaves open, and here: convolutions run over time with the D mel bands as their
    input channels; the kernel sizes "2-6" are 6, 4 and 2; the classifier sees all positions of
    a chunk ("flatten", which is why chunks need one length; "mean" averages them); frames left
    over at an utterance's end are covered by a last chunk that ends at the last frame.

    Departs from the paper: utterances shorter than C make one chunk padded with zeros, which
    convolution, normalisation and attention do not see. The paper leaves such utterances out
    of training and test. ``drop_short`` leaves them out of the training loss and of the batch
    statistics; they still get posteriors, so that no row of a test is lost.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        context_frames: int,
        overlap_frames: int,
        channels: int,
        kernel_sizes: tuple[int, ...],
        downsample: int,
        gamma_init: float,
        pooling: Literal["flatten", "mean"],
        dropout: float,
        drop_short: bool,
    ) -> None:
        super().__init__()
        self.context_frames = context_frames
        self.overlap_frames = overlap_frames
        self.pooling = pooling
        self.drop_short = drop_short
        self.blocks = convolution_blocks(feature_dim, [channels] * len(kernel_sizes), kernel_sizes)
        self.attention = ConvolutionalSelfAttention(channels, downsample, gamma_init)
        self.dropout = nn.Dropout(dropout)
        places = context_frames if pooling == "flatten" else 1
        self.classifier = nn.Linear(channels * places, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch.

        In evaluation ``attention["chunks"]`` is (B, T): the attention that a frame receives
        on average over the positions of the chunks it lies in, scaled to sum to 1.
        """
        chunks, kept, logits, energy = self._classify(batch)
        mean = chunks.sum_by_utterance(logits.log_softmax(dim=-1)) / chunks.count.unsqueeze(1)
        output = ModelOutput(log_posteriors=mean.log_softmax(dim=-1))
        if criterion is not None:
            output.losses = self._losses(criterion, logits, batch.labels, chunks, kept)
        elif chunks.exists is None:
            output.attention["chunks"] = self._frame_attention(energy, chunks, batch.frames)
        return output

    def framewise(self, batch: Batch) -> Framewise:
        """The class of each chunk; the mean of their log posteriors, renormalised, is the whole."""
        chunks, _, logits, _ = self._classify(batch)
        spans = torch.stack([chunks.frame[:, 0], chunks.frame[:, -1] + 1], dim=1)  # (N, 2)
        by_utterance = chunks.count.tolist()
        return Framewise(
            pad_sequence(
                list(torch.split(logits.log_softmax(dim=-1), by_utterance)), batch_first=True
            ),
            chunks.count,
            pad_sequence(list(torch.split(spans, by_utterance)), batch_first=True),
        )

    def _classify(self, batch: Batch) -> tuple[Chunks, Tensor | None, Tensor, Tensor]:
        """Chunks, (N,) those that are trained on (None: all), (N, K) logits, (N, C, C) energy."""
        exporting = torch.compiler.is_exporting()
        chunks = Chunks.of(
            batch.lengths,
            context_frames=self.context_frames,
            overlap_frames=self.overlap_frames,
            num_frames=batch.frames.shape[1] if exporting else None,
        )
        short = batch.lengths < self.context_frames  # (B,)
        padded = exporting or bool(short.any())
        valid = chunks.valid if padded else None  # (N, C)
        kept = ~short[chunks.utterance] if self.drop_short else None  # (N,)
        counted = valid
        if valid is not None and kept is not None:
            counted = valid & kept.unsqueeze(1)
        maps = chunks.gather(batch.frames).transpose(1, 2)  # (N, D, C)
        for block in self.blocks:
            maps = block(maps, valid, counted)  # y, (N, H, C)
        maps, energy = self.attention(maps, valid)  # Eqs. (1)-(5)
        if self.pooling == "flatten":
            pooled = maps.flatten(1)  # (N, H·C)
        else:
            pooled = maps.sum(dim=2) / chunks.valid.sum(dim=1, keepdim=True)  # (N, H)
        return chunks, kept, self.classifier(self.dropout(pooled)), energy

    def _losses(
        self,
        criterion: Criterion,
        logits: Tensor,
        labels: Tensor,
        chunks: Chunks,
        kept: Tensor | None,
    ) -> Tensor:
        """(B,): sums over chunks, scaled so that their mean is the mean over all chunks.

        With class weights the means are weighted ones, over utterances as over chunks.
        """
        weights = torch.ones_like(logits[:, 0])  # (N,)
        weight = torch.ones_like(logits[: len(labels), 0])  # (B,)
        given = criterion.weights_of(labels)
        if given is not None:
            weight = given.to(logits)
            weights = weight[chunks.utterance]
        losses = criterion(logits, labels[chunks.utterance])  # (N,)
        if kept is not None:
            losses, weights = losses * kept, weights * kept
        over_utterances, over_chunks = global_sum(torch.stack([weight.sum(), weights.sum()]))
        share = torch.where(over_chunks > 0, over_utterances / over_chunks, 0.0)
        return chunks.sum_by_utterance(losses) * share

    def _frame_attention(self, energy: Tensor, chunks: Chunks, frames: Tensor) -> Tensor:
        """(N, C, C) energies to (B, T) weights that sum to 1 and are zero on padding."""
        weight = (energy * chunks.valid.unsqueeze(1)).sum(dim=2) * chunks.valid  # (N, C)
        index = (chunks.utterance.unsqueeze(1) * frames.shape[1] + chunks.frame).flatten()
        sums = weight.new_zeros(2, frames.shape[0] * frames.shape[1])
        sums[0].index_add_(0, index, weight.flatten())
        sums[1].index_add_(0, index, chunks.valid.flatten().to(weight.dtype))
        received = (sums[0] / sums[1].clamp(min=1)).view(frames.shape[:2])  # (B, T)
        return (received / received.sum(dim=1, keepdim=True)).detach()


class ConvolutionalSelfAttention(nn.Module):
    r"""Convolutional self-attention over time.

    Jalal, Milner and Hain, Interspeech 2020 (CSA), Eqs. (1)-(5):

    .. math::

        j = W_j y, \quad k = W_k y, \quad l = W_l y, \qquad
        E = \mathrm{softmax}(j^\top k), \qquad A = l E, \qquad \hat y = y + \gamma A

    W_j, W_k and W_l are convolutions of kernel size 1 without a bias. The softmax runs over
    the positions of j, the index that l E sums over.

    Departs from the paper: γ stands in Eq. (1) and again in Eq. (5); it is used once.
    Positions that are not valid get no attention, and stay as they are.

    Args:
        num_channels: H.
        downsample: H / H', the reduction of j and k; H' is at least 1.
        gamma: first value of γ.
    """

    def __init__(self, num_channels: int, downsample: int, gamma: float = 0.0) -> None:
        super().__init__()
        reduced = max(1, num_channels // downsample)
        self.j = nn.Conv1d(num_channels, reduced, 1, bias=False)
        self.k = nn.Conv1d(num_channels, reduced, 1, bias=False)
        self.l = nn.Conv1d(num_channels, num_channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.tensor(float(gamma)))

    def forward(self, maps: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Add attention to (N, H, C) maps, zero where not valid; no ``valid``, (N, C), means all.

        Gives the enhanced maps, zero where not valid, and the (N, C, C) energy E, whose columns sum
        to 1 over positions of j.
        """
        scores = self.j(maps).transpose(1, 2) @ self.k(maps)  # j^T k, (N, C of j, C of k)
        if valid is not None:
            scores = scores.masked_fill(~valid.unsqueeze(2), -torch.inf)
        energy = scores.softmax(dim=1)  # Eq. (3)
        attention = self.l(maps) @ energy  # Eqs. (4)-(5), (N, H, C)
        if valid is not None:
            attention = attention * valid.unsqueeze(1)
        return maps + self.gamma * attention, energy  # Eq. (1)


@dataclasses.dataclass(frozen=True)
class Chunks:
    """Where the chunks of a batch lie.

    An utterance of C frames or more is cut every ``hop`` frames; a rest at its end makes one
    more chunk that ends at its last frame, so that every frame is in one. A shorter utterance
    makes one chunk, the end of which is not valid.

    Attributes:
        utterance: (N,) int64, the row of the batch each chunk was cut from, ascending.
        frame: (N, C) int64, the frame at each place of a chunk; the last one where not valid.
        valid: (N, C) bool.
        count: (B,) int64, chunks of each utterance, at least 1.
        exists: (N,) bool, where every utterance has as many chunks as the longest may have, and
            those that are too many repeat its last one; None: all do.
    """

    utterance: Tensor
    frame: Tensor
    valid: Tensor
    count: Tensor
    exists: Tensor | None = None

    @classmethod
    def of(
        cls,
        lengths: Tensor,
        *,
        context_frames: int,
        overlap_frames: int,
        num_frames: int | None = None,
    ) -> Chunks:
        """Cut utterances of the given (B,) lengths into chunks of C frames.

        With ``num_frames``, T, the number of chunks depends on it instead of on the lengths, as a
        graph's sizes may not depend on values.

        Example:
            >>> Chunks.of(torch.tensor([7, 2]), context_frames=4, overlap_frames=2).frame
            tensor([[0, 1, 2, 3],
                    [2, 3, 4, 5],
                    [3, 4, 5, 6],
                    [0, 1, 1, 1]])
        """
        hop = context_frames - overlap_frames
        last_start = (lengths - context_frames).clamp(min=0)  # (B,)
        count = (last_start + hop - 1) // hop + 1  # (B,)
        rows = torch.arange(lengths.shape[0], device=lengths.device)
        exists = None
        if num_frames is None:
            utterance = rows.repeat_interleave(count)  # (N,)
            first = (count.cumsum(0) - count)[utterance]  # number of its utterance's first chunk
            order = torch.arange(utterance.shape[0], device=lengths.device) - first  # (N,)
        else:
            each = torch.arange(num_frames // hop + 1, device=lengths.device)
            utterance = rows.unsqueeze(1).expand(-1, each.shape[0]).flatten()
            order = each.unsqueeze(0).expand(rows.shape[0], -1).flatten()
            exists = order < count[utterance]
        start = torch.minimum(order * hop, last_start[utterance])  # (N,)
        frame = start.unsqueeze(1) + torch.arange(context_frames, device=lengths.device)
        length = lengths[utterance].unsqueeze(1)  # (N, 1)
        return cls(utterance, torch.minimum(frame, length - 1), frame < length, count, exists)

    def gather(self, frames: Tensor) -> Tensor:
        """Copy the chunks out of a batch: (B, T, D) to (N, C, D), zero where not valid."""
        index = self.utterance.unsqueeze(1) * frames.shape[1] + self.frame  # (N, C)
        rows = frames.flatten(0, 1).index_select(0, index.flatten())
        return rows.view(*self.frame.shape, -1) * self.valid.unsqueeze(-1)

    def sum_by_utterance(self, values: Tensor) -> Tensor:
        """Sum over the chunks of each utterance: (N, …) to (B, …)."""
        if self.exists is not None:
            values = values.masked_fill(~self.exists.unsqueeze(1), 0.0)
            return values.view(self.count.shape[0], -1, values.shape[1]).sum(dim=1)
        total = values.new_zeros(self.count.shape[0], *values.shape[1:])
        return total.index_add(0, self.utterance, values)
