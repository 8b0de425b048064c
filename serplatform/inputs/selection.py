"""Which frames enter: features joined frame by frame, and what trimming keeps of them.

``log_mel_40+egemaps_v02_lld`` is one feature of 40 + 25 values a frame. Frames are joined by their
number, which needs one frame shift; the shortest feature of an utterance ends it (windows of
different lengths leave out one to five frames at the end).

Shapes: N utterances, T frames, D values a frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serplatform.arrays import FloatArray, IntArray
from serplatform.artifacts.model import Preprocessing
from serplatform.errors import BadInputError
from serplatform.inputs.clips import Clips, ClipSource
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
    """

    feature: str
    spec: Mapping[str, Any]
    frame_shift: float
    trim: bool

    @classmethod
    def load(cls, stored: Preprocessing) -> FrameSelection:
        """Make it again from a model's description."""
        return cls(**{field.name: stored[field.name] for field in dataclasses.fields(cls)})  # type: ignore[literal-required]

    def describe(self) -> dict[str, Any]:
        """Keys of the model's ``preprocessing``."""
        return {**vars(self), "spec": dict(self.spec)}

    def apply(self, source: ClipSource) -> Clips:
        """Trimmed and joined frames of a source; the shortest feature ends an utterance."""
        parts = [source.feature(name) for name in feature_parts(self.feature)]
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


def common_shift(shifts: Mapping[str, float]) -> float:
    """The frame shift of features to be joined, in seconds; different ones are an error."""
    first = next(iter(shifts.values()))
    if any(abs(shift - first) > 1e-9 for shift in shifts.values()):
        stated = ", ".join(f"{name} {shift:g} s" for name, shift in shifts.items())
        raise BadInputError(
            f"features of different frame shifts cannot be joined frame by frame: {stated}"
        )
    return first


def join_frames(clips: Sequence[FloatArray]) -> FloatArray:
    """(T_i, D_i) frames of one utterance to (min T_i, sum D_i)."""
    if len(clips) == 1:
        return clips[0]
    count = min(len(clip) for clip in clips)
    return np.concatenate([clip[:count] for clip in clips], axis=1)


def joined_spec(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What determines the values of joined features."""
    return {"kind": "joined", "parts": {name: dict(spec) for name, spec in specs.items()}}


def spec_parts(name: str, spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Each plain feature's name and specification, of a plain or a joined one."""
    return dict(spec["parts"]) if spec.get("kind") == "joined" else {name: spec}
