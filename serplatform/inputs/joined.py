"""Features side by side: ``log_mel_40+egemaps_v02_lld`` is one feature of 40 + 25 values a frame.

Frames are joined by their number, which needs one frame shift; the shortest feature of an
utterance ends it (windows of different lengths leave out one to five frames at the end).

Shapes: N utterances, T frames, D values a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.errors import BadInputError

#: between the names of joined features
JOIN = "+"


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


def joined_spec(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What determines the values of joined features."""
    return {"kind": "joined", "parts": {name: dict(spec) for name, spec in specs.items()}}


def spec_parts(name: str, spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Each plain feature's name and specification, of a plain or a joined one."""
    return dict(spec["parts"]) if spec.get("kind") == "joined" else {name: spec}
