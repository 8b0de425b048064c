"""A fingerprint of a clip's sound, and the clips that are copies of one recording.

Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002: a 32-bit word per
frame, whose bits say where the difference of neighbouring bands' energies rises and where it
falls. Level, polarity and sampling rate leave the bits as they are; noise, a codec and a shift
turn some of them.

Departs from the paper, for clips of seconds instead of songs: windows of 128 ms every 20 ms
(370 and 11.6 ms there), bands up to 3,400 Hz (2,000 there), and frames that are faint or do not
change have no word. The limits below are measured in ``benchmarks/copies.py``.

Shapes: S samples, T frames, B bands, N clips, M words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from serplatform.arrays import FloatArray, IntArray
from serplatform.features.base import SAMPLING_RATE
from serplatform.features.clip import power_spectrum

WordArray = npt.NDArray[np.uint32]

#: changes when the same clip would get another fingerprint, or other clips count as copies
FINGERPRINT_VERSION = 2
#: most of the bits by which copies differ: on RAVDESS, copies differ in up to 0.16 of them and
#: the nearest two recordings in 0.26
MAX_BIT_ERROR = 0.21
#: frames with a word in both that a comparison needs: about half a second of speech
MIN_FRAMES = 24
#: the same for every stretch of as many frames as a comparison needs: in copies up to 0.34,
#: where two recordings share a jingle or a noise only, 0.5 in between
MAX_STRETCH_ERROR = 0.36
#: what two copies have in common, at least, as a share of the shorter one
MIN_OVERLAP = 0.5

_WINDOW, _HOP = 2048, 320  # samples
_BLOCK = 2048  # frames transformed at a time
_EDGES = np.rint(np.geomspace(300.0, 3400.0, 34) * _WINDOW / SAMPLING_RATE).astype(np.int64)
_FAINT_DB = 30.0  # below the loudest frame
_STILL = 0.02  # share of a frame's energy that changes from one frame to the next
_KEY_BITS = 24  # lowest or highest of a word, that copies must share in one frame
_NEIGHBOURS = 64  # words with one key that are compared with each
_NEAR = 12  # frames to either side of a shared key that are looked at first
_MAX_NEAR_ERROR = 0.3  # of their bits
_PAIRS = 1 << 16  # compared at a time


def fingerprint(samples: FloatArray) -> bytes | None:
    """A word of 32 bits per frame, from the first frame that has one to the last.

    Returns:
        Little-endian words, 0 for a frame without; about 200 bytes per second of speech. None
        where fewer than :data:`MIN_FRAMES` frames have one, as in a tone or very short clip.
    """
    energies = _band_energies(samples)  # (T, B)
    total = energies.sum(axis=1)
    steps = np.diff(energies, axis=0)  # (T - 1, B)
    known = total[1:] >= total.max() * 10.0 ** (-_FAINT_DB / 10.0)
    known &= np.abs(steps).sum(axis=1) > _STILL * total[1:]
    if np.count_nonzero(known) < MIN_FRAMES:
        return None
    rises = steps[:, :-1] > steps[:, 1:]  # (T - 1, 32)
    words = np.packbits(rises, axis=1, bitorder="little").view("<u4")[:, 0]
    words = np.where(known, np.maximum(words, 1), 0).astype("<u4")
    there = np.flatnonzero(known)
    return words[there[0] : there[-1] + 1].tobytes()


def _band_energies(samples: FloatArray) -> FloatArray:
    """(T, B) energies of frames centred on every 20 ms; in blocks, to bound the memory."""
    padded = np.pad(samples, _WINDOW // 2)
    blocks = []
    for first in range(0, len(padded) - _WINDOW + 1, _BLOCK * _HOP):
        block = padded[first : first + (_BLOCK - 1) * _HOP + _WINDOW]
        power = power_spectrum(block, n_fft=_WINDOW, win_length=_WINDOW, hop_length=_HOP)
        blocks.append(np.add.reduceat(power[:, : _EDGES[-1]], _EDGES[:-1], axis=1))
    return np.concatenate(blocks)


def find_copies(
    fingerprints: Sequence[bytes | None], groups: Sequence[int] | IntArray
) -> list[tuple[int, int]]:
    """Pairs of clips that hold the same recording, or of which one is a part of the other.

    Clips that share a key (most bits of a word) in some frame are laid upon each other at that
    frame, and compared over all that they have in common. Work grows with the number of
    words, not of pairs: of many words with one key, each is compared with the next ones in
    their order only. So of a family of copies not every pair is found, but its members are
    connected.

    Args:
        fingerprints: N, of :func:`fingerprint`.
        groups: N numbers; clips of one number are not compared.

    Returns:
        Pairs of positions, the lower first, sorted.
    """
    if not any(fingerprints):
        return []
    clips = [np.frombuffer(value or b"", "<u4") for value in fingerprints]
    gap = np.zeros(_NEAR, np.uint32)
    words: WordArray = np.concatenate([gap, *(part for clip in clips for part in (clip, gap))])
    lengths = np.array([len(clip) for clip in clips], np.int64)
    first = np.cumsum(lengths + _NEAR) - lengths  # of each clip among the words
    owner = np.repeat(np.arange(len(clips)), lengths + _NEAR)
    owner = np.concatenate([np.zeros(_NEAR, np.int64), owner])
    number = np.asarray(groups, np.int64)[owner]
    found: set[tuple[int, int]] = set()
    for one, other in _meetings(words):
        apart = number[one] != number[other]
        one, other = _near(words, one[apart], other[apart])
        laid = np.stack([owner[one], owner[other], other - one], axis=1)
        laid[:, 2] += first[laid[:, 0]] - first[laid[:, 1]]  # from clip to clip
        for a, b, shift in np.unique(laid, axis=0).tolist():
            pair = (min(a, b), max(a, b))
            if pair not in found and _is_copy(clips[a], clips[b], shift):
                found.add(pair)
    return sorted(found)


def _meetings(words: WordArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Places of words that share their lowest or their highest bits, as pairs of arrays."""
    places = np.flatnonzero(words)
    rest = 32 - _KEY_BITS
    for turned in (words[places], (words[places] << rest) | (words[places] >> _KEY_BITS)):
        order = np.argsort(turned, kind="stable")
        keys, sorted_places = turned[order] >> rest, places[order]
        for step in range(1, min(_NEIGHBOURS, len(places) - 1) + 1):
            same = np.flatnonzero(keys[:-step] == keys[step:])
            if not len(same):
                break
            yield sorted_places[same], sorted_places[same + step]


