"""From word spans to the segments that models read: no gaps, overlap, frames.

CAN (Lee, Yoon and Jung, Interspeech 2020, sections 3.1.2 and 4.1) removes the special tokens
``<s>``, ``<sil>`` and ``</s>`` and divides their time equally between the neighbouring words;
neighbours then overlap by 10 %. FG-CME (Li et al., Interspeech 2020, section 3.2) pools over
the frames that the alignment gives to the word, silence left out.

Shapes: L words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serplatform.alignment.tidy import is_special, plain_word
from serplatform.alignment.tokens import RULES, tokens
from serplatform.arrays import DoubleArray, IntArray
from serplatform.corpora.base import Span


def words_of(spans: Sequence[Span]) -> tuple[list[str], DoubleArray]:
    """Plain words of an alignment in order of time, and their (L, 2) starts and ends in seconds."""
    words = sorted(
        (s for s in spans if s.tier == "word" and not is_special(s.label)), key=lambda s: s.start
    )
    times = np.array([(s.start, s.end) for s in words], dtype=np.float64).reshape(-1, 2)
    return [plain_word(s.label) for s in words], times


def spoken_words(spans: Sequence[Span], text: str | None, rules: int = RULES) -> list[str]:
    """The words that models read: those of the alignment, else of the transcript."""
    return words_of(spans)[0] or tokens(text or "", rules)


def divide_silence(times: DoubleArray, start: float, end: float) -> DoubleArray:
    """Divide everything between words equally between the two neighbours.

    Time before the first and after the last word has one neighbour and goes to it. (L, 2) segments
    follow each other without gap from ``start`` to ``end``; all in seconds.
    """
    if len(times) == 0:
        return times.copy()
    inner = np.clip((times[:-1, 1] + times[1:, 0]) / 2, start, end)
    edges = np.maximum.accumulate(np.concatenate([[start], inner, [max(start, end)]]))
    return np.stack([edges[:-1], edges[1:]], axis=1)


def overlap_neighbours(segments: DoubleArray, share: float = 0.1) -> DoubleArray:
    """Stretch (L, 2) segments without gaps over their inner edges, so that neighbours overlap.

    The paper says that neighbours "have 10 % overlap" and not of what: here each segment
    reaches over each inner edge by half the share of its own length, so that two neighbours
    of equal length overlap by the share of that length. The first start and the last end stay.
    """
    if len(segments) == 0:
        return segments.copy()
    reach = (segments[:, 1] - segments[:, 0]) * share / 2
    stretched = segments + np.stack([-reach, reach], axis=1)
    return np.clip(stretched, segments[0, 0], segments[-1, 1])


def frame_spans(
    segments: DoubleArray, frame_shift: float, num_frames: int, first_frame: int = 0
) -> IntArray:
    """Turn (L, 2) segments in seconds into frames of a feature.

    Frame i begins at ``(first_frame + i) · frame_shift``. Edges are rounded to the nearest
    frame, so that segments without gaps stay without gaps; every segment gets at least one
    frame, and what lies outside the kept frames is clipped to the nearest one.

    Returns:
        (L, 2), int64: first frame and one past the last; 0 ≤ first < last ≤ num_frames.
    """
    frames = np.round(segments / frame_shift + 1e-6).astype(np.int64) - first_frame
    first = np.clip(frames[:, 0], 0, num_frames - 1)
    last = np.clip(frames[:, 1], first + 1, num_frames)
    return np.stack([first, last], axis=1)


def equal_segments(count: int, start: float, end: float) -> DoubleArray:
    """Cut a stretch of time into ``count`` equal segments: (count, 2), seconds."""
    edges = np.linspace(start, end, count + 1)
    return np.stack([edges[:-1], edges[1:]], axis=1)
