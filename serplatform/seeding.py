"""Derive independent seeds for folds, trials and workers from the one a user gives."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *path: str | int) -> int:
    """Derive a seed in [0, 2**31) that depends on every part of ``path``.

    Example:
        >>> derive_seed(0, "trial", 3) == derive_seed(0, "trial", 3)
        True
        >>> derive_seed(0, "trial", 3) == derive_seed(0, "trial", 4)
        False
    """
    text = "/".join([str(seed), *map(str, path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 2**31
