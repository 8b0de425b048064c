"""A track: steps or windows of recordings, smoothed, and the segments between changes.

Shapes: K classes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from serplatform.prediction.rows import PredictedRow

#: window and hop of systems with a model that gives no class inside an utterance, seconds
WINDOW, HOP = 2.0, 0.5


class Segment(NamedTuple):
    """A stretch of a recording with one decision.

    ``posterior`` is that of ``emotion``, the mean over time; ``start`` and ``end`` are seconds.
    """

    file: str
    start: float
    end: float
    emotion: str
    posterior: float


def cut_segments(rows: Iterable[PredictedRow], classes: Sequence[str]) -> list[Segment]:
    """Segments of one recording's steps or windows, in order of time.

    Where steps overlap or touch, the decision passes from one to the next halfway between their
    middles; it lasts from the start of the first to the end of the last. Time that no step covers,
    or a window of silence, is in no segment.

    Example:
        >>> sure, other = np.array([0.9, 0.1]), np.array([0.2, 0.8])
        >>> steps = [(0.0, 1.0, sure), (0.5, 1.5, sure), (1.0, 2.0, other)]
        >>> rows = [
        ...     PredictedRow(file="a", part="step", start=start, end=end, posteriors=posteriors)
        ...     for start, end, posteriors in steps
        ... ]
        >>> for found in cut_segments(rows, ["sad", "calm"]):
        ...     print(found.start, found.end, found.emotion, round(found.posterior, 3))
        0.0 1.25 sad 0.9
        1.25 2.0 calm 0.8
    """
    found: list[Segment] = []
    heard = [row for row in rows if row.posteriors is not None]
    middles = [(row.start + row.end) / 2 for row in heard]
    joined = [a.end >= b.start - 1e-9 for a, b in itertools.pairwise(heard)]
    edges = [(a + b) / 2 for a, b in itertools.pairwise(middles)]
    for n, row in enumerate(heard):
        assert row.posteriors is not None  # noqa: S101 - for the type checker
        start = edges[n - 1] if n and joined[n - 1] else row.start
        end = edges[n] if n < len(joined) and joined[n] else row.end
        top = int(row.posteriors.argmax())
        one = Segment(row.file, start, end, classes[top], float(row.posteriors[top]))
        if n and joined[n - 1] and found[-1].emotion == one.emotion:
            last = found[-1]
            share = (one.end - one.start) / (one.end - last.start)
            posterior = (1 - share) * last.posterior + share * one.posterior
            found[-1] = last._replace(end=one.end, posterior=posterior)
        else:
            found.append(one)
    return found


@dataclasses.dataclass(frozen=True)
class TrackedRows:
    """Rows of recordings on their way through, smoothed; what became of them is noted.

    Attributes:
        classes: K names.
        smooth: seconds, see :func:`smoothed`; 0: as they are.
        segments: of the recordings so far.
        durations: of the recordings so far, seconds, by name.
    """

    classes: Sequence[str]
    smooth: float = 0.0
    segments: list[Segment] = dataclasses.field(default_factory=list)
    durations: dict[str, float] = dataclasses.field(default_factory=dict)

    def follow(self, rows: Iterable[PredictedRow]) -> Iterator[PredictedRow]:
        """The same rows, recording by recording, with steps and windows smoothed."""
        from serplatform.prediction.steps import smoothed  # torch takes long to import

        for name, own in itertools.groupby(rows, key=lambda row: row.file):
            found = list(own)
            inside = [n for n, row in enumerate(found) if row.part != "whole"]
            heard = [(n, p) for n in inside if (p := found[n].posteriors) is not None]
            if self.smooth and heard:
                middles = np.array([(found[n].start + found[n].end) / 2 for n, _ in heard])
                values = smoothed(np.stack([p for _, p in heard]), middles, self.smooth)
                for (n, _), value in zip(heard, values, strict=True):
                    found[n] = dataclasses.replace(found[n], posteriors=value)
            self.segments.extend(cut_segments([found[n] for n in inside], self.classes))
            self.durations[name] = max(row.end for row in found)
            yield from found
