"""What containers declare of the length of their samples, against the size of the file.

Read from the headers alone; whether a file is audio is for the decoder to say.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import mmap
import os
import re
import struct
from collections.abc import Callable, Iterator

#: notes on a recording that is read in spite of its header
LESS = "its header declares less than the file holds: all of it is read"
MORE = "other data follow the samples that its header declares: they are not read"

_UNKNOWN_SIZE = 0x7FFF0000  # and above: written where the size was not known, as into a pipe
_UNKNOWN_SIZE_64 = 1 << 62
_STARTS = (b"RIFF", b"FORM", b"data")  # of other samples, behind those of a file
_MOST_CHUNKS = 1_000
_LARGEST_FORMAT = 1 << 16  # bytes of a chunk that describes the samples
_NEGLIGIBLE = 4_096  # bytes after the samples that are not worth a note
_RESYNC = 1 << 16  # bytes in which the next frame of MP3 is looked for
#: kbit/s by layer of MPEG 1, and for MPEG 2; layer I is left to the decoder
_BITRATES = {
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    0: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_PAGE = 65_307  # bytes of the longest page of Ogg


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a container keeps its samples; sizes and places in bytes.

    ``declared``: by the header; None: it does not tell. ``length``: to be read, less than declared
    where the file is cut short. ``head``: a header that is right for it; None: not needed.
    """

    offset: int
    declared: int | None
    length: int
    head: bytes | None
    notes: tuple[str, ...] = ()


def find_layout(raw: int, size: int) -> Layout | None:
    """The layout of a file in one of the containers with a size in their header, else None."""
    head = os.pread(raw, 64, 0)
    base = _id3(head)
    head = os.pread(raw, 64, base) if base else head
    for pattern, read in _CONTAINERS:
        if re.match(pattern, head, re.DOTALL):
            with contextlib.suppress(struct.error):  # the file ends within its header
                return read(raw, base, size)
    return None


def _id3(head: bytes) -> int:
    """Bytes of a tag in front of a file."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    sizes = head[6:10]
    return 10 + (sizes[0] << 21 | sizes[1] << 14 | sizes[2] << 7 | sizes[3])


def _chunks(
    raw: int, at: int, size: int, form: str, *, pad: int = 2, own: int = 0
) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and length (which counts ``own`` bytes of the header) of each chunk."""
    header = struct.Struct(form)
    for _ in range(_MOST_CHUNKS):
        if at + header.size > size:
            return
        name, length = header.unpack(os.pread(raw, header.size, at))
        length -= own
        yield name, at + header.size, length
        end = at + header.size + length
        if not at < end <= size:
            return
        at = end + -end % pad
        if at != end and not _is_name(os.pread(raw, 4, at)) and _is_name(os.pread(raw, 4, end)):
            at = end


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _settle(
    raw: int,
    size: int,
    offset: int,
    declared: int,
    head: Callable[[int], bytes] | None,
    *,
    unknown: int = _UNKNOWN_SIZE_64,
    form: str | None = None,
    end: int,
    frame_bytes: int = 0,
) -> Layout:
    """Decide how many bytes of samples a file holds; sizes and places in bytes.

    ``head`` makes a header, ``unknown`` is the least size that stands for "not known", ``form``
    that of the chunks that may follow, ``end`` the container's by its own header.
    """
    held = max(0, size - offset)
    rest = offset + declared
    follows = form is not None and 0 <= declared < held and _chunk_at(raw, rest, size, form)
    told: int | None = declared
    length = min(declared, held)
    notes: tuple[str, ...] = ()
    if declared < 0 or (declared == 0 and not follows) or declared >= max(unknown, held + 1):
        told, length = None, held
    elif declared < held - 1 and not follows:
        joined = os.pread(raw, 4, rest) in _STARTS
        if not joined and rest + 8 < end <= size + 8:
            length, notes = min(size, end) - offset, (LESS,)
        elif not joined and declared * frame_bytes == held:  # frames were counted, not bytes
            length, notes = held, (LESS,)
        elif held - declared > _NEGLIGIBLE:
            notes = (MORE,)
    return Layout(
        offset=offset,
        declared=told,
        length=length,
        head=None if head is None else head(length),
        notes=notes,
    )


def _chunk_at(raw: int, at: int, size: int, form: str) -> bool:
    """Whether a chunk of the same container stands at a place, or a byte after it."""
    header = struct.Struct(form)
    for place in (at + at % 2, at):
        found = os.pread(raw, header.size, place)
        if len(found) == header.size and _is_name(found[:4]) and found[:4] not in _STARTS:
            return 0 <= header.unpack(found)[1] <= size - place - header.size + 1
    return False


def _copied(raw: int, form: str, name: bytes, at: int, length: int, pad: int = 2) -> bytes:
    """A chunk that decoders need, as it stands in the file."""
    return struct.pack(form, name, length) + os.pread(raw, length, at) + bytes(length % pad)


