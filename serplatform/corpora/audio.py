"""Read speech: any file that libsndfile decodes to 16 kHz mono, or a reason why not.

Everything that reads recordings reads them here: first they are decoded, then judged.

Shapes: S samples, N frames (samples of every channel), C channels.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.corpora.audio_file import (
    AUDIO_SUFFIXES,
    END_TOLERANCE,
    AudioError,
    AudioFile,
    file_problem,
    once_per_file,
    open_audio,
)
from serplatform.corpora.base import first_of

__all__ = [
    "AUDIO_SUFFIXES", "CANCEL", "FLOOR_DB", "LARGEST", "MAX_DURATION", "MIN_DURATION",
    "TARGET_RATE", "Audio", "AudioError", "Recording", "audio_hash", "file_problem", "floor_db",
    "is_audible", "judge_audio", "level_db", "mono_blocks", "read_audio", "speech_bounds",
    "summarize_notes",
]  # fmt: skip

#: rate of the samples that :func:`read_audio` returns, in hertz
TARGET_RATE = 16_000
#: shorter clips do not fill one 25 ms window, in seconds
MIN_DURATION = 0.025
#: longer clips are refused unless the user says otherwise, in seconds
MAX_DURATION = 60.0
#: what does not exceed this in any twentieth of a second is not heard, in dB of full scale
FLOOR_DB = -80.0
_FLOOR_8_BITS_DB = -42.0

EMPTY = "holds 0 samples"
#: note on a recording whose channels are not averaged
CANCEL = "its channels cancel each other: the louder one alone is read"

_CANCEL = 0.01  # power of the mean of the channels against that of unrelated ones
LARGEST = 8.0  # of float samples, where full scale is 1
_HEARD = 10.0 ** (_FLOOR_8_BITS_DB / 10.0)
_STEP = 0.05  # seconds of which a level is taken
_BLOCK = 10.0  # seconds decoded at a time where recordings may be long
#: the same for samples of 8 bits, of which it is one step
_FLOORS_DB = {"PCM_U8": _FLOOR_8_BITS_DB, "PCM_S8": _FLOOR_8_BITS_DB, "ULAW": -70.0, "ALAW": -70.0}
_NAMED = 3  # recordings of a note
_TRIM_DB = 30.0
_TRIM_HOP = 160  # samples: 10 ms
_TRIM_HOPS = 5  # a frame: 50 ms
_TRIM_MARGIN = 0.05  # seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audio:
    """Decoded speech.

    Attributes:
        samples: (S,), float32 mono at :data:`TARGET_RATE`, full scale 1.
        sampling_rate: of the file, in hertz.
        start: seconds within the file.
        end: seconds within the file.
        notes: what was odd about the file, and how it was taken.
    """

    samples: FloatArray
    sampling_rate: int
    start: float
    end: float
    notes: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.end - self.start


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """A whole recording that has been decoded once and can be used.

    What does not exceed ``floor_db`` is not heard; ``channel`` is read alone (None: the mean).
    """

    path: Path
    floor_db: float
    channel: int | None
    notes: tuple[str, ...]

    def blocks(self) -> Iterator[FloatArray]:
        """The samples, (S,) each, float32 mono at :data:`TARGET_RATE`; resampled as a stream."""
        with open_audio(self.path) as opened:
            blocks = opened.blocks(0, None, _BLOCK)
            yield from mono_blocks(blocks, opened.rate, self.channel)


def mono_blocks(
    blocks: Iterable[FloatArray], rate: int, channel: int | None = None
) -> Iterator[FloatArray]:
    """(N, C) blocks at a rate to (S,) float32 mono at :data:`TARGET_RATE`, resampled as a stream.

    ``channel`` is read alone (None: the mean).
    """
    import soxr

    resampler = None
    if rate != TARGET_RATE:
        resampler = soxr.ResampleStream(rate, TARGET_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        mono = np.ascontiguousarray(_mono(block, channel), dtype=np.float32)
        yield mono if resampler is None else resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def floor_db(subtype: str) -> float:
    """What does not exceed this is not heard in samples of a subtype of libsndfile."""
    return _FLOORS_DB.get(subtype, FLOOR_DB)


def read_audio(
    path: Path,
    *,
    start: float | None = None,
    end: float | None = None,
    max_duration: float | None = MAX_DURATION,
) -> Audio:
    """Decode one stretch of a file, and no more, to 16 kHz mono.

    Channels are averaged, unless they cancel each other; other rates are resampled by soxr (HQ).

    Args:
        path: wav, flac, ogg, mp3 or another file that libsndfile decodes.
        start: seconds; None means the beginning.
        end: seconds; None means the end.
        max_duration: seconds; longer stretches are refused, where the container tells its
            length before decoding. None: no limit.

    Raises:
        AudioError: with the reason why the audio cannot be used.
    """
    import soxr

    with open_audio(path) as opened:
        rate, frames = opened.rate, opened.frames
        if opened.compressed and (start is not None or end is not None):
            frames = _frames_held(path)
        first, count = _stretch(rate, frames, start, end, max_duration)
        judge = _Judge(opened)
        blocks = []
        for block in opened.blocks(first, count):
            blocks.append(judge.add(block))
            if max_duration is not None and judge.frames > max_duration * rate + 1:
                raise AudioError(_too_long(f"more than {max_duration:g}", max_duration))
        if start is None and end is None:
            opened.check_length(judge.frames)
        channel = judge.channel()
        if channel is not None:
            blocks = [_mono(block, channel) for block in opened.blocks(first, count)]
        mono = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        if rate != TARGET_RATE:
            mono = soxr.resample(mono, rate, TARGET_RATE, quality="HQ")
        begin = 0.0 if start is None else start
        return Audio(
            samples=np.ascontiguousarray(mono, dtype=np.float32),
            sampling_rate=rate,
            start=begin,
            end=begin + judge.frames / rate,
            notes=opened.notes if channel is None else (*opened.notes, CANCEL),
        )


@once_per_file
def judge_audio(path: Path) -> Recording:
    """Decode a recording of any length without keeping it, and judge it as :func:`read_audio` does.

    Raises:
        AudioError: with the reason why the recording cannot be used.
    """
    with open_audio(path) as opened:
        judge = _Judge(opened)
        for block in opened.blocks(0, None, _BLOCK):
            judge.add(block)
        opened.check_length(judge.frames)
        channel = judge.channel()
        return Recording(
            path=path,
            floor_db=judge.floor_db,
            channel=channel,
            notes=opened.notes if channel is None else (*opened.notes, CANCEL),
        )


@once_per_file
def _frames_held(path: Path) -> int:
    """Frames of a compressed file; remembered, that its segments do not decode it each time."""
    with open_audio(path) as opened:
        if opened.frames is not None and opened.holds_its_end():
            return opened.frames
    with open_audio(path) as opened:
        held = sum(len(block) for block in opened.blocks(0, None, _BLOCK))
        opened.check_length(held)
        return held


def _stretch(
    rate: int, frames: int | None, start: float | None, end: float | None, limit: float | None
) -> tuple[int, int | None]:
    """First frame and number of frames to read; None: to the end, wherever it is."""
    if frames is None:
        return 0, None
    if frames <= 0:
        raise AudioError(EMPTY)
    whole = frames / rate
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
        raise AudioError(_too_long(f"{stop - begin:.1f}", limit))
    first = round(begin * rate)
    return first, round(stop * rate) - first


def _too_long(seconds: str, limit: float) -> str:
    return f"lasts {seconds} s, longer than is allowed ({limit:g} s, --max-duration)"


def summarize_notes(noted: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence per note, with the recordings that it is about: of (note, name)."""
    names: dict[str, list[str]] = {}
    for note, name in noted:
        names.setdefault(note, []).append(name)
    return [f"{first_of(found, _NAMED)}: {note}" for note, found in names.items()]


