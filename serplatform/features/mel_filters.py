"""Triangular filters on Slaney's mel scale, as librosa makes them by default.

Written here so that a worker need not import librosa, whose first import takes seconds; the
tests compare every value with ``librosa.filters.mel``.
"""

from __future__ import annotations

import functools

import numpy as np

from serplatform.features.base import SAMPLING_RATE, FloatArray

_LINEAR_STEP = 200.0 / 3  # hertz a mel below the corner
_CORNER = 1000.0  # hertz
_CORNER_MEL = _CORNER / _LINEAR_STEP
_LOG_STEP = np.log(6.4) / 27  # natural log of frequency a mel above the corner


def _to_mel(frequency: float) -> float:
    if frequency < _CORNER:
        return frequency / _LINEAR_STEP
    return float(_CORNER_MEL + np.log(frequency / _CORNER) / _LOG_STEP)


@functools.lru_cache(maxsize=16)
def mel_filters(*, n_fft: int, n_mels: int, fmin: float, fmax: float) -> FloatArray:
    """Filters of equal area (Slaney's normalization) at ``SAMPLING_RATE``.

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
    mels = np.linspace(_to_mel(fmin), _to_mel(fmax), n_mels + 2)
    above = _CORNER * np.exp(_LOG_STEP * (mels - _CORNER_MEL))
    edges = np.where(mels < _CORNER_MEL, mels * _LINEAR_STEP, above)  # (n_mels + 2,)
    frequencies = np.linspace(0.0, SAMPLING_RATE / 2, n_fft // 2 + 1)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))
    result = filters.astype(np.float32)
    result.setflags(write=False)
    return result
