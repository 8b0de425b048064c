"""A recording as clips: the whole of it, or windows that are read as a stream.

Windows of W seconds start every H seconds as long as they fit. If the last of them ends before
the recording does, one more window is taken that ends with the recording, so that nothing at
the end is lost (unless H > W, where gaps are asked for, and the next window would start beyond
the end). A recording shorter than W is one window.

Shapes: S samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.corpora.audio import TARGET_RATE, AudioError, is_audible, judge_audio, read_audio
from serplatform.errors import BadInputError

#: shortest window and hop, in seconds
MIN_WINDOW, MIN_HOP = 0.1, 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordingClip:
    """A stretch of a recording.

    Attributes:
        start: seconds; ``end`` too.
        samples: (S,), float32 mono at 16 kHz; None where nothing is heard, so nothing to classify.
        notes: what was odd about the recording, and how it was taken.
    """

    start: float
    end: float
    samples: FloatArray | None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """Length of the windows and the step between them, in seconds; checked to be long enough."""

    window: float
    hop: float

    def __post_init__(self) -> None:
        errors = []
        if not self.window >= MIN_WINDOW:
            errors.append(f"--window {self.window:g}: must be at least {MIN_WINDOW} seconds")
        if not self.hop >= MIN_HOP:
            errors.append(f"--hop {self.hop:g}: must be at least {MIN_HOP} seconds")
        if errors:
            raise BadInputError("\n".join(errors))


def cut(
    blocks: Iterable[FloatArray], window: int, hop: int, *, aligned: bool = False
) -> Iterator[tuple[int, FloatArray]]:
    """Cut a stream of samples into windows; no more than a window and a block is kept.

    ``aligned``: the last one starts where it would, and is shorter, instead of ending with the
    stream.

    Yields:
        First sample and the samples of each window of ``window`` samples, every ``hop`` samples.

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
        first = upcoming if aligned else max(0, total - window)
        yield first, buffer[first - offset :].copy()


def read_whole(path: Path, max_duration: float | None) -> RecordingClip:
    """A recording as one clip, as training reads it, or an ``AudioError`` with the reason."""
    try:
        audio = read_audio(path, max_duration=max_duration)
    except AudioError as error:
        if "--max-duration" not in str(error):
            raise
        raise AudioError(
            f"{error}: classify it in windows (e.g. --window 3 --hop 1), or raise --max-duration"
        ) from None
    return RecordingClip(start=audio.start, end=audio.end, samples=audio.samples, notes=audio.notes)


def read_windows(path: Path, plan: WindowPlan) -> Iterator[RecordingClip]:
    """The windows of a recording of any length, read as a stream once it has been judged."""
    recording = judge_audio(path)
    window, hop = round(plan.window * TARGET_RATE), round(plan.hop * TARGET_RATE)
    for first, samples in cut(recording.blocks(), window, hop):
        yield RecordingClip(
            start=round(first / TARGET_RATE, 6),
            end=round((first + len(samples)) / TARGET_RATE, 6),
            samples=samples if is_audible(samples, recording.floor_db) else None,
            notes=recording.notes,
        )