def _mono(block: FloatArray, channel: int | None) -> FloatArray:
    """(N,) of (N, C): one channel, or the mean of all."""
    if channel is not None or block.shape[1] == 1:
        return block[:, channel or 0]
    return np.asarray(block.mean(axis=1), dtype=np.float32)


class _Judge:
    """Collects, block by block, what decides whether decoded samples can be used."""

    def __init__(self, opened: AudioFile) -> None:
        self._stream = opened.stream
        self._rate, self._channels = opened.rate, opened.stream.channels
        self._step = max(1, round(opened.rate * _STEP))
        self.frames = 0
        self._peak = self._sum = 0.0
        self._heard = False
        self._loudest = self._power = np.zeros(self._channels + 1)  # of the mean, of each channel

    @property
    def floor_db(self) -> float:
        """What does not exceed this is not heard."""
        return floor_db(self._stream.subtype)

    def add(self, block: FloatArray) -> FloatArray:
        """Take (N, C), return the channels' mean, (N,). AudioError: samples are no numbers."""
        peak = float(max(block.max(), -block.min()))
        if not np.isfinite(peak):
            bad = int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            where = (self.frames + bad) / self._rate
            raise AudioError(
                f"holds samples that are not numbers (NaN or infinite), the first at {where:.3f} s"
            )
        self._peak = max(self._peak, peak)
        self.frames += len(block)
        if self._peak > LARGEST:  # refused at the end; their powers may be no numbers
            return block[:, 0]
        mono = _mono(block, None)
        if self._channels == 1:
            if self._heard:
                return mono
            top = int(mono.argmax()) // self._step * self._step
            near = mono[top : top + self._step] - mono[top : top + self._step].mean()
            self._heard = float(near @ near) > len(near) * _HEARD  # however loud the rest
            if self._heard:
                return mono
        self._sum += float(mono.sum())
        values = mono[None] if self._channels == 1 else np.vstack([mono, block.T])
        powers = _step_powers(values, self._step)
        self._loudest = np.maximum(self._loudest, powers.max(axis=1))
        self._power = self._power + powers.sum(axis=1)
        return mono

    def channel(self) -> int | None:
        """The channel to be read alone (None: the mean of all); an AudioError if it is unusable."""
        if not self.frames:
            raise AudioError(EMPTY)
        if self._peak > LARGEST:
            raise AudioError(
                f"its samples reach {self._peak:.3g}, where full scale is 1: scale the file"
            )
        seconds = self.frames / self._rate
        if seconds < MIN_DURATION:
            raise AudioError(f"lasts {1000 * seconds:.1f} ms, less than one window of 25 ms")
        if not self._peak:
            raise AudioError("is digital silence throughout (every sample is 0)")
        if self._heard:
            return None
        channel, loudest = None, self._loudest[0]
        unrelated = self._power[1:].sum() / self._channels**2
        if self._channels > 1 and self._power[0] < _CANCEL * unrelated:
            channel = int(self._power[1:].argmax())
            loudest = self._loudest[1 + channel]
        level = _db(loudest)
        if level <= _FLOOR_8_BITS_DB and level <= self.floor_db:
            constant = self._sum / self.frames
            if _db(constant**2) > self.floor_db:
                raise AudioError(f"holds a constant ({constant:.4g} of full scale) and no sound")
            few_bits = f" in samples of 8 bits ({self._stream.subtype_info})"
            kind = few_bits if self._stream.subtype in _FLOORS_DB else ""
            raise AudioError(
                f"is inaudible: the loudest {1000 * _STEP:.0f} ms have {level:.1f} dB of full "
                f"scale, where speech{kind} needs more than {self.floor_db:g}"
            )
        return channel


