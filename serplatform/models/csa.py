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
from serplatform.models.layers.chunks import Chunks
from serplatform.models.layers.convolution_block import ConvolutionBlock
from serplatform.models.layers.convolutional_self_attention import ConvolutionalSelfAttention
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

    Args:
        feature_dim: D.
        num_classes: K.
        context_frames: C.
        overlap_frames: frames shared by neighbouring chunks, less than C.
        channels: H.
        kernel_sizes: frames, one for each convolution block.
        downsample: how much the attention's j and k reduce the channels.
        gamma_init: first γ.
        pooling: ``"flatten"`` gives the classifier every position, ``"mean"`` their mean.
        dropout: in [0, 1).
        drop_short: do not train on utterances of fewer than C frames.
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
        sizes = [feature_dim, *(channels for _ in kernel_sizes)]
        self.blocks = nn.ModuleList(
            ConvolutionBlock(size, channels, kernel_size)
            for size, kernel_size in zip(sizes, kernel_sizes, strict=False)
        )
        self.attention = ConvolutionalSelfAttention(channels, downsample, gamma_init)
        self.dropout = nn.Dropout(dropout)
        places = context_frames if pooling == "flatten" else 1
        self.classifier = nn.Linear(channels * places, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch.

        In evaluation ``attention["chunks"]`` is (B, T): the attention that a frame receives
        on average over the positions of the chunks it lies in, scaled to sum to 1.
        """
        chunks = Chunks.of(
            batch.lengths, context_frames=self.context_frames, overlap_frames=self.overlap_frames
        )
        short = batch.lengths < self.context_frames  # (B,)
        padded = bool(short.any())
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
        logits = self.classifier(self.dropout(pooled))  # (N, K)
        mean = chunks.sum_by_utterance(logits.log_softmax(dim=-1)) / chunks.count.unsqueeze(1)
        output = ModelOutput(log_posteriors=mean.log_softmax(dim=-1))
        if criterion is not None:
            output.losses = self._losses(criterion, logits, batch.labels, chunks, kept)
        else:
            output.attention["chunks"] = self._frame_attention(energy, chunks, batch.frames)
        return output

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


build = builder(Csa)

ARCHITECTURES.register("csa")(
    Architecture(
        name="csa",
        config=CsaConfig,
        build=build,
        reference=(
            "Jalal, Milner and Hain, 'Empirical Interpretation of Speech Emotion Perception with "
            "Attention Based Model for Speech Emotion Recognition', Interspeech 2020, "
            "section 3.2, Eqs. (1)-(5)"
        ),
        training={
            "learning_rate": 1e-4,
            "scheduler": "plateau",
            "plateau_patience": 4,
            "plateau_factor": 0.8,
        },
        data={"feature": "log_mel_23"},
        small={"channels": 16},
    )
)
