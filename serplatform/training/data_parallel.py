"""Several workers training one model as one worker would.

A worker takes every n-th utterance of each global batch. The sum of their work is one worker's, up
to rounding: losses are divided by the global batch's denominator (``losses.py``), and gradients,
which ``DistributedDataParallel`` averages, multiplied by the number of workers; models take
statistics of a batch over all workers (``global_sum``); a worker left without an utterance repeats
the batch's first, which counts in neither, so that it takes part in every exchange.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from serplatform.arrays import IntArray
from serplatform.errors import SerplatformError
from serplatform.models.base import ClosedFormModel
from serplatform.models.layers.masked_batch_norm import TORCH_BATCH_NORMS


class Workers:
    """The processes that train together, once ``torch.distributed`` is initialised; else one."""

    def __init__(self, distributed: bool) -> None:
        self.count = dist.get_world_size() if distributed else 1
        self.rank = dist.get_rank() if distributed else 0
        self._distributed = distributed

    def wrap(self, model: nn.Module) -> nn.Module:
        """Prepare a model for training; batch statistics of each worker's own are an error."""
        if not self._distributed or isinstance(model, ClosedFormModel):
            return model
        for name, module in model.named_modules():
            if isinstance(module, TORCH_BATCH_NORMS):
                raise SerplatformError(
                    f"layer '{name}' ({type(module).__name__}) takes its statistics over one "
                    "worker's utterances only; train this architecture with one worker, or "
                    "build it with MaskedBatchNorm"
                )
        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)

    def shard(self, positions: IntArray) -> tuple[IntArray, bool]:
        """This worker's share of a batch, at least one utterance, and whether it counts.

        Batches are sorted by length, so shares are alike in length.
        """
        own = positions[self.rank :: self.count]
        return (own, True) if len(own) else (positions[:1], False)

    def total(self, values: Tensor) -> Tensor:
        """Sum of the workers' tensors, the same bits on every worker."""
        if self._distributed:
            dist.all_reduce(values)
        return values

    def share_fitted(self, model: ClosedFormModel) -> None:
        """Give every worker what the first has learned, whose sizes may be others."""
        if self._distributed:
            state = model.state_dict()
            for name, own in state.items():
                shape = torch.tensor(own.shape, device=own.device)
                dist.broadcast(shape, 0)
                state[name] = own if self.rank == 0 else own.new_zeros(shape.tolist())
                dist.broadcast(state[name], 0)
            model.load_state_dict(state)

    def share_buffers(self, model: nn.Module) -> None:
        """Give every worker the buffers of the first."""
        if self._distributed:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)
