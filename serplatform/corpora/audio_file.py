"""Open a recording: libsndfile decides what it is, its container tells how long it should be.

Some files need help: their header does not tell the size of the samples, tells less than there
is, or only estimates it. Such files are shown to libsndfile with a header that is right.

Shapes: N frames (samples of every channel), C channels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from serplatform.arrays import FloatArray
from serplatform.corpora.audio_layout import (
    MORE,
    Layout,
    Mp3Extent,
    find_layout,
    mp3_extent,
    ogg_end,
    ogg_is_joined,
)
from serplatform.corpora.embedded import EMBEDDING, read_member
from serplatform.errors import BadInputError

#: what a file name of audio may end with; whether it is audio is seen when it is decoded
AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".mp3", ".opus", ".oga", ".aif", ".aiff", ".aifc", ".au", ".snd"}
    | {".sph", ".nist", ".w64", ".rf64", ".caf"}
)
#: how far beyond the end of its file an utterance may reach, in seconds
END_TOLERANCE = 0.1

_RATES = 1_000, 1_000_000  # hertz
_UNKNOWN_FRAMES = 1 << 36  # and above: more than FLAC can declare
_BLOCK_VALUES = 1 << 22  # samples of all channels
_STRETCH = 1_000  # how much longer an MP3 file is said to be than it is
_TAIL = 128  # bytes that an MP3 decoder asks for at the end, for a tag

_COMPRESSED = frozenset({"MP3", "FLAC", "OGG"})

_Found = TypeVar("_Found")
_CONVERT = "convert it to WAV or FLAC first"
#: how the first bytes of what libsndfile cannot decode begin → what it is
_SIGNATURES = (
    (rb"version https://git-lfs",
     "git-lfs pointer instead of audio; run 'git lfs pull' where the corpus was cloned"),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype html|html|head)",
     "an HTML page instead of audio: the download failed, perhaps for want of a login"),
    (rb"....ftyp", f"M4A, MP4 or QuickTime (AAC, ALAC), which is not read; {_CONVERT}"),
    (rb"\x1aE\xdf\xa3", f"Matroska or WebM, which is not read; {_CONVERT}"),
    (rb"0&\xb2u\x8ef\xcf\x11", f"WMA or WMV, which is not read; {_CONVERT}"),
    (rb"RIFF....AVI ", f"AVI video, which is not read; {_CONVERT}"),
    (rb"FLV\x01", f"Flash video, which is not read; {_CONVERT}"),
    (rb"\x00\x00\x01[\xba\xb3]", f"MPEG video, which is not read; {_CONVERT}"),
    (rb"#!AMR", f"AMR, which is not read; {_CONVERT}"),
    (rb"#!SILK|.#!SILK", f"SILK, which is not read; {_CONVERT}"),
    (rb"wvpk|MAC |TTA1|DSD |MPCK|MP\+|\.RMF|\.ra\xfd|ajkg",
     f"a kind of audio that is not read; {_CONVERT}"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", f"AAC, which is not read; {_CONVERT}"),
    (rb"NIST_1A(?s:.*)(shorten|wavpack|shortpack)",
     "NIST SPHERE with compressed samples, which are not read; expand it with sph2pipe"),
    (rb"\x00\x05\x16[\x00\x07]", "notes of macOS on another file, not audio"),
    (rb"PK\x03\x04|\x1f\x8b|BZh|7z\xbc\xaf|\xfd7zXZ|Rar!", "an archive: unpack it first"),
)  # fmt: skip


class AudioError(BadInputError):
    """An utterance cannot be used; the message is the reason, without the path."""


@dataclasses.dataclass(kw_only=True)
class AudioFile:
    """An open recording.

    ``frames``: N that the container tells of and holds; None: only decoding tells.
    ``compressed``: they are counted only by decoding. ``at``: the frame that is decoded next.
    """

    stream: Any
    rate: int
    frames: int | None
    compressed: bool
    notes: tuple[str, ...]
    at: int = 0

    def blocks(
        self, first: int, count: int | None, seconds: float = math.inf
    ) -> Iterator[FloatArray]:
        """Decode ``count`` frames (None: to the end) from ``first`` on into (N, C) blocks.

        Each but the last is of whole twentieths of a second, and of ``seconds`` at most.

        Raises:
            AudioError: the file is damaged.
        """
        import soundfile

        step = max(1, round(self.rate / 20))
        most = min(_BLOCK_VALUES / self.stream.channels, seconds * self.rate)
        size = max(1, int(most / step)) * step
        left = self.frames if count is None else count
        at = first
        try:
            self._go_to(first)
            while left is None or left > 0:
                asked = size if left is None else min(size, left)
                block = self.stream.read(asked, dtype="float32", always_2d=True)
                self.at = at = at + len(block)
                if len(block):
                    yield block
                if len(block) < asked:
                    return
                left = None if left is None else left - len(block)
        except soundfile.LibsndfileError as error:
            with contextlib.suppress(soundfile.LibsndfileError):
                at = max(at, self.stream.tell())  # of a block that ends in damage, too
            declared = ""
            if self.frames is not None:
                declared = f"its header declares {self.frames / self.rate:.3f} s, and "
            raise AudioError(
                f"is cut short or damaged: {declared}{at / self.rate:.3f} s can be decoded "
                f"({_reason(error)}); copy it again"
            ) from None

    def _go_to(self, first: int) -> None:
        if first != self.at and self.stream.goes_back:
            self.stream.seek(first)
        elif first < self.at:
            raise AudioError(f"is {self.stream.subtype_info}, of which nothing can be read twice")
        else:
            while self.at < first:  # kinds of samples that libsndfile only reads in a row
                passed = len(self.stream.read(min(first - self.at, _BLOCK_VALUES)))
                if not passed:
                    return
                self.at += passed
        self.at = first

    def check_length(self, held: int) -> None:
        """Raise an AudioError where fewer frames were decoded than the container declares."""
        if self.frames is not None and (self.frames - held) / self.rate > END_TOLERANCE:
            raise _cut_short(self.frames / self.rate, held / self.rate)

    def holds_its_end(self) -> bool:
        """Whether the last frame that the container tells of can be decoded; ends the stream."""
        try:
            return self.frames is not None and any(map(len, self.blocks(self.frames - 1, 1)))
        except AudioError:
            return False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of a regular file."""
    try:
        raw = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raw = _member(path)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise AudioError(f"cannot be opened ({getattr(error, 'strerror', error)})") from None
    try:
        mode = os.fstat(raw).st_mode
        if stat.S_ISDIR(mode):
            raise AudioError("is a folder, not an audio file")
        if not stat.S_ISREG(mode):
            raise AudioError("is a pipe or a device, not a file: write it to a file first")
        yield raw
    except OSError as error:  # a disk or a network that fails
        raise AudioError(f"cannot be read ({error.strerror})") from None
    finally:
        os.close(raw)


