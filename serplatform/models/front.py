r"""What stands in front of an architecture: a weighted sum over layers, a projection.

Frames of pretrained encoders are wide, and which of an encoder's layers says most about emotion is
not known beforehand. Yang et al., "SUPERB: Speech Processing Universal PERformance Benchmark",
Interspeech 2021, let every task learn a weighted sum of all of them and project it:

.. math:: h_t = W \sum_l \alpha_l x_{l,t}, \qquad \alpha = \mathrm{softmax}(10 w)

Departs from theirs by the factor of ten: it makes the steps of w ten times as long as those of
other parameters, without which the few hundred steps of a small corpus leave all layers alike.
Neither has a constant term, so padding stays zero; what follows has one.

Shapes: B utterances, T frames, L layers, D values of a layer, P of the projection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from serplatform.models.base import (
    Architecture,
    Batch,
    Criterion,
    Framewise,
    Generation,
    InputSpec,
    ModelOutput,
    SerModel,
)

#: factor of w in the softmax
SHARPNESS = 10.0
#: name of the weights of layers in a model's state
LAYER_WEIGHTS = "front.layer_weights"


class Front(nn.Module):
    """Sum the layers that frames consist of by trained weights, then project.

    Args:
        feature_dim: L·D, layer by layer.
        layers: L; 1: no sum.
        projection: P; 0: no projection.

    Example:
        >>> Front(4, layers=2)(torch.tensor([[[1.0, 2.0, 3.0, 6.0]]])).tolist()
        [[[2.0, 4.0]]]
    """

    def __init__(self, feature_dim: int, *, layers: int = 1, projection: int = 0) -> None:
        super().__init__()
        self.dim = feature_dim // layers
        if layers > 1:
            self.layer_weights = nn.Parameter(torch.zeros(layers))  # w
        self.layers = layers
        self.projection = nn.Linear(self.dim, projection, bias=False) if projection else None
        self.output_dim = projection or self.dim

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, L·D) frames to (B, T, P), or (B, T, D) without a projection."""
        if self.layers > 1:
            shares = _shares(self.layer_weights).to(frames.dtype)
            frames = torch.matmul(shares, frames.reshape(*frames.shape[:2], self.layers, self.dim))
        return frames if self.projection is None else self.projection(frames)


class FrontedModel(SerModel):
    """An architecture behind a :class:`Front`."""

    def __init__(self, front: Front, model: SerModel) -> None:
        super().__init__()
        self.front = front
        self.model = model

    def forward(self, batch: Batch, criterion: Criterion | None = None) -> ModelOutput:
        """Classify a padded batch."""
        output: ModelOutput = self.model(self._behind(batch), criterion)
        return output

    def framewise(self, batch: Batch) -> Framewise | None:
        """As the architecture's, which sees the frames behind the front."""
        return self.model.framewise(self._behind(batch))

    def generate(self, batch: Batch) -> Generation | None:
        """As the architecture's: of the frames behind the front, see :meth:`received`."""
        return self.model.generate(self._behind(batch))

    def received(self, batch: Batch) -> Tensor:
        """(B, T, P) frames behind the front."""
        frames: Tensor = self.front(batch.frames)
        return frames

    def _behind(self, batch: Batch) -> Batch:
        return dataclasses.replace(batch, frames=self.received(batch))

    def step(self, batch: Batch, state: Any = None) -> tuple[ModelOutput, Any]:
        """As the architecture does; see the base class."""
        return self.model.step(self._behind(batch), state)


def build_model(architecture: Architecture, config: Any, spec: InputSpec) -> SerModel:
    """The architecture's module, behind the front that the data ask for, if they do."""
    if (spec.layers == 1 and not spec.projection) or "audio" not in architecture.inputs:
        return architecture.build(config, spec)
    front = Front(spec.feature_dim, layers=spec.layers, projection=spec.projection)
    behind = dataclasses.replace(spec, feature_dim=front.output_dim, layers=1, projection=0)
    return FrontedModel(front, architecture.build(config, behind))


def architecture_module(model: nn.Module) -> nn.Module:
    """The module of the architecture itself."""
    return model.model if isinstance(model, FrontedModel) else model


def layer_shares(weights: Mapping[str, Tensor]) -> list[float] | None:
    """L shares, which sum to 1, of a model's weights; None where it sums no layers."""
    found = weights.get(LAYER_WEIGHTS)
    return None if found is None else _shares(found.double()).tolist()


def _shares(weights: Tensor) -> Tensor:
    return (SHARPNESS * weights).softmax(dim=0)
