"""Functionals of the frames, standardised, and a multilayer perceptron.

The oldest recipe of the field, as a member that ensembles like: what openSMILE's functionals
with an SVM do (Schuller et al., "The INTERSPEECH 2016 Computational Paralinguistics
Challenge", for the set ``compare_2016``; Eyben et al., "The Geneva Minimalistic Acoustic
Parameter Set (GeMAPS) for Voice Research and Affective Computing", 2016, for ``egemaps_v02``),
with posteriors of its own. Over a feature of many frames it computes mean, deviation and
percentiles itself; what is one vector an utterance already (openSMILE's functionals,
``data.pooling``) it takes as it is.

Shapes: B utterances, T frames, D feature dimension, F functionals, H hidden units, K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.models import Batch, Criterion, ModelOutput, SerModel, architecture, setting
from serplatform.models.layers.masked_batch_norm import MaskedBatchNorm
from serplatform.models.layers.masks import valid_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionalsMlpConfig:
    """Settings of :class:`FunctionalsMlp`."""

    functionals: Literal["mean", "moments", "percentiles"] = setting(
        "percentiles",
        "statistics over time: mean; moments: mean and deviation; percentiles: these and five "
        "percentiles. A feature of one vector an utterance is taken as it is",
    )
    deltas: bool = setting(True, "the same statistics of the frames' first differences too")
    clip: float = setting(
        8.0, "largest deviation of a standardised functional from its mean", low=1.0, high=1000.0
    )
    hidden_dim: int = setting(128, "units of a hidden layer", low=1)
    num_layers: int = setting(1, "hidden layers", low=1, high=4)
    input_dropout: float = setting(0.5, "share of functionals dropped", low=0.0, high=0.95)
    dropout: float = setting(0.5, "share dropped after each hidden layer", low=0.0, high=0.95)


@architecture(
    "functionals_mlp",
    FunctionalsMlpConfig,
    reference="functionals as in ComParE, Interspeech 2016, and GeMAPS, 2016",
    training={
        "optimizer": "adamw",
        "weight_decay": 1e-2,
        "scheduler": "cosine",
        "label_smoothing": 0.1,
        "max_epochs": 40,
        "patience": 40,
    },
    data={"feature": "log_mel_40", "trim": True},
    small={"hidden_dim": 16},
)
class FunctionalsMlp(SerModel):
    """Functionals, standardised by batch normalisation, clipped, and a perceptron."""

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        frame_shift: float,
        functionals: FunctionalKind,
        deltas: bool,
        clip: float,
        hidden_dim: int,
        num_layers: int,
        input_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.summed_up = frame_shift >= WHOLE_UTTERANCE  # taken as it is
        self.kind: FunctionalKind = functionals
        self.deltas = deltas
        self.clip = clip
        size = feature_dim
        if not self.summed_up:
            size = num_functionals(feature_dim, functionals, deltas)
        self.standardise = MaskedBatchNorm(size)
        self.input_dropout = nn.Dropout(input_dropout)
        self.hidden = nn.ModuleList()
        self.norms = nn.ModuleList()
        for _ in range(num_layers):
            self.hidden.append(nn.Linear(size, hidden_dim, bias=False))
            self.norms.append(MaskedBatchNorm(hidden_dim))
            size = hidden_dim
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(size, num_classes)

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch."""
        if self.summed_up:
            values = batch.frames[:, 0]  # (B, F)
        else:
            valid = valid_steps(batch.lengths, batch.frames.shape[1])
            values = functionals(batch.frames, batch.lengths, valid, self.kind, self.deltas)
        values = self.standardise(values.unsqueeze(2)).squeeze(2)
        values = self.input_dropout(values.clamp(-self.clip, self.clip))
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            values = norm(layer(values).unsqueeze(2)).squeeze(2).relu()  # (B, H)
            values = self.dropout(values)
        logits = self.classifier(values)  # (B, K)
        return ModelOutput.of(logits)


FunctionalKind = Literal["mean", "moments", "percentiles"]

#: shares of the frames that lie below each percentile
PERCENTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: smallest variance, so that the root of a constant sequence has a gradient
VARIANCE_FLOOR = 1e-8


def moments(frames: Tensor, valid: Tensor) -> Tensor:
    """(B, 2D): mean and (population) standard deviation over the valid frames."""
    weight = valid.unsqueeze(2).to(frames.dtype)  # (B, T, 1)
    count = weight.sum(dim=1).clamp(min=1)  # (B, 1)
    mean = (frames * weight).sum(dim=1) / count
    variance = ((frames - mean.unsqueeze(1)).square() * weight).sum(dim=1) / count
    return torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=1)


def percentiles(frames: Tensor, lengths: Tensor, valid: Tensor) -> Tensor:
    """(B, 5D): percentiles over the valid frames, interpolated linearly as NumPy's are."""
    far = torch.finfo(frames.dtype).max
    ordered = _sorted(frames.masked_fill(~valid.unsqueeze(2), far))  # padding last
    rows = torch.arange(frames.shape[0], device=frames.device).unsqueeze(1)
    last = (lengths - 1).unsqueeze(1)
    position = frames.new_tensor(PERCENTILES) * last.to(frames.dtype)  # (B, 5)
    left = position.floor().long()
    part = (position - left).unsqueeze(2)  # (B, 5, 1)
    right = torch.minimum(left + 1, last)
    return (ordered[rows, left] * (1 - part) + ordered[rows, right] * part).flatten(1)


def _sorted(frames: Tensor) -> Tensor:
    """Sort (B, T, D) frames along T; NumPy is 30 times as fast, where no gradient is asked for."""
    plain = frames.requires_grad or torch.compiler.is_exporting()
    if plain or frames.device.type != "cpu" or frames.dtype == torch.bfloat16:
        return frames.sort(dim=1).values
    return torch.from_numpy(np.sort(frames.numpy(), axis=1))


def differences(frames: Tensor, valid: Tensor) -> Tensor:
    """(B, T, D) first differences, zero at the first frame."""
    steps = torch.zeros_like(frames)
    steps[:, 1:] = (frames[:, 1:] - frames[:, :-1]) * valid[:, 1:].unsqueeze(2)
    return steps


def functionals(
    frames: Tensor, lengths: Tensor, valid: Tensor, kind: FunctionalKind, deltas: bool
) -> Tensor:
    """Sum padded utterances, (B, T, D) finite frames, up to (B, F).

    ``deltas`` adds the same statistics of the frames' first differences.

    Example:
        >>> frames = torch.tensor([[[1.0], [3.0], [0.0]]])
        >>> mask = torch.tensor([[True, True, False]])
        >>> functionals(frames, torch.tensor([2]), mask, "moments", False)
        tensor([[2., 1.]])
    """
    result = [_of(frames, lengths, valid, kind)]
    if deltas:
        result.append(_of(differences(frames, valid), lengths, valid, kind))
    return torch.cat(result, dim=1)


def num_functionals(feature_dim: int, kind: FunctionalKind, deltas: bool) -> int:
    """F that :func:`functionals` gives for D values a frame."""
    each = {"mean": 1, "moments": 2, "percentiles": 2 + len(PERCENTILES)}[kind]
    return feature_dim * each * (2 if deltas else 1)


def _of(frames: Tensor, lengths: Tensor, valid: Tensor, kind: FunctionalKind) -> Tensor:
    both = moments(frames, valid)
    if kind == "mean":
        return both[:, : frames.shape[2]]
    if kind == "moments":
        return both
    return torch.cat([both, percentiles(frames, lengths, valid)], dim=1)
