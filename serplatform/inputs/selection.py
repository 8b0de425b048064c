"""Which frames enter: features joined frame by frame, and what trimming keeps of them.

``log_mel_40+egemaps_v02_lld`` is one feature of 40 + 25 values a frame. Frames are joined by their
number; the shortest feature of an utterance ends it (windows of different lengths leave out one to
five frames at the end). Where frame shifts differ, the finer features are averaged to the longest:
frame k of shift s stands for the time from k·s to (k + 1)·s, and a frame of the longest shift S
takes the mean of those whose middle lies between its own start and end.

Shapes: N utterances, T frames, D values a frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from serplatform.arrays import FloatArray, IntArray
from serplatform.artifacts.model import Preprocessing
from serplatform.errors import BadInputError
from serplatform.features.base import WHOLE_UTTERANCE
from serplatform.inputs.clips import Clips, ClipSource, FeatureFrames
from serplatform.inputs.config import feature_parts

#: At least this much of an utterance is kept by trimming, in seconds.
MIN_TRIMMED = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameSelection:
    """What is read of every utterance.

    Attributes:
        feature: its name; joined features have ``+`` between theirs.
        spec: every parameter of its extractors.
        frame_shift: seconds.
        trim: only the frames of the speech are kept.
        resampled: each joined feature of a shorter frame shift, and that shift, seconds.
    """

    feature: str
    spec: Mapping[str, object]
    frame_shift: float
    trim: bool
    resampled: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, stored: Preprocessing) -> FrameSelection:
        """Make it again from a model's description."""
        names = (field.name for field in dataclasses.fields(cls))
        return cls(**{name: stored[name] for name in names if name in stored})  # type: ignore[literal-required]

    def describe(self) -> dict[str, object]:
        """Keys of the model's ``preprocessing``."""
        found = {**vars(self), "spec": dict(self.spec), "resampled": dict(self.resampled)}
        return found if self.resampled else {k: v for k, v in found.items() if k != "resampled"}

    @property
    def notes(self) -> tuple[str, ...]:
        """What belongs beside any number computed with it."""
        if not self.resampled:
            return ()
        finer = ", ".join(f"{name} ({shift:g} s)" for name, shift in self.resampled.items())
        return (
            f"Frames of {finer} are averaged to the longest frame shift, {self.frame_shift:g} s.",
        )

    def apply(self, source: ClipSource) -> Clips:
        """Trimmed and joined frames of a source; the shortest feature ends an utterance."""
        parts = [self.resample(name, source.feature(name)) for name in feature_parts(self.feature)]
        total = np.min([part.num_frames for part in parts], axis=0)
        first, last = np.zeros_like(total), total
        if self.trim:
            first, last = trim_bounds(*source.speech, total, self.frame_shift)

        def frames(row: int, key: int | None) -> FloatArray:
            begin, end = first.item(row), last.item(row)
            return join_frames([part.frames(row, begin, end) for part in parts])

        return Clips(
            source=source,
            frames=frames,
            dim=sum(part.dim for part in parts),
            first=first,
            last=last,
            frame_shift=self.frame_shift,
            identity=(self.feature, self.trim),
        )

    def resample(self, name: str, frames: FeatureFrames) -> FeatureFrames:
        """A joined feature at the common frame shift."""
        shift = self.resampled.get(name)
        return frames if shift is None else AveragedFrames(frames, self.frame_shift / shift)


