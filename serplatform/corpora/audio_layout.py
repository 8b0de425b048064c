"""What containers declare of the length of their samples, against the size of the file.

Read from the headers alone; whether a file is audio is for the decoder to say.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import re
import struct
from collections.abc import Iterator

#: notes on a recording that is read in spite of its header
LESS = "its header declares less than the file holds: all of it is read"
MORE = "other data follow the samples that its header declares: they are not read"

_UNKNOWN_SIZE = 0x7FFF0000  # and above: written where the size was not known, as into a pipe
_UNKNOWN_SIZE_64 = 1 << 62
_MOST_CHUNKS = 1_000
_LARGEST_FORMAT = 1 << 16  # bytes of a chunk that describes the samples
_NEGLIGIBLE = 4_096  # bytes after the samples that are not worth a note
_RESYNC = 1 << 16  # bytes in which the next frame of MP3 is looked for
#: kbit/s by layer of MPEG 1; 4: layer I of MPEG 2, 5: its other layers
_BITRATES = {
    1: range(32, 449, 32),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    4: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    5: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_PAGE = 65_307  # bytes of the longest page of Ogg


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a container keeps its samples.

    Attributes:
        offset: first byte of the samples.
        declared: bytes of samples by the header; None: it does not tell.
        length: bytes of samples to be read; less than ``declared`` where the file is cut short.
        head: a header that is right for ``length``; None: libsndfile does without.
        notes: what was odd.
    """

    offset: int
    declared: int | None
    length: int
    head: bytes | None
    notes: tuple[str, ...] = ()


def find_layout(raw: int, size: int) -> Layout | None:
    """The layout of a file in one of the containers with a size in their header, else None.

    Args:
        raw: descriptor of the file.
        size: of the file, bytes.
    """
    head = os.pread(raw, 64, 0)
    base = _id3(head)
    if base:
        head = os.pread(raw, 64, base)
    magic = head[:4]
    if magic in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _riff(raw, base, size)
    if magic == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(raw, base, size)
    if magic in (b".snd", b"dns."):
        return _au(raw, base, size, ">" if magic == b".snd" else "<")
    if magic == b"riff" and head[24:28] == b"wave":
        return _w64(raw, size)
    if magic == b"caff":
        return _caf(raw, size)
    if head[:7] == b"NIST_1A":
        return _nist(raw, size)
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
    """Name, first byte and length of each chunk; a forgotten pad byte is forgiven.

    Args:
        raw: descriptor.
        at: of the first chunk.
        size: of the file.
        form: of name and length.
        pad: chunks start at multiples of this many bytes.
        own: bytes of the chunk's own header that its length counts.
    """
    header = struct.Struct(form)
    for _ in range(_MOST_CHUNKS):
        if at + header.size > size:
            return
        name, length = header.unpack(os.pread(raw, header.size, at))
        length -= own
        yield name, at + header.size, length
        if length < 0:
            return
        end = at + header.size + length
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
    *,
    unknown: int = _UNKNOWN_SIZE,
    form: str | None = None,
    container_end: int = 0,
    frame_bytes: int = 0,
) -> tuple[int | None, int, tuple[str, ...]]:
    """Decide how many bytes of samples a file holds.

    Args:
        raw: descriptor.
        size: of the file.
        offset: first byte of the samples.
        declared: bytes of samples by the header.
        unknown: least size that stands for "not known".
        form: of the chunks that may follow.
        container_end: where the container ends by its own header; 0: not known.
        frame_bytes: of one sample of every channel; 0: not known.

    Returns:
        ``declared``, ``length`` and ``notes`` of :class:`Layout`.
    """
    held = max(0, size - offset)
    follows = form is not None and _chunk_at(raw, offset + declared, size, form)
    if declared < 0 or (declared == 0 and not follows) or declared >= max(unknown, held + 1):
        return None, held, ()
    if declared >= held - 1 or follows:
        return declared, min(declared, held), ()
    if os.pread(raw, 4, offset + declared) not in (b"RIFF", b"FORM", b"data"):
        if offset + declared + 8 < container_end <= size + 8:
            return declared, min(size, container_end) - offset, (LESS,)
        if declared * frame_bytes == held:  # a count of frames instead of bytes
            return declared, held, (LESS,)
    return declared, declared, (MORE,) if held - declared > _NEGLIGIBLE else ()


