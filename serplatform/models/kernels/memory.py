"""Memory of a process that trains: freed tensors are kept, read pages of the corpus are not.

glibc unmaps every large tensor when it is freed, so that each training step faults the same pages
in again; where page faults are expensive (virtual machines) that takes more time than the
arithmetic. ``benchmarks/allocator.py`` measures the difference.

Pages of a memory map that were read stay resident until the system needs them: a worker that walks
through a large corpus every epoch would seem to hold all of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import platform
import sys
from collections.abc import Iterable

from serplatform.models.kernels import fast_kernels_enabled

# names and numbers of glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4

#: a variable of the user's own wins over ours
_VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")

#: memory that the heap grows by, bytes
TOP_PAD = 64 * 1024 * 1024
#: mapped bytes that may be read before they are given back; a small corpus stays mapped
RELEASE_AFTER = 64 * 1024 * 1024


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to take tensors from the heap and not to shrink it.

    Call it early in a process that trains; the process then keeps its peak memory until it ends.

    Returns:
        whether the allocator took the settings: False where the C library is not glibc, where
        another allocator is preloaded, where the user has set the ``MALLOC_*`` variables, and
        with ``SERPLATFORM_KERNELS=reference``.
    """
    if (
        not fast_kernels_enabled()
        or not sys.platform.startswith("linux")
        or platform.libc_ver()[0] != "glibc"
    ):
        return False
    if os.environ.get("LD_PRELOAD") or any(name in os.environ for name in _VARIABLES):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    largest = 2**31 - 1
    settings = (
        (_M_MMAP_MAX, 0),  # no separate mappings: everything comes from the heap
        (_M_MMAP_THRESHOLD, largest),
        (_M_TRIM_THRESHOLD, largest),
        (_M_TOP_PAD, TOP_PAD),
    )
    # glibc refuses a threshold above half its heap size with 0; MMAP_MAX alone then suffices
    taken = {option: mallopt(option, value) == 1 for option, value in settings}
    return taken[_M_MMAP_MAX] and taken[_M_TRIM_THRESHOLD]


def give_back_memory() -> None:
    """Give memory that is free back to the system, once; does nothing without glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def release(regions: Iterable[tuple[int, int]]) -> None:
    """Drop the resident pages of whole file mappings; reading them again maps them again.

    ``regions`` are page-aligned addresses and lengths in bytes of read-only file mappings: their
    pages come back from the file. Does nothing where the system has no ``madvise``.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    advice = ctypes.c_int(mmap.MADV_DONTNEED)
    madvise = ctypes.CDLL(None).madvise
    for address, length in regions:
        madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), advice)
