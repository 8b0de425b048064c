"""Which GPUs torch sees."""

from __future__ import annotations


def cuda_devices() -> list[str]:
    """Name and memory of every GPU that torch can use."""
    import torch

    if not torch.cuda.is_available():
        return []
    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in found]