def _db(power: float) -> float:
    return float(10.0 * np.log10(max(power, 1e-20)))


def _step_powers(values: FloatArray, step: int) -> FloatArray:
    """(C, steps) power of every ``step`` frames of (C, N) about their mean, and of the rest."""
    steps = values.shape[1] // step
    whole = values[:, : steps * step].reshape(-1, steps, step) if steps else values[:, None]
    rest = values[:, None, steps * step :] if steps else values[:, :0]
    found = []
    for part in (whole, rest):
        if part.size:
            centred = part - part.mean(axis=2, keepdims=True)
            found.append(np.einsum("csi,csi->cs", centred, centred) / part.shape[2])
    return np.concatenate(found, axis=1)


def is_audible(samples: FloatArray, floor_db: float = FLOOR_DB) -> bool:
    """Whether anything in (S,) samples at :data:`TARGET_RATE` exceeds a level."""
    powers = _step_powers(samples[None], round(_STEP * TARGET_RATE))
    return _db(float(powers.max())) > floor_db


def audio_hash(samples: FloatArray) -> str:
    """Hash of (S,) samples at 16 bits: equal for the same recording in another container."""
    rounded = np.clip(np.rint(samples * np.float32(32768.0)), -32768, 32767).astype("<i2")
    return hashlib.sha256(rounded).hexdigest()[:32]


def level_db(samples: FloatArray) -> float:
    """Root mean square in decibels relative to full scale (dBFS)."""
    return _db(float(np.dot(samples, samples)) / len(samples))


def speech_bounds(samples: FloatArray) -> tuple[float, float]:
    """Where speech begins and ends, in seconds from the start of (S,) samples, by energy.

    From the first to the last 50 ms frame that is at most 30 dB below the loudest one, and
    50 ms more at each end.
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
