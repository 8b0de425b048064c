"""Averages of a model's weights over the steps or the last epochs of training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from serplatform.models.base import Batch
from serplatform.models.layers.global_sum import counting
from serplatform.models.layers.masked_batch_norm import TORCH_BATCH_NORMS, MaskedBatchNorm


class EmaWeights:
    r"""Exponential moving average over the steps, which the model's present weights start.

    Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992, in the
    exponential form that is common now (Tarvainen and Valpola, "Mean teachers are better role
    models", NeurIPS 2017, Eq. (2)):

    .. math:: \theta'_n = d_n \theta'_{n-1} + (1 - d_n) \theta_n, \qquad
        d_n = \min\left(d, \frac{1 + n}{10 + n}\right)

    so that early weights do not linger. Running statistics of normalisations are averaged alike.

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


class SwaWeights:
    r"""Average of the weights after each of the last ``num_epochs`` epochs.

    Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, "Averaging Weights Leads to Wider Optima and
    Better Generalization", UAI 2018, Algorithm 1, with one model an epoch:

    .. math:: w_{SWA} = \frac{1}{n} \sum_{i=1}^{n} w_i

    and the statistics of batch normalisations recomputed over the training rows. Departs from
    the paper: the learning rate stays that of ``training.scheduler``; the epochs are the last that
    were trained, whatever ended the training; and frames are not augmented for the statistics, as
    they are not where the model is used.
    """

    def __init__(self, num_epochs: int) -> None:
        self.num_epochs = num_epochs
        self._taken: dict[int, dict[str, Tensor]] = {}

    def take(self, model: nn.Module, epoch: int) -> None:
        """Keep the weights of an epoch, and those of the n - 1 before it."""
        self._taken[epoch] = {name: p.detach().clone() for name, p in model.named_parameters()}
        for old in [e for e in self._taken if e <= epoch - self.num_epochs]:
            del self._taken[old]

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """A state of the model: the mean of the weights kept, its own buffers."""
        state = {name: t.detach().clone() for name, t in model.state_dict().items()}
        for name, tensor in next(iter(self._taken.values())).items():
            kept = torch.stack([weights[name].double() for weights in self._taken.values()])
            state[name] = kept.mean(dim=0).to(tensor.dtype)
        return state

    def tensors(self) -> dict[str, Tensor]:
        """What :meth:`restore` takes, ``<epoch>/<parameter>``."""
        return {f"{e}/{name}": t for e, taken in self._taken.items() for name, t in taken.items()}

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Continue from :meth:`tensors`."""
        self._taken = {}
        keys = sorted(tensors, key=lambda key: int(key.partition("/")[0]))
        for key in keys:
            epoch, _, name = key.partition("/")
            self._taken.setdefault(int(epoch), {})[name] = tensors[key].to(device)


def renew_batch_statistics(model: nn.Module, batches: Iterable[tuple[Batch, bool]]) -> None:
    """Compute the running statistics of batch normalisations again: the mean over the batches.

    Batches are of the training rows, each with whether this worker's share of it counts. None is
    looked at where no layer keeps such statistics.
    """
    kinds = (MaskedBatchNorm, *TORCH_BATCH_NORMS)
    norms: list[Any] = [module for module in model.modules() if isinstance(module, kinds)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    model.train()
    try:
        with torch.no_grad():
            for number, (batch, counts) in enumerate(batches):
                for norm in norms:
                    norm.momentum = 1 / (number + 1)  # the first replaces what was there
                with counting(counts):
                    model(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@contextlib.contextmanager
def with_weights(model: nn.Module, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Give a model other weights for a while; None leaves it as it is."""
    if weights is None:
        yield
        return
    last = {name: t.detach().clone() for name, t in model.state_dict().items()}
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(last)


def keep_copy(kept: dict[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Copy weights, into the same memory where some are kept already."""
    for name, tensor in weights.items():
        if name in kept:
            kept[name].copy_(tensor)
        else:
            kept[name] = tensor.detach().clone()