def _chunk_at(raw: int, at: int, size: int, form: str) -> bool:
    """Whether a chunk of the same container stands at a place, or a byte after it."""
    header = struct.Struct(form)
    for place in (at + at % 2, at):
        found = os.pread(raw, header.size, place)
        if len(found) == header.size:
            name, length = header.unpack(found)
            if _is_name(name) and name not in (b"RIFF", b"FORM", b"data"):
                return 0 <= length <= size - place - header.size + 1
    return False


def _riff(raw: int, base: int, size: int) -> Layout | None:
    """WAV, RF64 and BW64."""
    order = ">" if os.pread(raw, 4, base) == b"RIFX" else "<"
    form = f"{order}4sI"
    riff_size = struct.unpack(f"{order}I", os.pread(raw, 4, base + 4))[0]
    wide, data, kept, frame_bytes = None, None, b"", 0
    for name, at, length in _chunks(raw, base + 12, size, form):
        if name == b"ds64" and length >= 16:
            riff_size, wide = struct.unpack("<QQ", os.pread(raw, 16, at))
        elif name in (b"fmt ", b"fact") and length <= _LARGEST_FORMAT:
            body = os.pread(raw, length, at)
            kept += struct.pack(form, name, length) + body + bytes(length % 2)
            if name == b"fmt " and length >= 14:
                frame_bytes = struct.unpack(f"{order}H", body[12:14])[0]
        elif name == b"data" and data is None:
            data = at, length if wide is None or length != 0xFFFFFFFF else wide
        if data is not None and frame_bytes:
            break
    if data is None or not kept:
        return None
    offset, declared = data
    declared, length, notes = _settle(
        raw,
        size,
        offset,
        declared,
        unknown=_UNKNOWN_SIZE if wide is None else _UNKNOWN_SIZE_64,
        form=form,
        container_end=base + 8 + riff_size,
        frame_bytes=frame_bytes,
    )
    total = 4 + len(kept) + 8 + length + length % 2
    if total < _UNKNOWN_SIZE and wide is None:
        magic = b"RIFX" if order == ">" else b"RIFF"
        head = struct.pack(form, magic, total) + b"WAVE" + kept
        head += struct.pack(form, b"data", length)
    else:
        head = struct.pack("<4sI4s", b"RF64", 0xFFFFFFFF, b"WAVE")
        head += struct.pack("<4sIQQQI", b"ds64", 28, total + 36, length, 0, 0)
        head += kept + struct.pack("<4sI", b"data", 0xFFFFFFFF)
    return Layout(offset=offset, declared=declared, length=length, head=head, notes=notes)


def _aiff(raw: int, base: int, size: int) -> Layout | None:
    kind = os.pread(raw, 4, base + 8)
    kept, data, common = kind, None, False
    form_size = struct.unpack(">I", os.pread(raw, 4, base + 4))[0]
    for name, at, length in _chunks(raw, base + 12, size, ">4sI"):
        if name in (b"COMM", b"FVER") and length <= _LARGEST_FORMAT:
            kept += struct.pack(">4sI", name, length) + os.pread(raw, length, at)
            kept += bytes(length % 2)
            common = common or name == b"COMM"
        elif name == b"SSND" and data is None:
            skipped = int.from_bytes(os.pread(raw, 4, at), "big")
            data = at + 8 + skipped, length - 8 - skipped
        if data is not None and common:
            break
    if data is None or not common:
        return None
    offset, declared = data
    declared, length, notes = _settle(
        raw, size, offset, declared, form=">4sI", container_end=base + 8 + form_size
    )
    total = len(kept) + 16 + length + length % 2
    head = struct.pack(">4sI", b"FORM", total & 0xFFFFFFFF) + kept
    head += struct.pack(">4sIII", b"SSND", (8 + length) & 0xFFFFFFFF, 0, 0)
    return Layout(offset=offset, declared=declared, length=length, head=head, notes=notes)