def _riff(raw: int, base: int, size: int) -> Layout | None:
    """WAV, RF64 and BW64."""
    magic = os.pread(raw, 4, base)
    form = ">4sI" if magic == b"RIFX" else "<4sI"
    riff_size = struct.unpack(form, os.pread(raw, 8, base))[1]
    wide, data, kept, frame_bytes = None, None, b"", 0
    for name, at, length in _chunks(raw, base + 12, size, form):
        if name == b"ds64" and length >= 16:
            riff_size, wide = struct.unpack("<QQ", os.pread(raw, 16, at))
        elif name in (b"fmt ", b"fact") and length <= _LARGEST_FORMAT:
            kept += _copied(raw, form, name, at, length)
            if name == b"fmt " and length >= 14:
                frame_bytes = struct.unpack(f"{form[0]}H", os.pread(raw, 2, at + 12))[0]
        elif name == b"data" and data is None:
            data = at, length if wide is None or length != 0xFFFFFFFF else wide
        if data is not None and frame_bytes:
            break
    if data is None or not kept:
        return None

    def head(length: int) -> bytes:
        total = 4 + len(kept) + 8 + length + length % 2
        if wide is None and total < _UNKNOWN_SIZE:
            return (
                struct.pack(form, magic, total)
                + b"WAVE"
                + kept
                + struct.pack(form, b"data", length)
            )
        begin = struct.pack("<4sI4s4sI", b"RF64", 0xFFFFFFFF, b"WAVE", b"ds64", 28)
        begin += struct.pack("<QQQI", total + 36, length, 0, 0)
        return begin + kept + struct.pack("<4sI", b"data", 0xFFFFFFFF)

    return _settle(
        raw,
        size,
        *data,
        head,
        unknown=_UNKNOWN_SIZE if wide is None else _UNKNOWN_SIZE_64,
        form=form,
        end=base + 8 + riff_size,
        frame_bytes=frame_bytes,
    )


def _aiff(raw: int, base: int, size: int) -> Layout | None:
    form = ">4sI"
    end = base + 8 + struct.unpack(form, os.pread(raw, 8, base))[1]
    kept, data = os.pread(raw, 4, base + 8), None
    for name, at, length in _chunks(raw, base + 12, size, form):
        if name in (b"COMM", b"FVER") and length <= _LARGEST_FORMAT:
            kept += _copied(raw, form, name, at, length)
        elif name == b"SSND" and data is None:
            skipped = 8 + int.from_bytes(os.pread(raw, 4, at), "big")
            data = at + skipped, length - skipped
        if data is not None and b"COMM" in kept:
            break
    if data is None:
        return None

    def head(length: int) -> bytes:
        total = (len(kept) + 16 + length + length % 2) & 0xFFFFFFFF
        samples = struct.pack(">4sIII", b"SSND", (8 + length) & 0xFFFFFFFF, 0, 0)
        return struct.pack(form, b"FORM", total) + kept + samples

    return _settle(raw, size, *data, head, unknown=_UNKNOWN_SIZE, form=form, end=end)


def _au(raw: int, base: int, size: int) -> Layout | None:
    found = os.pread(raw, 24, base)
    if len(found) < 24:
        return None
    form = (">" if found[:1] == b"." else "<") + "II"
    start, declared = struct.unpack(form, found[4:12])

    def head(length: int) -> bytes:
        return found[:4] + struct.pack(form, 24, length & 0xFFFFFFFF) + found[12:]

    return _settle(raw, size, base + start, declared, head, unknown=_UNKNOWN_SIZE, end=size)


def _w64(raw: int, _base: int, size: int) -> Layout | None:
    for name, at, length in _chunks(raw, 40, size, "<16sQ", pad=8, own=24):
        if name[:4] == b"data":
            return _settle(raw, size, at, length, None, end=size)
    return None


def _caf(raw: int, _base: int, size: int) -> Layout | None:
    form, kept = ">4sq", os.pread(raw, 8, 0)
    for name, at, length in _chunks(raw, 8, size, form, pad=1):
        if name == b"data":

            def head(length: int, kept: bytes = kept) -> bytes:
                return kept + struct.pack(">4sqI", b"data", length + 4, 0)

            return _settle(raw, size, at + 4, length - 4, head, form=form, end=size)
        if name != b"free" and 0 <= length <= _LARGEST_FORMAT:
            kept += _copied(raw, form, name, at, length, 1)
    return None


def _nist(raw: int, _base: int, size: int) -> Layout | None:
    found = os.pread(raw, _LARGEST_FORMAT, 0)
    start = re.match(rb"NIST_1A\s*\n\s*(\d{1,9})\s", found)
    if start is None:
        return None
    told = dict(re.findall(rb"^(\w+) -i (\d{1,18})\s*$", found.split(b"end_head")[0], re.M))
    counts = (b"sample_count", b"channel_count", b"sample_n_bytes")
    declared = math.prod(int(told.get(name, b"0")) for name in counts)
    return _settle(raw, size, int(start[1]), declared, None, end=size)


