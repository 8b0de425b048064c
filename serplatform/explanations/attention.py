"""Attention laid over phones: how much of it lies on vowels, consonants, silence and the rest.

Shapes: T frames, L words, C phone classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from serplatform.alignment.phone_classes import PHONE_CLASSES, Notation, phone_class
from serplatform.arrays import DoubleArray, IntArray
from serplatform.corpora.base import Span
from serplatform.features.base import WHOLE_UTTERANCE

#: frames that cover more than this hold several phones and are not laid over them, in seconds
LONGEST_FRAME = 0.1

#: how much later a curve is compared with itself, about a phone, in seconds
LAG = 0.05

#: least :func:`alignment_agreement` of an utterance whose phones are taken at their word
LEAST_AGREEMENT = 0.6

MapKind = Literal["frames", "words"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameGrid:
    """Where the frames of one utterance lie in time.

    Attributes:
        first: frames that trimming left out before the model's first one.
        count: T, frames that the model read.
        shift: seconds from one frame to the next.
        length: seconds that a frame covers.
        fine: whether a frame has a place in time that is short enough for a phone; not where
            each sums up a share of the utterance, which may follow its words.
    """

    first: int
    count: int
    shift: float
    length: float
    fine: bool = True

    @classmethod
    def of(cls, first: int, last: int, *, shift: float, length: float, seconds: float) -> FrameGrid:
        """Of frames from ``first`` to before ``last`` of an utterance that lasts ``seconds``."""
        count = last - first
        if round(shift * count) >= WHOLE_UTTERANCE:
            share = seconds / count
            return cls(first=first, count=count, shift=share, length=share, fine=False)
        return cls(
            first=first, count=count, shift=shift, length=length, fine=length <= LONGEST_FRAME
        )

    @property
    def centres(self) -> DoubleArray:
        """(T,) middle of each frame, in seconds from the start of the utterance."""
        first = (self.first + np.arange(self.count)) * self.shift
        return np.asarray(first + self.length / 2, dtype=np.float64)


def map_kind(name: str, shape: Sequence[int], num_frames: int, num_words: int) -> MapKind | None:
    """What a batch's attention map runs over, T frames or L words (0: none); None for other maps.

    Maps over words have ``words`` in their name.

    Example:
        >>> map_kind("layer1", (8, 90), 90, 0), map_kind("hop1_words", (8, 5), 90, 5)
        ('frames', 'words')
    """
    if len(shape) != 2:
        return None
    if "words" in name:
        return "words" if shape[1] == num_words else None
    return "frames" if shape[1] == num_frames else None


def shares(weights: npt.ArrayLike) -> DoubleArray:
    """Weights of one utterance as shares that sum to 1.

    A mixture of attentions may weigh a frame negatively (MOMA's γ are free): its size counts.
    Weights that are all 0 give equal shares.

    Example:
        >>> shares([1.0, -3.0]).tolist(), shares([0.0, 0.0]).tolist()
        ([0.25, 0.75], [0.5, 0.5])
    """
    size = np.abs(np.asarray(weights, dtype=np.float64))
    total = float(size.sum())
    if not total > 0:
        return np.full(len(size), 1.0 / len(size))
    return size / total


def spread(share: DoubleArray) -> float:
    """Effective share of steps: the exponential of the entropy over the number of steps.

    1 for even attention, 1/T for attention to a single frame.

    Example:
        >>> spread(np.array([0.25] * 4)), spread(np.array([1.0, 0, 0, 0]))
        (1.0, 0.25)
    """
    positive = share[share > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()) / len(share))


def total_variation(share: DoubleArray) -> float:
    """Half the sum of the steps of shares that sum to 1: how much a curve goes up and down.

    0 for even attention, 1 for attention to a single frame that is not at an end.

    Example:
        >>> total_variation(np.array([0.25] * 4)), total_variation(np.array([0.0, 1, 0, 0]))
        (0.0, 1.0)
    """
    return float(np.abs(np.diff(share)).sum()) / 2


def autocorrelation(share: DoubleArray, lag: int) -> float | None:
    """Correlation of a curve with itself ``lag`` frames later; None of a short or constant one.

    Example:
        >>> autocorrelation(np.array([1.0, 0, 1, 0, 1, 0]), 1)
        -1.0
    """
    early, late = share[:-lag], share[lag:]
    if len(early) < 2 or min(np.ptp(early), np.ptp(late)) < 1e-12:
        return None
    return round(float(np.corrcoef(early, late)[0, 1]), 12)


def frame_classes(phones: Sequence[Span], grid: FrameGrid, notation: Notation) -> IntArray:
    """(T,) positions in ``PHONE_CLASSES`` of the phones that frames' centres lie in, else silence.

    Phones are in order of time, without overlap.
    """
    silence = PHONE_CLASSES.index("silence")
    found = np.full(grid.count, silence, dtype=np.int64)
    centres = grid.centres
    for phone in phones:
        first, last = np.searchsorted(centres, [phone.start, phone.end], side="left")
        found[first:last] = PHONE_CLASSES.index(phone_class(phone.label, notation))
    return found


def alignment_agreement(
    phones: Sequence[Span], notation: Notation, speech: tuple[float, float]
) -> float:
    """How far the stretch of the phones is the stretch where there is sound, in [0, 1].

    Length of both together over length of either; 0 without a vowel or consonant. A forced
    alignment of a voice that its acoustic model does not know can lie seconds away from the words.

    Example:
        >>> phone = Span(tier="phone", label="AA", start=1.0, end=2.0)
        >>> alignment_agreement([phone], "arpabet", (1.5, 3.0))
        0.25
    """
    spoken = [p for p in phones if phone_class(p.label, notation) in ("vowel", "consonant")]
    if not spoken:
        return 0.0
    start, end = spoken[0].start, spoken[-1].end
    both = min(end, speech[1]) - max(start, speech[0])
    either = max(end, speech[1]) - min(start, speech[0])
    return max(0.0, both) / either if either > 0 else 0.0


def class_mass(share: DoubleArray, classes: IntArray) -> tuple[dict[str, float], dict[str, int]]:
    """Share of attention on each phone class (sums to 1), and frames of each (sum to T).

    Example:
        >>> mass, frames = class_mass(np.array([0.5, 0.3, 0.2]), np.array([0, 1, 0]))
        >>> mass["vowel"], mass["consonant"], frames["vowel"]
        (0.7, 0.3, 2)
    """
    size = len(PHONE_CLASSES)
    mass = np.bincount(classes, weights=share, minlength=size).tolist()
    frames = np.bincount(classes, minlength=size).tolist()
    return dict(zip(PHONE_CLASSES, mass, strict=True)), dict(
        zip(PHONE_CLASSES, frames, strict=True)
    )


def speech_part(
    share: DoubleArray, classes: IntArray
) -> tuple[DoubleArray, npt.NDArray[np.bool_]] | None:
    """(n,) attention on the frames of vowels and consonants, and (n,) whether each is a vowel.

    Silence and noise are cut out, so that what is turned round in the test is speech alone. None
    where there are no vowels, no consonants, or no attention on either.
    """
    vowel, consonant = PHONE_CLASSES.index("vowel"), PHONE_CLASSES.index("consonant")
    spoken = (classes == vowel) | (classes == consonant)
    marked = classes[spoken] == vowel
    weights = share[spoken]
    if not marked.any() or marked.all() or not weights.sum() > 0:
        return None
    return weights, marked
