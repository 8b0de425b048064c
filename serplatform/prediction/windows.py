"""A recording as clips: the whole of it, or windows that are read as a stream.

Windows of W seconds start every H seconds as long as they fit. If the last of them ends before
the recording does, one more window is taken that ends with the recording, so that nothing at
the end is lost (unless H > W, where gaps are asked for, and the next window would start beyond
the end). A recording shorter than W is one window.

Shapes: S samples.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from serplatform.corpora.audio import (
    MIN_DURATION,
    TARGET_RATE,
    AudioError,
    FloatArray,
    file_fault,
    read_audio,
)
from serplatform.errors import BadInputError

#: shortest window and hop, in seconds
MIN_WINDOW, MIN_HOP = 0.1, 0.01

_BLOCK = 10.0  # seconds read at a time
_LARGEST = 1000.0  # of float samples, as in corpora.audio


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A stretch of a recording.

    Attributes:
        start: seconds.
        end: seconds.
        samples: (S,), float32 mono at 16 kHz; None where every sample is 0: there is nothing
            to classify.
    """

    start: float
    end: float
    samples: FloatArray | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """Length of the windows and the step between them, in seconds.

    Raises:
        BadInputError: too short.
    """

    window: float
    hop: float

    def __post_init__(self) -> None:
        faults = []
        if not self.window >= MIN_WINDOW:
            faults.append(f"--window {self.window:g}: must be at least {MIN_WINDOW} seconds")
        if not self.hop >= MIN_HOP:
            faults.append(f"--hop {self.hop:g}: must be at least {MIN_HOP} seconds")
        if faults:
            raise BadInputError("\n".join(faults))


def cut(blocks: Iterable[FloatArray], window: int, hop: int) -> Iterator[tuple[int, FloatArray]]:
    """Cut a stream of samples into windows; no more than a window and a block is kept.

    Args:
        blocks: (S,) each, one after another.
        window: samples.
        hop: samples.

    Yields:
        First sample and the samples of each window.

    Example:
        >>> stream = [np.arange(4, dtype=np.float32), np.arange(4, 9, dtype=np.float32)]
        >>> [(start, start + len(samples)) for start, samples in cut(stream, 4, 2)]
        [(0, 4), (2, 6), (4, 8), (5, 9)]
    """
    buffer = np.zeros(0, np.float32)
    offset = upcoming = covered = total = 0
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        total += len(block)
        while upcoming + window <= total:
            yield upcoming, buffer[upcoming - offset : upcoming - offset + window].copy()
            covered = upcoming + window
            upcoming += hop
        kept = max(offset, min(upcoming, total - window))  # the last window may end with the stream
        buffer = buffer[kept - offset :]
        offset = kept
    if covered < total and upcoming < total:
        first = max(0, total - window)
        yield first, buffer[first - offset :].copy()


def read_whole(path: Path, max_duration: float | None) -> Clip:
    """A recording as one clip, as training reads it.

    Raises:
        AudioError: with the reason why it cannot be used.
    """
    try:
        audio = read_audio(path, max_duration=max_duration)
    except AudioError as error:
        if "--max-duration" not in str(error):
            raise
        raise AudioError(
            f"{error}: classify it in windows (e.g. --window 3 --hop 1), or raise --max-duration"
        ) from None
    return Clip(start=audio.start, end=audio.end, samples=audio.samples)


def read_windows(path: Path, plan: WindowPlan) -> Iterator[Clip]:
    """The windows of a recording of any length, read as a stream.

    Raises:
        AudioError: with the reason why the recording, or its rest, cannot be used; windows
            before a damaged place have been yielded by then.
    """
    import soundfile

    fault = file_fault(path)
    if fault is not None:
        raise AudioError(fault)
    window, hop = round(plan.window * TARGET_RATE), round(plan.hop * TARGET_RATE)
    any_window = sounding = False
    end = 0
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:  # names need not be text
            for first, samples in cut(_blocks(file), window, hop):
                end = first + len(samples)
                if end < MIN_DURATION * TARGET_RATE:
                    raise AudioError(
                        f"lasts {1000 * end / TARGET_RATE:.1f} ms, less than one window of 25 ms"
                    )
                heard = bool(samples.any())
                any_window, sounding = True, sounding or heard
                yield Clip(
                    start=round(first / TARGET_RATE, 6),
                    end=round(end / TARGET_RATE, 6),
                    samples=samples if heard else None,
                )
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        raise AudioError(f"cannot be decoded: {reason}") from None
    if not any_window:
        raise AudioError("holds 0 samples")
    if not sounding:
        raise AudioError("is digital silence throughout (every sample is 0)")


def _blocks(file: Any) -> Iterator[FloatArray]:
    """The samples of an open file, mono at 16 kHz, block by block."""
    import soxr

    rate = int(file.samplerate)
    resampler = None
    if rate != TARGET_RATE:
        resampler = soxr.ResampleStream(rate, TARGET_RATE, 1, dtype="float32", quality="HQ")
    size = round(_BLOCK * rate)
    read = 0
    while True:
        samples = file.read(size, dtype="float32", always_2d=True)
        where = f"between {read / rate:.0f} and {(read + len(samples)) / rate:.0f} s"
        read += len(samples)
        if not np.isfinite(samples).all():
            raise AudioError(f"holds samples that are not numbers (NaN or infinite), {where}")
        peak = float(np.abs(samples).max(initial=0.0))
        if peak > _LARGEST:
            raise AudioError(
                f"its samples reach {peak:.3g}, where full scale is 1, {where}: scale the file"
            )
        last = len(samples) < size
        mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
        if resampler is not None:
            mono = resampler.resample_chunk(np.ascontiguousarray(mono), last=last)
        if len(mono):
            yield np.ascontiguousarray(mono, dtype=np.float32)
        if last:
            return
