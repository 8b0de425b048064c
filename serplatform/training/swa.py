r"""Average of the weights after each of the last epochs.

Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, "Averaging Weights Leads to Wider Optima and
Better Generalization", UAI 2018, Algorithm 1, with one model an epoch:

.. math:: w_{SWA} = \frac{1}{n} \sum_{i=1}^{n} w_i

and the statistics of batch normalisations recomputed over the training rows. Departs from
the paper: the learning rate stays that of ``training.scheduler``; the epochs are the last that
were trained, whatever ended the training, so their weights are kept until then; and frames are
not augmented for the statistics, as they are not where the model is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from serplatform.models.base import Batch
from serplatform.models.layers.global_sum import counting
from serplatform.models.layers.masked_batch_norm import TORCH_BATCH_NORMS, MaskedBatchNorm


class SwaWeights:
    """The weights of a model after each of its last ``num_epochs`` epochs."""

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