def _member(path: Path) -> int:
    """A descriptor of a recording that lies in a Parquet or Arrow file."""
    if path.parent.suffix.lower() in EMBEDDING:
        try:
            content = read_member(path)
        except BadInputError as error:
            raise AudioError(str(error)) from None
        if content is None:
            raise AudioError(f"row {path.name.partition('_')[0]} of its file holds no recording")
        with tempfile.TemporaryFile() as stream:
            stream.write(content)
            stream.seek(0)
            return os.dup(stream.fileno())
    hint = "; folders are separated by / here, not by \\" if "\\" in str(path) else ""
    raise AudioError(f"no such file{hint}") from None


def once_per_file(read: Callable[[Path], _Found]) -> Callable[[Path], _Found]:
    """Remember what a function returns for a file, or its AudioError, until the file changes."""

    @functools.lru_cache(maxsize=1024)
    def remembered(path: Path, _key: tuple[int, ...]) -> tuple[_Found | None, str | None]:
        try:
            return read(path), None
        except AudioError as error:
            return None, str(error)

    @functools.wraps(read)
    def found(path: Path) -> _Found:
        with _opened(path) as raw:
            status = os.fstat(raw)
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        value, error = remembered(path, key)
        if error is not None:
            raise AudioError(error)
        return cast(_Found, value)

    return found


