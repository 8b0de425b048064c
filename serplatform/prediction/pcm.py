"""Audio that is still coming: standard input, a pipe, or a file that grows.

Samples are raw PCM, or a WAV whose header comes first. Its samples end where the header
says, unless the file is followed as it grows, or the size is that of a program which knew none.

Shapes: S samples, N frames (samples of every channel), C channels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import os
import re
import select
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.corpora.audio import (
    LARGEST,
    AudioError,
    floor_db,
    judge_audio,
    mono_blocks,
)
from serplatform.errors import BadInputError, unknown_name
from serplatform.prediction.recordings import STDIN, printable

#: kinds of samples by ffmpeg's names to libsndfile's; those of several bytes end with le or be
ENCODINGS = {
    "u8": "PCM_U8", "s8": "PCM_S8", "mulaw": "ULAW", "alaw": "ALAW",
    "s16": "PCM_16", "s24": "PCM_24", "s32": "PCM_32", "f32": "FLOAT", "f64": "DOUBLE",
}  # fmt: skip
_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}  # others: 1
#: what standard input is taken for, unless it begins as a WAV
DEFAULT_PCM = "s16le:16000:1"

_READ = 1 << 14  # bytes at a time: half a second of 16-bit mono at 16 kHz
_POLL = 0.1  # seconds between two looks for more, and for a stop
_HEADER = 1 << 16  # bytes in which the samples of a WAV begin
_ENDLESS = 0x7FFF_F000  # bytes that sox states where it cannot know; arecord and ffmpeg state more
_CODED = rb"fLaC|OggS|ID3|FORM|RF64|\x1aE\xdf\xa3|(?s:....ftyp)"
_CONVERT = "for example with: ffmpeg -i … -f s16le -ac 1 -ar 16000 -"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PcmFormat:
    """Kind of samples.

    Attributes:
        subtype: libsndfile's name.
        endian: ``LITTLE`` or ``BIG``.
        rate: hertz.
        channels: C.
    """

    subtype: str
    endian: str
    rate: int
    channels: int

    @classmethod
    def parse(cls, text: str) -> PcmFormat:
        """The format that ``--pcm`` names: kind of samples, rate in hertz, channels.

        Example:
            >>> PcmFormat.parse("f32le:48000:2")
            PcmFormat(subtype='FLOAT', endian='LITTLE', rate=48000, channels=2)
        """
        found = re.fullmatch(r"([a-z]+?\d*)(le|be)?:([1-9]\d{3,5}):([1-9]\d?)", text)
        if found is None:
            raise BadInputError(
                f"--pcm {text}: must be samples:hertz:channels, for example {DEFAULT_PCM}"
            )
        if found[1] not in ENCODINGS:
            raise BadInputError("--pcm: " + unknown_name("kind of samples", found[1], ENCODINGS))
        endian = "BIG" if found[2] == "be" else "LITTLE"
        return cls(
            subtype=ENCODINGS[found[1]], endian=endian, rate=int(found[3]), channels=int(found[4])
        )

    def decode(self, content: bytes, first: int = 0) -> FloatArray:
        """(N, C) float32 samples, full scale 1, of whole frames, the ``first`` ones before them.

        Raises:
            AudioError: samples are no numbers, or far beyond full scale.
        """
        import soundfile

        block: FloatArray = soundfile.read(
            io.BytesIO(content),
            dtype="float32",
            always_2d=True,
            samplerate=self.rate,
            channels=self.channels,
            format="RAW",
            subtype=self.subtype,
            endian=self.endian,
        )[0]
        wrong = np.argwhere(~(np.abs(block) <= LARGEST))
        if len(wrong):
            second, value = (first + wrong[0, 0]) / self.rate, block[tuple(wrong[0])]
            raise AudioError(
                f"a sample at {second:.3f} s is {value:.3g}, where full scale is 1: check --pcm"
            )
        return block

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return _BYTES.get(self.subtype, 1) * self.channels


class AudioStream:
    """Audio to be classified as it comes.

    Args:
        given: a file, a pipe, or ``-``.
        pcm: format of raw samples, see :meth:`PcmFormat.parse`; None: a file is decoded by its
            own header, anything else is :data:`DEFAULT_PCM`.
        follow: wait for more at the end of the file.

    Attributes:
        name: printable.
        stopped: reading ends at the next look.
        notes: what was odd.
        floor_db: what does not exceed this is not heard; known once :meth:`blocks` has begun.
    """

    def __init__(self, given: str, pcm: str | None = None, *, follow: bool = False) -> None:
        if follow and given == STDIN:
            raise BadInputError("--follow is for a file that grows; standard input ends by itself")
        self.name, self._path = printable(given), Path(given)
        pipe = self._path.exists() and not (self._path.is_file() or self._path.is_dir())
        self._live = given == STDIN or follow or pcm is not None or pipe
        self._format = PcmFormat.parse(pcm or DEFAULT_PCM)
        self._follow, self.stopped = follow, False
        self.notes: tuple[str, ...] = ()
        self.floor_db = floor_db(self._format.subtype)

    def stop(self) -> None:
        """Have reading end at the next look."""
        self.stopped = True

    def blocks(self) -> Iterator[FloatArray]:
        """The samples, (S,) each, float32 mono at 16 kHz.

        Raises:
            AudioError: with the reason why no more can be read.
        """
        if not self._live:
            recording = judge_audio(self._path)
            self.floor_db, self.notes = recording.floor_db, recording.notes
            yield from recording.blocks()
            return
        chunks = self._chunks()
        head, begin, size = b"", -1, 0
        while begin < 0 and len(head) < _HEADER and (chunk := next(chunks, None)):
            head += chunk
            begin, size = _samples_of(head)
        if begin < 0 and head:
            raise AudioError("ends within its WAV header")
        if begin > 0:
            self._format = _wav_format(head)
        elif re.match(_CODED, head):
            raise AudioError(f"is coded audio, and neither raw PCM nor WAV: decode it, {_CONVERT}")
        self.floor_db = floor_db(self._format.subtype)
        chunks = itertools.chain([head[begin:]], chunks)
        if 0 < size < _ENDLESS and not self._follow:  # a header may be older than the file
            chunks = _first_bytes(chunks, size)
        yield from mono_blocks(self._frames(chunks), self._format.rate)

    def _frames(self, chunks: Iterator[bytes]) -> Iterator[FloatArray]:
        """Decoded (N, C) blocks."""
        size, rest, first = self._format.frame_bytes, b"", 0
        for chunk in chunks:
            rest += chunk
            whole = len(rest) // size
            if whole:
                yield self._format.decode(rest[: whole * size], first)
            rest, first = rest[whole * size :], first + whole

    def _chunks(self) -> Iterator[bytes]:
        """Bytes as they come, until the end or until :attr:`stopped`."""
        with contextlib.ExitStack() as stack:
            number = 0
            if self.name != STDIN:
                try:
                    number = os.open(self._path, os.O_RDONLY)
                except OSError as error:
                    raise AudioError(f"cannot be opened ({error.strerror})") from None
                stack.callback(os.close, number)
            while not self.stopped:
                if not select.select([number], [], [], _POLL)[0]:
                    continue
                try:
                    content = os.read(number, _READ)
                except OSError as error:
                    raise AudioError(f"cannot be read ({error.strerror})") from None
                if content:
                    yield content
                elif self._follow:
                    time.sleep(_POLL)
                else:
                    return


def _first_bytes(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk[:size]
        size -= len(chunk)
        if size <= 0:
            return


def _samples_of(head: bytes) -> tuple[int, int]:
    """Where samples begin: behind a WAV's header, else at 0; -1: not yet known. And how many bytes
    the header says that they are; 0: it does not."""
    if not (b"RIFF".startswith(head[:4]) and b"WAVE".startswith(head[8:12])):
        return 0, 0
    at = 12
    while at + 8 <= len(head):
        name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8
        if name == b"data":
            return at, size
        at += size + size % 2
    return -1, 0


def _wav_format(head: bytes) -> PcmFormat:
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(head)) as opened:
            found = PcmFormat(
                subtype=opened.subtype,
                endian="LITTLE",
                rate=opened.samplerate,
                channels=opened.channels,
            )
    except soundfile.LibsndfileError as error:
        raise AudioError(f"its WAV header cannot be read ({error.error_string})") from None
    if found.subtype not in ENCODINGS.values():
        raise AudioError(
            f"is a WAV of {found.subtype} samples, which are coded: decode it, {_CONVERT}"
        )
    return found
