"""Give the pages of a memory map back, so that resident memory does not grow with a corpus.

Pages that were read stay in a process's resident memory until the system needs them, although
they are only a copy of the page cache. A worker that walks through a large corpus every epoch
would seem to hold all of it.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable

#: Mapped bytes that may be read before they are given back; a small corpus stays mapped.
RELEASE_AFTER = 64 * 1024 * 1024


def release(regions: Iterable[tuple[int, int]]) -> None:
    """Drop the resident pages of whole file mappings; reading them again maps them again.

    Only for addresses of read-only file mappings: their pages come back from the file. Does
    nothing where the system has no ``madvise``.

    Args:
        regions: page-aligned address and length in bytes of each mapping.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    advice = ctypes.c_int(mmap.MADV_DONTNEED)
    madvise = ctypes.CDLL(None).madvise
    for address, length in regions:
        madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), advice)