@once_per_file
def _extent(path: Path) -> Mp3Extent:
    with _opened(path) as raw:
        return mp3_extent(raw, os.fstat(raw).st_size)


@once_per_file
def _is_joined(path: Path) -> bool:
    with _opened(path) as raw:
        return ogg_is_joined(raw, os.fstat(raw).st_size)


@contextlib.contextmanager
def open_audio(path: Path) -> Iterator[AudioFile]:
    """Open a file that libsndfile decodes, whatever it is called.

    Raises:
        AudioError: it is missing, no audio, cut short, or of an absurd sampling rate.
    """
    with _opened(path) as raw:
        size = os.fstat(raw).st_size
        if size == 0:
            raise AudioError("the file is empty (0 bytes)")
        layout = find_layout(raw, size)
        found, failure = _decoding(raw)
        kind = None if found is None else found.format
        notes = () if layout is None else layout.notes
        frames: int | None = None
        if layout is not None and layout.head is not None and _needs_head(found, layout):
            view = _View(raw, layout.offset, layout.length, head=layout.head)
            found = _decoding(view)[0] or found
        elif kind in (None, "OGG"):
            end, whole = ogg_end(raw, size)
            if not whole:
                raise _cut_ogg(raw, end)
            notes = (MORE,) if kind and _is_joined(path) else ()
        elif found is not None and kind == "MP3":
            extent = _extent(path)
            notes = extent.notes
            told = None if extent.samples or extent.declared else _hint(raw)  # FF FE is UTF-16
            if told is None and not extent.whole:
                told = (
                    "is cut short: its last frame is incomplete, after "
                    f"{(extent.samples or 0) / found.samplerate:.3f} s (MP3); copy it again"
                )
            if told is not None:
                raise AudioError(told)
            frames = int(found.frames) if extent.declared else extent.samples
            if frames is None or found.frames < frames:  # an estimate; it would read no further
                length = extent.end - extent.begin
                view = _View(raw, extent.begin, length, shown=size * _STRETCH)
                found = _decoding(view)[0] or found
        if found is None:
            told = f"cannot be decoded: {_reason(failure)}; copy it again, or {_CONVERT}"
            raise AudioError(_hint(raw) or told)
        with found:
            rate = int(found.samplerate)
            if not _RATES[0] <= rate <= _RATES[1]:
                raise AudioError(f"declares a sampling rate of {rate} Hz, which no speech has")
            if kind != "MP3" and found.frames < _UNKNOWN_FRAMES:
                frames = int(found.frames)
            alac = kind in (None, "CAF") and found.subtype.startswith("ALAC")
            if layout is not None and layout.declared and not layout.length:
                raise AudioError(
                    "is cut short: it holds none of the samples that its header declares; "
                    "copy it again"
                )
            elif layout is not None and not alac and (layout.declared or 0) > layout.length:
                held = int(found.frames) / rate
                declared = held * (layout.declared or 0) / layout.length
                if declared > held + END_TOLERANCE:
                    raise _cut_short(declared, held)
            elif layout is None and kind not in _COMPRESSED:
                _check_log(str(found.extra_info), found.frames, rate)
            yield AudioFile(
                stream=found,
                rate=rate,
                frames=frames,
                compressed=alac or kind in _COMPRESSED,
                notes=notes,
            )


def _decoding(source: Any) -> tuple[Any, Exception | None]:
    """A stream of libsndfile; None and the reason where it cannot decode."""
    import soundfile

    try:
        return _decoder()(source, closefd=False), None
    except soundfile.LibsndfileError as error:
        return None, error