def _near(words: WordArray, one: IntArray, other: IntArray) -> tuple[IntArray, IntArray]:
    """Those pairs of places around which most bits agree as well."""
    around = np.arange(-_NEAR, _NEAR + 1)
    kept = np.zeros(len(one), dtype=bool)
    for begin in range(0, len(one), _PAIRS):
        part = slice(begin, begin + _PAIRS)
        left, right = (places[part, None] + around for places in (one, other))
        kept[part] = bit_error(words[left], words[right])[0] <= _MAX_NEAR_ERROR
    return one[kept], other[kept]


def bit_error(one: WordArray, other: WordArray) -> tuple[npt.NDArray[np.float64], IntArray]:
    """Share of the bits that differ in frames with a word in both (last axis), and their count."""
    both = (one != 0) & (other != 0)
    count = both.sum(axis=-1)
    wrong = (np.bitwise_count(one ^ other) * both).sum(axis=-1, dtype=np.int64)
    return wrong / np.maximum(32 * count, 1), count


def _is_copy(one: WordArray, other: WordArray, shift: int) -> bool:
    """Whether frame t of ``one`` is frame t + ``shift`` of ``other`` wherever both have it."""
    begin, end = max(0, -shift), min(len(one), len(other) - shift)
    if end - begin < MIN_OVERLAP * min(len(one), len(other)):
        return False
    left, right = one[begin:end], other[begin + shift : end + shift]
    both = (left != 0) & (right != 0)
    errors = np.bitwise_count(left[both] ^ right[both]) / 32
    if len(errors) < MIN_FRAMES or errors.mean() > MAX_BIT_ERROR:
        return False
    sums = np.cumsum(np.concatenate([[0.0], errors]))
    stretches = (sums[MIN_FRAMES:] - sums[:-MIN_FRAMES]) / MIN_FRAMES
    return bool(stretches.max() <= MAX_STRETCH_ERROR)
