"""New recordings as a source of the pipeline: extracted frames in memory, one unseen speaker.

Shapes: N clips, T frames, D values a frame.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np

from serplatform.alignment.segments import words_of
from serplatform.arrays import FloatArray, IntArray
from serplatform.corpora.base import Span
from serplatform.inputs.clips import ClipSource, Moments
from serplatform.inputs.pipeline import InputPipeline
from serplatform.inputs.timed_words import TimedWords


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractedClip:
    """What models read of one clip.

    Attributes:
        frames: feature name to (T, D), as extracted.
        speech: start and end of the speech, seconds from the start of the clip.
        spans: its words with their times; may be empty.
        text: its transcript, for words without times.
    """

    frames: Mapping[str, FloatArray]
    speech: tuple[float, float]
    spans: tuple[Span, ...] = ()
    text: str | None = None


@dataclasses.dataclass(frozen=True)
class FramesInMemory:
    """One feature of every clip."""

    values: Sequence[FloatArray]

    @property
    def num_frames(self) -> IntArray:
        return np.array([len(frames) for frames in self.values], dtype=np.int64)

    @property
    def dim(self) -> int:
        return int(self.values[0].shape[1])

    def frames(self, row: int, first: int = 0, last: int | None = None) -> FloatArray:
        return self.values[row][first:last]


def new_audio(clips: Sequence[ExtractedClip], speaker: SpeakerMoments | None = None) -> ClipSource:
    """Clips of one speaker whom training has not seen, at least one.

    ``speaker`` has the speaker's moments where they were taken of more than these clips.
    """
    start, end = np.array([clip.speech for clip in clips], dtype=np.float64).T

    def words(rules: int | None) -> TimedWords:
        """Of each clip's alignment, else of its transcript."""
        found = ((*words_of(clip.spans), clip.text) for clip in clips)
        return TimedWords.collect(found, rules or 1)

    return ClipSource(
        feature=lambda name: FramesInMemory([clip.frames[name] for clip in clips]),
        words=functools.cache(words),
        speech=(start, end),
        speakers=[np.arange(len(clips), dtype=np.int64)],
        known_speaker={} if speaker is None else speaker.found,
    )


class SpeakerMoments:
    """Mean and standard deviation of one speaker's frames, over clips that need not be kept.

    ``found`` is moments (N = 1) by the identity of the clips that they are of.
    """

    def __init__(self) -> None:
        self.found: dict[Hashable, Moments] = {}

    def add(self, clip: ExtractedClip, pipelines: Iterable[InputPipeline]) -> None:
        """Add a clip's frames, once for all pipelines that normalize the same."""
        source = new_audio([clip])
        added: dict[Hashable, Moments] = {}
        for pipeline in pipelines:
            clips = pipeline.unnormalized(source)
            added[clips.identity] = clips.moments()
        for identity, moments in added.items():
            known = self.found.get(identity)
            self.found[identity] = moments if known is None else known.joined(moments)

    @property
    def clips(self) -> int:
        """Clips that were added."""
        return max((int(moments.clips[0]) for moments in self.found.values()), default=0)

    @property
    def fewest(self) -> int:
        """Frames that the scarcest feature gave; 0 before any clip."""
        return min((int(moments.count[0]) for moments in self.found.values()), default=0)
