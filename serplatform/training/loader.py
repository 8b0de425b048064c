"""Collated batches, made ahead of the device that consumes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from serplatform.arrays import IntArray
from serplatform.datasets.fold_data import FoldData
from serplatform.models.base import Batch


def load_batches(
    data: FoldData,
    shards: Sequence[IntArray],
    device: torch.device,
    augment: int | None = None,
    speed: float = 1.0,
) -> Iterator[Batch]:
    """Collate the rows of one batch after another and copy them to the device.

    For a CUDA device the next batch is collated in a thread, in pinned memory, while the
    device works on the current one. On the CPU that thread would only take time from the
    model. ``augment`` is the epoch's key of augmentation; None takes the frames as they are, of
    clips at ``speed``.
    """
    if device.type != "cuda":
        for rows in shards:
            yield data.collate(rows, augment=augment, speed=speed).to(device)
        return

    def prepare(rows: IntArray) -> Batch:
        """In page-locked memory, from which copies to the device overlap work."""
        return data.collate(rows, augment=augment, speed=speed).map(Tensor.pin_memory)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="collate") as executor:
        ahead: list[Future[Batch]] = []
        for rows in shards:
            ahead.append(executor.submit(prepare, rows))
            if len(ahead) == 2:
                yield ahead.pop(0).result().to(device)
        for last in ahead:
            yield last.result().to(device)
