"""Read speech: any file that libsndfile knows to 16 kHz mono, or a reason why not.

Shapes: S samples.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serplatform.errors import BadInputError

FloatArray = npt.NDArray[np.float32]

#: rate of the samples that :func:`read_audio` returns, in hertz
TARGET_RATE = 16_000
#: shorter clips do not fill one 25 ms window, in seconds
MIN_DURATION = 0.025
#: longer clips are refused unless the user says otherwise, in seconds
MAX_DURATION = 60.0
#: how far beyond the end of its file an utterance may reach, in seconds
END_TOLERANCE = 0.1
#: what a file name ends with, for folders that are searched
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3"})

_LFS_PREFIX = b"version https://git-lfs"
#: libsndfile's note on a WAV file whose header promises more, or less, than it holds
_DATA_SIZES = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFF0000  # and above: written where the size was not known, as into a pipe
_BLOCK_FRAMES = 1 << 22
_LARGEST = 1000.0  # of float samples; integers stored as floats reach 32768
_TRIM_DB = 30.0
_TRIM_HOP = 160  # samples: 10 ms
_TRIM_HOPS = 5  # a frame: 50 ms
_TRIM_MARGIN = 0.05  # seconds


class AudioError(BadInputError):
    """An utterance cannot be used; the message is the reason, without the path."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audio:
    """Decoded speech.

    Attributes:
        samples: (S,), float32 mono at :data:`TARGET_RATE`, full scale 1.
        sampling_rate: of the file, in hertz.
        start: seconds within the file.
        end: seconds within the file.
    """

    samples: FloatArray
    sampling_rate: int
    start: float
    end: float

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.end - self.start