def _check_log(log: str, frames: int, rate: int) -> None:
    """Refuse what libsndfile's log shows to be cut short, in rare containers."""
    held = frames / rate
    if counts := re.findall(r"(?m)(?:Frames|Cols) *: (\d*[1-9]\d*)$", log):
        short, long = sorted((frames / rate, int(counts[-1]) / rate))  # declared is either
        if long > short + END_TOLERANCE:
            raise _cut_short(long, short)
    told = re.search(r"(\d+) \(?should be (\d+)", log)
    if told is not None and int(told[1]) > int(told[2]) > 0:
        declared = held * int(told[1]) / int(told[2])
        if declared > held + END_TOLERANCE:
            raise _cut_short(declared, held)
    elif re.search(r"(?i)seems to be (a )?truncated", log):
        raise AudioError(f"is cut short, after {held:.3f} s; copy it again")


def _needs_head(found: Any, layout: Layout) -> bool:
    read = layout.declared if found is not None and found.frames else 0
    return read is not None and layout.length > read


def _cut_short(declared: float, held: float) -> AudioError:
    return AudioError(
        f"is cut short: its header declares {declared:.3f} s, and it holds {held:.3f} s; "
        "copy it again"
    )


def _cut_ogg(raw: int, end: int) -> AudioError:
    """The error of an Ogg file whose last page is incomplete or not marked as the last."""
    found, _ = _decoding(_View(raw, 0, end))  # there may be no page of samples
    held = f", after {found.frames / found.samplerate:.3f} s" if found and found.frames else ""
    return AudioError(
        f"is cut short: it lacks its last page (Ogg without end-of-stream mark{held}); copy it "
        f"again, or {_CONVERT} if its recorder never wrote the mark"
    )


def file_problem(path: Path) -> str | None:
    """What a file is instead of audio, as far as its first bytes tell; None where they do not."""
    try:
        with _opened(path) as raw:
            return _hint(raw) if os.fstat(raw).st_size else "the file is empty (0 bytes)"
    except AudioError as error:
        return str(error)


def _hint(raw: int) -> str | None:
    """What a file that cannot be decoded looks like."""
    head = os.pread(raw, 2048, 0)
    for pattern, told in _SIGNATURES:
        if re.match(pattern, head, re.DOTALL):
            return told
    narrow = head[::2] if not any(head[1::2]) else head
    plain = all(byte in b"\t\n\r\f" or (byte >= 32 and byte != 127) for byte in narrow)
    if (plain and re.search(rb"[A-Za-z]", head)) or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "a text file, not audio"
    return None


def _reason(error: Exception | None) -> str:
    told = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
    if told.startswith("File does not exist"):  # it does: libsndfile says so of scraps of MP3
        return "too little of it is there"
    return told.replace(
        "Internal error : SF_INFO struct incomplete", "its header lacks a sampling rate"
    )


@functools.cache
def _decoder() -> Any:
    """libsndfile's reader, which goes on from block to block without seeking between them."""
    import soundfile

    class Decoder(soundfile.SoundFile):
        @property
        def goes_back(self) -> bool:
            return bool(super().seekable())

        def seekable(self) -> bool:
            return False

    return Decoder


class _View:
    """A stretch of a file behind a head of our own, for libsndfile.

    It claims ``shown`` bytes, so that decoders that estimate the number of frames by the size of
    the file do not stop before its end.
    """

    def __init__(
        self, raw: int, offset: int, length: int, *, head: bytes = b"", shown: int = 0
    ) -> None:
        self._raw, self._offset, self._head = raw, offset, head
        self._size = len(head) + length
        self._shown = shown or self._size
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._shown)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int) -> bytes:
        found = self._head[self._at : self._at + count]
        if not found and self._at < self._size:
            start = self._at - len(self._head)
            left = min(count, self._size - self._at)
            found = os.pread(self._raw, left, self._offset + start)
        elif max(self._size, self._shown - _TAIL) <= self._at < self._shown:
            found = bytes(min(count, self._shown - self._at))
        self._at += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)
