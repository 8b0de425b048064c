"""Bring new audio's frames to what a trained model saw: trimming and normalization.

Shapes: T frames, D feature dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serplatform.datasets.dataset import FloatArray
from serplatform.datasets.normalization import trim_bounds


def preprocess(
    clips: Sequence[FloatArray],
    settings: Mapping[str, Any],
    speech: Sequence[tuple[float, float]] | None = None,
) -> list[FloatArray]:
    """Apply what ``FoldData.preprocessing`` describes.

    Under speaker normalization all clips are taken to be of one speaker, whom training has
    not seen, and are standardized together: call it once a speaker.

    Args:
        clips: (T, D) frames each, of the feature that ``settings`` names, float32.
        settings: from ``FoldData.preprocessing``.
        speech: start and end of the speech in each clip, in seconds; needed for trimming.

    Returns:
        (T, D) frames each, float32.

    Raises:
        ValueError: a clip has another dimension, or trimming is asked for without ``speech``.
    """
    dim = int(settings["dim"])
    for clip in clips:
        if clip.ndim != 2 or clip.shape[1] != dim:
            raise ValueError(f"frames of shape {clip.shape}: the model was trained on (T, {dim})")
    if settings["trim"]:
        if speech is None:
            raise ValueError("the model was trained on trimmed frames: give the speech bounds")
        clips = [
            _trim(clip, bounds, float(settings["frame_shift"]))
            for clip, bounds in zip(clips, speech, strict=True)
        ]
    kind = settings["normalization"]
    if kind == "none":
        return [np.array(clip, dtype=np.float32) for clip in clips]
    mean, deviation = np.array(settings["mean"]), np.array(settings["deviation"])
    floor = np.array(settings["deviation_floor"])
    if kind == "speaker":
        mean, deviation = _statistics(np.concatenate(list(clips)), floor)
    done = []
    for clip in clips:
        if kind == "utterance":
            mean, deviation = _statistics(clip, floor)
        scale = (1.0 / deviation).astype(np.float32)
        done.append((clip - mean.astype(np.float32)) * scale)
    return done


def _trim(clip: FloatArray, bounds: tuple[float, float], frame_shift: float) -> FloatArray:
    first, last = trim_bounds([bounds[0]], [bounds[1]], [len(clip)], frame_shift)
    return clip[int(first[0]) : int(last[0])]


def _statistics(frames: FloatArray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and floored deviation, (D,) each, in double precision."""
    values = frames.astype(np.float64)
    return values.mean(axis=0), np.maximum(values.std(axis=0), floor)