def file_fault(path: Path) -> str | None:
    """Why a file cannot be audio, judged by its first bytes; None when it may be.

    Args:
        path: a file, which need not exist.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except FileNotFoundError:
        return "no such file"
    except IsADirectoryError:
        return "is a folder, not an audio file"
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    if not head:
        return "the file is empty (0 bytes)"
    if head.startswith(_LFS_PREFIX):
        return "git-lfs pointer instead of audio; run 'git lfs pull' where the corpus was cloned"
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head):
        return "a text file, not audio"
    return None


def read_audio(
    path: Path,
    *,
    start: float | None = None,
    end: float | None = None,
    max_duration: float | None = MAX_DURATION,
) -> Audio:
    """Decode one stretch of a file, and no more, to 16 kHz mono.

    Channels are averaged; other rates are resampled by soxr (HQ).

    Args:
        path: wav, flac, ogg, mp3 or another file that libsndfile decodes.
        start: seconds; None means the beginning.
        end: seconds; None means the end.
        max_duration: seconds; longer stretches are refused before decoding. None: no limit.

    Raises:
        AudioError: with the reason why the audio cannot be used.
    """
    import soundfile

    fault = file_fault(path)
    if fault is not None:
        raise AudioError(fault)
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:  # names need not be text
            return _read_open(file, start, end, max_duration)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        raise AudioError(f"cannot be decoded: {reason}") from None


def _read_open(file: Any, start: float | None, end: float | None, limit: float | None) -> Audio:
    import soxr

    rate = int(file.samplerate)
    whole = file.frames / rate
    if file.frames <= 0:
        raise AudioError("holds 0 samples")
    promised = whole * _share_promised(str(file.extra_info))
    if promised > whole + END_TOLERANCE:
        raise AudioError(
            f"is cut short: its header promises {promised:.3f} s, and it holds {whole:.3f} s; "
            "copy it again"
        )
    begin = 0.0 if start is None else start
    stop = whole if end is None else end
    if begin < 0 or stop <= begin:
        raise AudioError(f"its span {begin:g}–{stop:g} s is empty or negative")
    if begin >= whole or stop > whole + END_TOLERANCE:
        raise AudioError(
            f"its span {begin:g}–{stop:g} s leaves the file, which lasts {whole:.3f} s"
        )
    stop = min(stop, whole)
    if limit is not None and stop - begin > limit:
        raise AudioError(
            f"lasts {stop - begin:.1f} s, longer than is allowed ({limit:g} s, --max-duration)"
        )
    first, last = round(begin * rate), round(stop * rate)
    if first:
        file.seek(first)
    samples = _read_frames(file, last - first)
    if len(samples) == 0:
        raise AudioError("holds 0 samples")
    if not np.isfinite(samples).all():
        raise AudioError("holds samples that are not numbers (NaN or infinite)")
    peak = float(np.abs(samples).max())
    if peak > _LARGEST:
        raise AudioError(f"its samples reach {peak:.3g}, where full scale is 1: scale the file")
    stop = begin + len(samples) / rate  # a damaged file may hold less than its header says
    if stop - begin < MIN_DURATION:
        raise AudioError(f"lasts {1000 * (stop - begin):.1f} ms, less than one window of 25 ms")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not mono.any():
        raise AudioError("is digital silence throughout (every sample is 0)")
    if rate != TARGET_RATE:
        mono = soxr.resample(mono, rate, TARGET_RATE, quality="HQ")
    return Audio(
        samples=np.ascontiguousarray(mono, dtype=np.float32),
        sampling_rate=rate,
        start=begin,
        end=stop,
    )


def _read_frames(file: Any, count: int) -> FloatArray:
    """(N, channels) of at most ``count`` frames: memory follows what a file holds, not claims."""
    blocks = []
    while count > 0:
        block = file.read(min(count, _BLOCK_FRAMES), dtype="float32", always_2d=True)
        if not len(block):
            break
        blocks.append(block)
        count -= len(block)
    if not blocks:
        return np.zeros((0, file.channels), dtype=np.float32)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _share_promised(info: str) -> float:
    """What a WAV file's header promises, as a multiple of what libsndfile finds in the file.

    Example:
        >>> _share_promised("data : 400 (should be 100)")
        4.0
    """
    found = _DATA_SIZES.search(info)
    if found is None:
        return 1.0
    promised, held = map(int, found.groups())
    return promised / held if held > 0 and promised < _UNKNOWN_SIZE else 1.0


def audio_hash(samples: FloatArray) -> str:
    """Hash of the samples rounded to 16 bits: equal for the same recording in another container.

    Args:
        samples: (S,), at :data:`TARGET_RATE`.

    Example:
        >>> audio_hash(np.zeros(3, np.float32)) == audio_hash(np.full(3, 1e-6, np.float32))
        True
    """
    rounded = np.clip(np.rint(samples * np.float32(32768.0)), -32768, 32767).astype("<i2")
    return hashlib.sha256(rounded).hexdigest()[:32]


def level_db(samples: FloatArray) -> float:
    """Root mean square in decibels relative to full scale (dBFS).

    Example:
        >>> round(level_db(np.full(100, 0.1, np.float32)), 3)
        -20.0
    """
    power = float(np.dot(samples, samples)) / len(samples)
    return float(10.0 * np.log10(max(power, 1e-20)))


def speech_bounds(samples: FloatArray) -> tuple[float, float]:
    """Where speech begins and ends, by energy.

    From the first to the last 50 ms frame that is at most 30 dB below the loudest one, and
    50 ms more at each end.

    Args:
        samples: (S,), at :data:`TARGET_RATE`.

    Returns:
        Seconds from the start of the samples.

    Example:
        >>> tone = np.r_[np.zeros(16_000), np.ones(16_000), np.zeros(16_000)].astype(np.float32)
        >>> speech_bounds(tone)
        (0.91, 2.09)
    """
    total = len(samples) / TARGET_RATE
    hops = len(samples) // _TRIM_HOP
    if hops <= _TRIM_HOPS:
        return 0.0, total
    blocks = samples[: hops * _TRIM_HOP].reshape(hops, _TRIM_HOP)
    summed = np.cumsum(np.r_[0.0, np.einsum("ij,ij->i", blocks, blocks)])
    energy = summed[_TRIM_HOPS:] - summed[:-_TRIM_HOPS]  # of frames that start at each hop
    loud = np.flatnonzero(energy >= energy.max() * 10.0 ** (-_TRIM_DB / 10.0))
    start = int(loud[0]) * _TRIM_HOP / TARGET_RATE - _TRIM_MARGIN
    end = (int(loud[-1]) + _TRIM_HOPS) * _TRIM_HOP / TARGET_RATE + _TRIM_MARGIN
    return round(max(0.0, start), 6), round(min(total, end), 6)