#: how containers begin → who reads their headers
_CONTAINERS = (
    (rb"(RIFF|RIFX|RF64|BW64)....WAVE", _riff),
    (rb"FORM....AIF[FC]", _aiff),
    (rb"\.snd|dns\.", _au),
    (rb"riff.{20}wave", _w64),
    (rb"caff", _caf),
    (rb"NIST_1A", _nist),
)


def ogg_end(raw: int, size: int) -> tuple[int, bool]:
    """End of the last complete page of an Ogg file, and whether the file is whole.

    It is whole when that page is marked as the last. Of a file that is not Ogg: its size, True.
    """
    if os.pread(raw, 4, 0) != b"OggS":
        return size, True
    begin = max(0, size - 2 * _PAGE)
    tail = os.pread(raw, size - begin, begin)
    for found in reversed(list(re.finditer(rb"OggS\0", tail))):
        page = tail[found.start() :]
        if len(page) < 27 or len(page) < 27 + page[26]:
            continue
        length = 27 + page[26] + sum(page[27 : 27 + page[26]])
        if length <= len(page):
            return begin + found.start() + length, bool(page[5] & 4)
    return 0, False


def ogg_is_joined(raw: int, size: int) -> bool:
    """Whether a second Ogg file follows in the same file: a first page after other pages."""
    with mmap.mmap(raw, size, access=mmap.ACCESS_READ) as content:
        last = content.rfind(b"OggS\0\2")
        return any(content.find(b"OggS\0" + kind, 0, last) >= 0 for kind in (b"\0", b"\4"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mp3Extent:
    """What an MP3 file declares, or holds by its frame headers where it declares nothing.

    ``declared``: by a Xing or Info tag, which libsndfile follows. ``samples``: by a VBRI tag, or
    by all frame headers. ``begin``, ``end``: of complete frames. ``whole``: none begins after.
    """

    declared: bool
    samples: int | None
    begin: int
    end: int
    whole: bool = True
    notes: tuple[str, ...] = ()


def mp3_extent(raw: int, size: int) -> Mp3Extent:
    """How far the frames of an MP3 file (a descriptor, and its size in bytes) reach."""
    begin = _id3(os.pread(raw, 10, 0))
    with mmap.mmap(raw, 0, access=mmap.ACCESS_READ) as content:
        begin = _next_frame(content, begin, None)
        if begin < 0:
            return Mp3Extent(declared=False, samples=None, begin=0, end=size)
        first = content[begin : begin + 64]
        tag = re.search(rb"(?:Xing|Info)...(.)(....)?(....)?", first, re.DOTALL)
        if tag is not None and tag[1][0] & 1:
            after = begin + int.from_bytes(tag[3] or b"", "big") if tag[1][0] & 2 else size
            more = size - after > _NEGLIGIBLE and _next_frame(content, after, None) >= 0
            notes = (MORE,) if more else ()
            return Mp3Extent(declared=True, samples=None, begin=begin, end=size, notes=notes)
        kind = _mp3_frame(first) or (0, 0, 0)
        at, count = begin, 0
        while at >= 0:
            frame = _mp3_frame(content[at : at + 4])
            if frame is None or frame[1:] != kind[1:]:
                at = _next_frame(content, end := at, kind)
            elif at + frame[0] > size:
                return Mp3Extent(
                    declared=False, samples=count * kind[1], begin=begin, end=at, whole=False
                )
            else:
                at, count, end = at + frame[0], count + 1, at + frame[0]
        samples = count * kind[1]
        if first[36:40] == b"VBRI":
            samples = int.from_bytes(first[50:54], "big") * kind[1]
        return Mp3Extent(declared=False, samples=samples, begin=begin, end=end)


def _mp3_frame(header: bytes) -> tuple[int, int, int] | None:
    """Bytes, samples and sampling rate of the frame that a header begins; None where none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer in (1, 4) or bitrate in (0, 15) or rate == 3:
        return None
    hertz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 576 if layer == 3 and version != 3 else 1152
    kbps = _BITRATES[layer if version == 3 else 0][bitrate - 1]
    return samples * 125 * kbps // hertz + (header[2] >> 1 & 1), samples, hertz


def _next_frame(content: mmap.mmap, at: int, kind: tuple[int, int, int] | None) -> int:
    """Where the next frame begins that another follows, or the end of the file; -1: nowhere."""
    for found in re.finditer(rb"\xff[\xe2-\xff]", content[at : at + _RESYNC]):
        place = at + found.start()
        frame = _mp3_frame(content[place : place + 4])
        if frame is None or (kind is not None and frame[1:] != kind[1:]):
            continue
        after = content[place + frame[0] : place + frame[0] + 4]
        follower = _mp3_frame(after)
        if not after or (follower is not None and follower[1:] == frame[1:]):
            return place
    return -1