@dataclasses.dataclass(frozen=True)
class AveragedFrames:
    """Frames averaged to a longer shift.

    Attributes:
        finer: the frames.
        ratio: of the longer shift to theirs, above 1.

    Example:
        >>> from serplatform.inputs.new_audio import FramesInMemory
        >>> finer = FramesInMemory([np.array([[1], [3], [4], [6], [7]], dtype=np.float32)])
        >>> averaged = AveragedFrames(finer, 2.0)
        >>> averaged.num_frames.tolist(), averaged.frames(0).ravel().tolist()
        ([3], [2.0, 5.0, 7.0])
    """

    finer: FeatureFrames
    ratio: float

    @property
    def num_frames(self) -> IntArray:
        """(N,) frames of each utterance, the last of which may be the mean of fewer."""
        middle = (self.finer.num_frames - 0.5) / self.ratio  # of the last finer frame
        return np.floor(np.round(middle, 6)).astype(np.int64) + 1

    @property
    def dim(self) -> int:
        """D."""
        return self.finer.dim

    def frames(self, row: int, first: int = 0, last: int | None = None) -> FloatArray:
        """Frames ``first`` to ``last`` (excluded) of an utterance, (T, D)."""
        end = int(self.num_frames[row]) if last is None else last
        # first finer frame whose middle is not before the start of each frame, and of the next
        edges = np.ceil(np.round(np.arange(first, end + 1) * self.ratio - 0.5, 6)).astype(np.int64)
        edges = np.minimum(edges, self.finer.num_frames[row])
        if not len(edges) > 1:
            return self.finer.frames(row, 0, 0)
        values = self.finer.frames(row, int(edges[0]), int(edges[-1]))
        sums = np.add.reduceat(values, edges[:-1] - edges[0], axis=0)
        return sums / np.diff(edges)[:, None].astype(np.float32)


def trim_bounds(
    speech_start: npt.ArrayLike,
    speech_end: npt.ArrayLike,
    num_frames: npt.ArrayLike,
    frame_shift: float,
) -> tuple[IntArray, IntArray]:
    """First frame and one past the last frame of the speech of N utterances.

    At least :data:`MIN_TRIMMED` seconds are kept (or all frames of a shorter utterance), widened
    evenly around the speech. Times are in seconds; 0 <= first < last <= num_frames.

    Example:
        >>> trim_bounds([0.5, 0.9], [1.0, 0.9], [200, 92], 0.01)
        (array([50, 72]), array([100,  92]))
    """
    total = np.asarray(num_frames, dtype=np.int64)
    # rounded first, so that 0.29 / 0.01 = 28.999999999999996 is frame 29
    start = np.round(np.asarray(speech_start, np.float64) / frame_shift, 6)
    end = np.round(np.asarray(speech_end, np.float64) / frame_shift, 6)
    first = np.clip(np.floor(start).astype(np.int64), 0, total)
    last = np.clip(np.ceil(end).astype(np.int64), first, total)
    wanted = np.minimum(max(1, round(MIN_TRIMMED / frame_shift)), total)
    lacking = np.maximum(wanted - (last - first), 0)
    first = np.maximum(first - (lacking + 1) // 2, 0)
    last = np.minimum(np.maximum(last, first + wanted), total)
    first = np.minimum(first, np.maximum(last - wanted, 0))
    return first, last


def common_shift(shifts: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """The frame shift of joined features, the longest of theirs, and those that are shorter.

    Args:
        shifts: name of each feature to its frame shift, seconds.

    Raises:
        BadInputError: one vector an utterance beside frames.

    Example:
        >>> common_shift({"log_mel_40": 0.01, "pretrained:whisper-base@3": 0.02})
        (0.02, {'log_mel_40': 0.01})
    """
    longest = max(shifts.values())
    if all(longest - shift <= 1e-9 for shift in shifts.values()):
        return next(iter(shifts.values())), {}
    if longest >= WHOLE_UTTERANCE:
        vectors = [name for name, shift in shifts.items() if shift >= WHOLE_UTTERANCE]
        frames = [name for name in shifts if name not in vectors]
        raise BadInputError(
            f"{', '.join(vectors)} cannot be joined with {', '.join(frames)}: one vector an "
            "utterance has no frames to stand beside; join vectors with vectors, or frames with "
            "frames"
        )
    return longest, {name: shift for name, shift in shifts.items() if longest - shift > 1e-9}


def join_frames(clips: Sequence[FloatArray]) -> FloatArray:
    """(T_i, D_i) frames of one utterance to (min T_i, sum D_i)."""
    if len(clips) == 1:
        return clips[0]
    count = min(len(clip) for clip in clips)
    return np.concatenate([clip[:count] for clip in clips], axis=1)


def joined_spec(specs: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """What determines the values of joined features."""
    return {"kind": "joined", "parts": {name: dict(spec) for name, spec in specs.items()}}


def spec_parts(name: str, spec: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Each plain feature's name and specification, of a plain or a joined one."""
    parts = spec.get("parts")
    return dict(parts) if isinstance(parts, Mapping) else {name: spec}
