"""Features side by side: ``log_mel_40+egemaps_v02_lld`` is one feature of 40 + 25 values a frame.

Frames are joined by their number, which needs one frame shift; the shortest feature of an
utterance ends it (windows of different lengths leave out one to five frames at the end).

Shapes: N utterances, T frames, D values a frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from serplatform.arrays import FloatArray, IntArray
from serplatform.errors import BadInputError

#: between the names of joined features
JOIN = "+"


class FrameViews(Protocol):
    """Frames of every utterance, whichever way they are had."""

    @property
    def num_frames(self) -> IntArray:
        """(N,) frames of each utterance."""

    @property
    def dim(self) -> int:
        """D."""

    def frames(self, row: int, first: int = 0, last: int | None = None) -> FloatArray:
        """Frames ``first`` to ``last`` (excluded) of an utterance, (T, D)."""

    def release(self) -> None:
        """Give resident pages of files back, where there are any."""


def feature_parts(name: str) -> tuple[str, ...]:
    """Names of the features that ``name`` joins.

    Raises:
        BadInputError: a name is empty or stands twice.

    Example:
        >>> feature_parts("log_mel_40+egemaps_v02_lld")
        ('log_mel_40', 'egemaps_v02_lld')
    """
    parts = tuple(part.strip() for part in name.split(JOIN))
    if not all(parts) or len(set(parts)) < len(parts):
        raise BadInputError(
            f"feature '{name}': names between '{JOIN}' must be different, and none empty, as in "
            f"log_mel_40{JOIN}egemaps_v02_lld"
        )
    return parts


def common_shift(shifts: Mapping[str, float]) -> float:
    """The frame shift of features that are to be joined, in seconds.

    Raises:
        BadInputError: they differ.
    """
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


def clip_frames(frames: Mapping[str, FloatArray], feature: str) -> FloatArray:
    """Frames of a (joined) feature of one clip, from those of its parts."""
    return join_frames([frames[part] for part in feature_parts(feature)])


def joined_spec(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What determines the values of joined features."""
    return {"kind": "joined", "parts": {name: dict(spec) for name, spec in specs.items()}}


def spec_parts(name: str, spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Each plain feature's name and specification, of a plain or a joined one."""
    return dict(spec["parts"]) if spec.get("kind") == "joined" else {name: spec}


@dataclasses.dataclass(frozen=True)
class JoinedViews:
    """Views over several features of the same utterances; joining copies.

    Attributes:
        parts: of each feature.
    """

    parts: tuple[FrameViews, ...]

    @property
    def num_frames(self) -> IntArray:
        """(N,) frames of each utterance: of the feature with the fewest."""
        return np.min([part.num_frames for part in self.parts], axis=0)

    @property
    def dim(self) -> int:
        """D, of all features."""
        return sum(part.dim for part in self.parts)

    def frames(self, row: int, first: int = 0, last: int | None = None) -> FloatArray:
        """Frames ``first`` to ``last`` (excluded) of an utterance, (T, D)."""
        if last is None:
            last = min(int(part.num_frames[row]) for part in self.parts)
        return join_frames([part.frames(row, first, last) for part in self.parts])

    def release(self) -> None:
        """Give the resident pages of every feature back."""
        for part in self.parts:
            part.release()
