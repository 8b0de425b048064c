"""Collated batches, made ahead of the device that consumes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import torch

from serplatform.arrays import IntArray
from serplatform.models.base import Batch


class Collates(Protocol):
    """The part of ``datasets.fold_data.FoldData`` that makes batches."""

    def collate(self, rows: IntArray, *, augment: int | None = None) -> Batch:
        """Pad the frames of some rows of the dataset."""
        ...


def load_batches(
    data: Collates,
    shards: Sequence[IntArray],
    device: torch.device,
    augment: int | None,
) -> Iterator[Batch]:
    """Collate one batch after another and copy it to the device.

    For a CUDA device the next batch is collated in a thread, in pinned memory, while the
    device works on the current one. On the CPU that thread would only take time from the
    model.

    Args:
        data: makes the batches.
        shards: rows of the dataset, one array a batch.
        device: where the tensors go.
        augment: the epoch's key of augmentation, or None for the frames as they are.
    """
    if device.type != "cuda":
        for rows in shards:
            yield data.collate(rows, augment=augment).to(device)
        return

    def prepare(number: int) -> Batch:
        return _pinned(data.collate(shards[number], augment=augment))

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="collate") as executor:
        ahead = executor.submit(prepare, 0) if shards else None
        for number in range(len(shards)):
            assert ahead is not None  # noqa: S101 - for the type checker
            batch = ahead.result()
            if number + 1 < len(shards):
                ahead = executor.submit(prepare, number + 1)
            yield batch.to(device)


def _pinned(batch: Batch) -> Batch:
    """Copy a batch into page-locked memory, from which copies to the device overlap work."""
    pinned = {
        field.name: value.pin_memory()
        for field in dataclasses.fields(batch)
        if (value := getattr(batch, field.name)) is not None
    }
    return Batch(**pinned)
