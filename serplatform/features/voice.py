r"""Pitch, harmonicity and the periods of a voice, from its autocorrelation.

Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
ratio of a sampled sound", Proceedings of the Institute of Phonetic Sciences 17, 1993: the
autocorrelation of a windowed frame, divided by that of the window,

.. math:: r(\tau) = \frac{r_{xw}(\tau)}{r_{xw}(0)} \Big/ \frac{r_w(\tau)}{r_w(0)}

has a maximum at the period; of several maxima in each frame, the path that is strong and jumps
little is found by dynamic programming, with "no voice" as one more choice.

Departs from the paper: maxima are interpolated by a parabola instead of a sinc, what lies below
:data:`LOWEST` is left out of the autocorrelation (a rumble, a constant), and a frame's level is
its effective value instead of its peak.

Shapes: S samples, T frames, F frequency bins, C candidates, M periods.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # its parts are imported when they are used

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.features.clip import power_spectrum

#: range of the pitch, in hertz, as shortest and longest period in samples at 16 kHz: 615 and 62.5
SHORTEST, LONGEST = 26, 256
#: frequencies below are not of a voice, in hertz
LOWEST = 62.5
#: window and transform, in samples: three of the longest periods (48 ms), and as many more zeros
#: as keep its autocorrelation free of wrapping up to the longest period
WINDOW, N_FFT = 768, 1024

#: strength of "no voice", and the level below the loudest frame at which it grows
_VOICING, _SILENCE = 0.45, 0.03
#: costs of an octave downwards, of a jump by an octave, of voice beginning or ending
_OCTAVE, _JUMP, _CHANGE = 0.03, 0.35, 0.14
_CANDIDATES = 6
_BLOCK = 2048  # frames at a time, to bound the memory
_BINS = round(LOWEST * N_FFT / 16_000)  # left out
#: neighbouring periods that differ more are not two periods of one voice (Praat's limit)
_MOST_DIFFERENT = 1.3
_SMOOTHED = 5  # periods

BoolArray = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Pitch:
    """What the autocorrelation of each frame says.

    Attributes:
        period: (T,) in samples; without meaning where there is no voice.
        harmonicity: (T,) 0 to 1: share of the power that is periodic, at that period.
        voicing: (T,) 0 to 1: the same at the period where it is largest, voice or not.
        voiced: (T,) whether there is a voice.
    """

    period: FloatArray
    harmonicity: FloatArray
    voicing: FloatArray
    voiced: BoolArray


def voice_spectrum(
    samples: FloatArray, num_frames: int, *, hop_length: int, centre: int
) -> FloatArray:
    """(T, F) powers of frames of :data:`WINDOW` samples, 0 below :data:`LOWEST`.

    Frame t is centred on sample ``centre + t * hop_length``; beyond its ends a clip is silent.
    """
    padded = np.pad(samples, (WINDOW // 2 - centre, WINDOW))
    power = power_spectrum(padded, n_fft=N_FFT, win_length=WINDOW, hop_length=hop_length)
    power[:, :_BINS] = 0.0
    return power[:num_frames]


def track_pitch(power: FloatArray) -> Pitch:
    """Follow the pitch through the (T, F) powers that :func:`voice_spectrum` gives."""
    blocks = [_candidates(power[i : i + _BLOCK]) for i in range(0, len(power), _BLOCK)]
    lags, strengths, heights, level = (np.concatenate(part) for part in zip(*blocks, strict=True))
    level = np.sqrt(level) / max(np.sqrt(level.max()), 1e-9)
    silence = _VOICING + np.maximum(0.0, 2.0 - level * (1.0 + _VOICING) / _SILENCE)
    path = _best_path(np.log2(lags), np.concatenate([strengths, silence[:, None]], axis=1))
    voiced = path < _CANDIDATES
    chosen = np.arange(len(power)), np.minimum(path, _CANDIDATES - 1)
    heights = heights.clip(0.0, 1.0)
    return Pitch(lags[chosen], heights[chosen], heights.max(axis=1), voiced)


def _candidates(power: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """(T, C) lags, strengths and heights of the strongest maxima, and (T,) powers."""
    window = np.hanning(WINDOW + 1)[:-1]
    of_window = scipy.fft.irfft(np.abs(scipy.fft.rfft(window, 2 * N_FFT)) ** 2)[: LONGEST + 2]
    r = scipy.fft.irfft(power, axis=1)[:, : LONGEST + 2]
    total = r[:, 0].copy()
    r /= np.maximum(total, 1e-9)[:, None]
    r /= (of_window / of_window[0]).astype(np.float32)
    here = r[:, SHORTEST:-1]
    peak = (here > r[:, SHORTEST - 1 : -2]) & (here >= r[:, SHORTEST + 1 :])
    cost = _OCTAVE * np.log2(np.arange(SHORTEST, LONGEST + 1) / SHORTEST)
    strength = np.where(peak, here - cost.astype(np.float32), np.float32(-1.0))
    best = np.argpartition(-strength, _CANDIDATES, axis=1)[:, :_CANDIDATES]
    before, top, after = (np.take_along_axis(r, best + SHORTEST + i, axis=1) for i in (-1, 0, 1))
    shift, rise = _parabola(before, top, after)
    found = np.take_along_axis(peak, best, axis=1)
    height = np.where(found, top + rise, np.float32(0.0))
    strength = np.take_along_axis(strength, best, axis=1) + np.where(found, rise, np.float32(0.0))
    return (best + SHORTEST + shift).astype(np.float32), strength, height, total


def _parabola(before: Any, top: Any, after: Any) -> tuple[Any, Any]:
    """How far from the middle of three values, and how far above it, their parabola is highest."""
    bend = before - 2 * top + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1), 0)
    shift = shift.clip(-0.5, 0.5).astype(top.dtype)
    return shift, -0.25 * (before - after) * shift


def _best_path(octaves: FloatArray, strengths: FloatArray) -> IntArray:
    """(T,) the choice in each frame, C for no voice (Viterbi).

    Args:
        octaves: (T, C) logarithms to base 2 of the candidates' periods.
        strengths: (T, C + 1).
    """
    num_frames, num_states = strengths.shape
    costs = np.full((num_frames - 1, num_states, num_states), _CHANGE, np.float32)
    costs[:, :-1, :-1] = _JUMP * np.abs(octaves[:-1, :, None] - octaves[1:, None, :])
    costs[:, -1, -1] = 0.0
    come_from = np.zeros((num_frames, num_states), np.int64)
    each, score = np.arange(num_states), strengths[0]
    for t in range(1, num_frames):
        reached = score[:, None] - costs[t - 1]
        come_from[t] = reached.argmax(axis=0)
        score = reached[come_from[t], each] + strengths[t]
    path = np.empty(num_frames, np.int64)
    path[-1] = score.argmax()
    for t in range(num_frames - 1, 0, -1):
        path[t - 1] = come_from[t, path[t]]
    return path


def perturbation(
    samples: FloatArray, pitch: Pitch, *, hop_length: int, centre: int
) -> tuple[DoubleArray, DoubleArray]:
    r"""(T,) jitter and (T,) shimmer, shares of 1; 0 everywhere where no three periods follow.

    For neighbouring periods T and peaks A of the wave,
    :math:`|T_i - T_{i+1}| / \frac{1}{2}(T_i + T_{i+1})` and the same of A, means over five
    periods, between them interpolated: their mean over voiced frames is Praat's ``local``.
    """
    times, jitter, shimmer = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
    for first, last in runs(pitch.voiced):
        begin = max(0, centre + first * hop_length - hop_length // 2)
        end = centre + (last - 1) * hop_length + hop_length // 2
        periods = pitch.period[first:last].tolist()
        marks, heights = _peaks(samples[begin:end], periods, hop_length)
        if len(marks) < 3:
            continue
        length = np.diff(marks)
        change = _change(length)
        like = np.maximum(length[1:], length[:-1]) < _MOST_DIFFERENT * np.minimum(
            length[1:], length[:-1]
        )
        times.append(begin + marks[1:-1][like])
        jitter.append(change[like])
        shimmer.append(_change(heights[1:])[like])
    where = np.concatenate(times)
    frames = centre + hop_length * np.arange(len(pitch.voiced))
    if not len(where):
        return np.zeros(len(frames)), np.zeros(len(frames))
    ones = np.ones(_SMOOTHED)
    count = np.convolve(np.ones(len(where)), ones)[_SMOOTHED // 2 :][: len(where)]
    smooth = (
        np.convolve(np.concatenate(v), ones)[_SMOOTHED // 2 :][: len(where)] / count
        for v in (jitter, shimmer)
    )
    first_one, other = (np.interp(frames, where, v) for v in smooth)
    return first_one, other


def _change(values: DoubleArray) -> DoubleArray:
    """Differences of neighbours relative to their mean."""
    return np.abs(np.diff(values)) / np.maximum((values[1:] + values[:-1]) / 2, 1e-9)


def _peaks(
    wave: FloatArray, periods: list[float], hop_length: int
) -> tuple[DoubleArray, DoubleArray]:
    """Places (M + 1) and heights of one peak a period, from the highest one to both sides.

    ``periods`` are those of stretches of ``hop_length`` samples; the side of the wave, up or
    down, is that of the largest sample.
    """
    if not len(wave):
        return np.zeros(0), np.zeros(0)
    wave = wave if wave.max() >= -wave.min() else -wave
    top = int(wave.argmax())
    marks = [top]
    for near, far in ((0.75, 1.25), (-1.25, -0.75)):
        at = top
        while True:
            period = periods[min(at // hop_length, len(periods) - 1)]
            low, high = int(at + near * period), int(at + far * period) + 1
            if low < 1 or high >= len(wave):
                break
            at = low + int(wave[low:high].argmax())
            marks.append(at)
    inside = np.array(sorted(mark for mark in marks if 0 < mark < len(wave) - 1), np.int64)
    before, peak, after = (wave[inside + i].astype(np.float64) for i in (-1, 0, 1))
    shift, rise = _parabola(before, peak, after)
    return inside + shift, peak + rise


def runs(mask: BoolArray) -> list[tuple[int, int]]:
    """First frame, and the one after the last, of each stretch where ``mask`` holds.

    Example:
        >>> runs(np.array([True, False, True, True]))
        [(0, 1), (2, 4)]
    """
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
