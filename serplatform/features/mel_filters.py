"""Triangular filters on Slaney's mel scale: librosa's, made once a process."""

from __future__ import annotations

import functools

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.features.base import SAMPLING_RATE


@functools.lru_cache(maxsize=16)
def mel_filters(*, n_fft: int, n_mels: int, fmin: float, fmax: float) -> FloatArray:
    """``librosa.filters.mel`` at ``SAMPLING_RATE``, transposed: filters of equal area.

    Slaney, "Auditory Toolbox", Interval Research technical report 1998-010: linear below
    1 kHz, logarithmic above.

    Args:
        n_fft: length of the Fourier transform.
        n_mels: number of filters.
        fmin: lower end of the first filter, in hertz.
        fmax: upper end of the last filter, in hertz.

    Returns:
        (n_fft // 2 + 1, n_mels), float32, read-only: ``power @ filters`` are mel powers.

    Example:
        >>> mel_filters(n_fft=512, n_mels=23, fmin=0.0, fmax=8000.0).shape
        (257, 23)
    """
    from librosa.filters import mel

    filters = mel(sr=SAMPLING_RATE, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    result: FloatArray = np.ascontiguousarray(filters.T, dtype=np.float32)
    result.setflags(write=False)
    return result
