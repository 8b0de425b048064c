r"""Exponential moving average of a model's weights over the steps of training.

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992, in the
exponential form that is common now (Tarvainen and Valpola, "Mean teachers are better role
models", NeurIPS 2017, Eq. (2)):

.. math:: \theta'_n = d_n \theta'_{n-1} + (1 - d_n) \theta_n, \qquad
    d_n = \min\left(d, \frac{1 + n}{10 + n}\right)

so that early weights do not linger. Running statistics of normalisations are averaged alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class EmaWeights:
    """The averaged weights of one model, which its present weights start.

    Attributes:
        weights: the averaged state, by the names of ``model.state_dict()``.
        steps: n, updates so far.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {name: t.detach().clone() for name, t in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step's weights in."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, tensor in model.state_dict().items():
            average = self.weights[name]
            if average.dtype.is_floating_point:
                average.lerp_(tensor, 1 - decay)
            else:
                average.copy_(tensor)

    def restore(self, weights: Mapping[str, Tensor], steps: int) -> None:
        """Continue from a stored average."""
        self.steps = steps
        for name, average in self.weights.items():
            average.copy_(weights[name])
