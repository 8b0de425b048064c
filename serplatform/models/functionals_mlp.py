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

from torch import nn

from serplatform.config import setting
from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.models.base import (
    ARCHITECTURES,
    Architecture,
    Batch,
    Criterion,
    InputSpec,
    ModelOutput,
    SerModel,
)
from serplatform.models.layers.functionals import FunctionalKind, functionals, num_functionals
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


class FunctionalsMlp(SerModel):
    """Functionals, standardised by batch normalisation, clipped, and a perceptron.

    Args:
        feature_dim: D.
        num_classes: K.
        kind: of functionals.
        deltas: of the differences too.
        clip: in standard deviations.
        hidden_dim: H.
        num_layers: hidden layers.
        input_dropout: in [0, 1).
        dropout: in [0, 1).
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int,
        kind: FunctionalKind,
        deltas: bool,
        clip: float,
        hidden_dim: int,
        num_layers: int,
        input_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.deltas = deltas
        self.clip = clip
        size = num_functionals(feature_dim, kind, deltas)
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
        valid = valid_steps(batch.lengths, batch.frames.shape[1])
        values = functionals(batch.frames, batch.lengths, valid, self.kind, self.deltas)  # (B, F)
        values = self.standardise(values.unsqueeze(2)).squeeze(2)
        values = self.input_dropout(values.clamp(-self.clip, self.clip))
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            values = norm(layer(values).unsqueeze(2)).squeeze(2).relu()  # (B, H)
            values = self.dropout(values)
        logits = self.classifier(values)  # (B, K)
        return ModelOutput(log_posteriors=logits.log_softmax(dim=-1), logits=logits)


def build(config: FunctionalsMlpConfig, spec: InputSpec) -> FunctionalsMlp:
    """Make the module that a configuration and the data ask for.

    A feature that sums an utterance up already, by its frame shift, is taken as it is.
    """
    summed_up = spec.frame_shift >= WHOLE_UTTERANCE
    return FunctionalsMlp(
        feature_dim=spec.feature_dim,
        num_classes=spec.num_classes,
        kind="mean" if summed_up else config.functionals,
        deltas=config.deltas and not summed_up,
        clip=config.clip,
        hidden_dim=config.hidden_dim,
        num_layers=config.num_layers,
        input_dropout=config.input_dropout,
        dropout=config.dropout,
    )


ARCHITECTURES.register("functionals_mlp")(
    Architecture(
        name="functionals_mlp",
        config=FunctionalsMlpConfig,
        build=build,
        reference=(
            "Functionals of frames as in Schuller et al., Interspeech 2016 (ComParE), and Eyben "
            "et al., 2016 (GeMAPS)"
        ),
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
)