def _au(raw: int, base: int, size: int, order: str) -> Layout | None:
    head = os.pread(raw, 24, base)
    if len(head) < 24:
        return None
    start, declared = struct.unpack(f"{order}II", head[4:12])
    declared, length, notes = _settle(raw, size, base + start, declared, container_end=size)
    head = head[:4] + struct.pack(f"{order}II", 24, length & 0xFFFFFFFF) + head[12:]
    return Layout(offset=base + start, declared=declared, length=length, head=head, notes=notes)


def _w64(raw: int, size: int) -> Layout | None:
    for name, at, length in _chunks(raw, 40, size, "<16sQ", pad=8, own=24):
        if name[:4] == b"data":
            declared, held, notes = _settle(
                raw, size, at, length, unknown=_UNKNOWN_SIZE_64, container_end=size
            )
            return Layout(offset=at, declared=declared, length=held, head=None, notes=notes)
    return None


def _caf(raw: int, size: int) -> Layout | None:
    kept = os.pread(raw, 8, 0)
    for name, at, length in _chunks(raw, 8, size, ">4sq", pad=1):
        if name == b"data":
            declared, held, notes = _settle(
                raw,
                size,
                at + 4,
                length - 4,
                unknown=_UNKNOWN_SIZE_64,
                form=">4sq",
                container_end=size,
            )
            head = kept + struct.pack(">4sqI", b"data", held + 4, 0)
            return Layout(offset=at + 4, declared=declared, length=held, head=head, notes=notes)
        if name != b"free" and 0 <= length <= _LARGEST_FORMAT:
            kept += struct.pack(">4sq", name, length) + os.pread(raw, length, at)
    return None


def _nist(raw: int, size: int) -> Layout | None:
    head = os.pread(raw, _LARGEST_FORMAT, 0)
    start = re.match(rb"NIST_1A\s*\n\s*(\d{1,9})\s", head)
    told = dict(re.findall(rb"^(\w+) -i (\d{1,18})\s*$", head.split(b"end_head")[0], re.MULTILINE))
    if start is None:
        return None
    offset = int(start[1])
    counts = [int(told.get(name, b"0")) for name in (b"sample_count", b"channel_count")]
    declared = counts[0] * counts[1] * int(told.get(b"sample_n_bytes", b"0"))
    found, length, notes = _settle(
        raw, size, offset, declared, unknown=_UNKNOWN_SIZE_64, container_end=size
    )
    return Layout(offset=offset, declared=found, length=length, head=None, notes=notes)


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mp3Extent:
    """What an MP3 file declares, or holds by its frame headers where it declares nothing.

    Attributes:
        declared: by a Xing or Info tag, which libsndfile follows.
        samples: by a VBRI tag, or by all frame headers; None: not known.
        begin: first byte of the frames.
        end: one past the last complete frame.
        whole: no frame begins after that.
        notes: what was odd.
    """

    declared: bool
    samples: int | None
    begin: int
    end: int
    whole: bool = True
    notes: tuple[str, ...] = ()


def mp3_extent(raw: int, size: int) -> Mp3Extent:
    """How far the frames of an MP3 file reach.

    Args:
        raw: descriptor of the file.
        size: of the file, bytes.
    """
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
        kind = _mp3_frame(first)
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
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    hertz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kbps = _BITRATES[layer if version == 3 else 4 if layer == 1 else 5][bitrate - 1]
    padded = header[2] >> 1 & 1
    if layer == 1:
        return (12_000 * kbps // hertz + padded) * 4, 384, hertz
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples * 125 * kbps // hertz + padded, samples, hertz


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
