"""Bring new audio's frames to what a trained model saw.

Shapes: T frames, D feature dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serplatform.datasets.dataset import FloatArray


def preprocess(
    clips: Sequence[FloatArray],
    settings: Mapping[str, Any],
) -> list[FloatArray]:
    """Normalize as ``FoldData.preprocessing`` describes; trimming comes before.

    Under speaker normalization all clips are taken to be of one speaker, whom training has
    not seen, and are standardized together: call it once a speaker.

    Args:
        clips: (T, D) trimmed frames each, of the feature that ``settings`` names, float32.
        settings: from ``FoldData.preprocessing``.

    Returns:
        (T, D) frames each, float32.

    Raises:
        ValueError: a clip has another dimension.
    """
    dim = int(settings["dim"])
    for clip in clips:
        if clip.ndim != 2 or clip.shape[1] != dim:
            raise ValueError(f"frames of shape {clip.shape}: the model was trained on (T, {dim})")
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


def _statistics(frames: FloatArray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and floored deviation, (D,) each, in double precision."""
    values = frames.astype(np.float64)
    return values.mean(axis=0), np.maximum(values.std(axis=0), floor)
