"""Random changes of training frames: speed, gain, noise, masked stretches and masked bands.

Every utterance has a generator of its own, made of the epoch's key and its row, so the change
depends neither on the batch nor on the process that makes it.

Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition",
Interspeech 2019, for the masks; Ko et al., "Audio Augmentation for Speech Recognition",
Interspeech 2015, for the idea of speed changes; Sietsma and Dow, "Creating Artificial Neural
Networks That Generalize", Neural Networks 4(1), 1991, and Bishop, "Training with Noise is
Equivalent to Tikhonov Regularization", Neural Computation 7(1), 1995, for the noise. Departs
from the first two: speed interpolates frames (tempo without pitch), a time mask covers a
quarter of the frames at most, and a frequency mask half of the dimensions.

Time derivatives (``data.deltas``) are taken of the frames whose speed and gain have changed, so
that they belong to them; a masked band is masked with its derivatives.

Shapes: T frames, D feature dimension.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.datasets.data_config import DataConfig
from serplatform.features.base import FEATURES, FeatureExtractor

#: tells the stream of the noise from that of the other changes
_NOISE_STREAM = 1


@dataclasses.dataclass(frozen=True)
class Change:
    """What is done to one utterance.

    Attributes:
        speed: frames pass this many times as fast.
        gain_db: decibels.
        time_masks: two uniform numbers in [0, 1) each, for start and width.
        frequency_masks: the same.
    """

    speed: float = 1.0
    gain_db: float = 0.0
    time_masks: tuple[tuple[float, float], ...] = ()
    frequency_masks: tuple[tuple[float, float], ...] = ()


def draw(config: DataConfig, key: int, row: int) -> Change:
    """Draw the change of an utterance from the epoch's key and its row alone."""
    rng = np.random.default_rng((key, row))
    values = rng.random(2 + 2 * (config.time_masks + config.frequency_masks)).tolist()
    pairs = list(zip(values[2::2], values[3::2], strict=True))
    return Change(
        speed=1.0 + config.speed * (2.0 * values[0] - 1.0),
        gain_db=config.gain_db * (2.0 * values[1] - 1.0),
        time_masks=tuple(pairs[: config.time_masks]),
        frequency_masks=tuple(pairs[config.time_masks :]),
    )


def changed_length(num_frames: int, speed: float) -> int:
    """Frames after a change of speed, at least 1."""
    return max(1, round(num_frames / speed))


def change_speed(frames: FloatArray, speed: float) -> FloatArray:
    """Interpolate (T, D) frames linearly to round(T / speed) frames, ends kept in place."""
    count = changed_length(len(frames), speed)
    if count == len(frames):
        return frames
    position = np.linspace(0.0, len(frames) - 1.0, count)
    left = position.astype(np.int64)
    right = np.minimum(left + 1, len(frames) - 1)
    share = (position - left).astype(np.float32)[:, None]
    return frames[left] * (1.0 - share) + frames[right] * share


def add_noise(frames: FloatArray, deviation: FloatArray | float, key: int, row: int) -> None:
    """Add Gaussian noise to (T, D) frames, in place.

    It is drawn from a stream of its own, so that the other changes are the same without it.

    Args:
        frames: written to.
        deviation: of the noise, for all values or (D,).
        key: of the epoch.
        row: of the utterance.
    """
    rng = np.random.default_rng((key, row, _NOISE_STREAM))
    frames += deviation * rng.standard_normal(frames.shape, dtype=np.float32)


def mask(frames: FloatArray, change: Change, config: DataConfig, fill: FloatArray) -> None:
    """Set the masked stretches and bands of (T, D) frames to ``fill``, in place.

    Args:
        frames: written to.
        change: where.
        config: widest masks.
        fill: (D,).
    """
    num_frames = len(frames)
    dim = frames.shape[1] // (1 + config.deltas)
    for start, width in change.time_masks:
        first, last = _stretch(start, width, config.time_mask_frames, num_frames, num_frames // 4)
        frames[first:last] = fill
    for start, width in change.frequency_masks:
        first, last = _stretch(start, width, config.frequency_mask_bins, dim, dim // 2)
        for start_of_block in range(0, frames.shape[1], dim):  # values, and each derivative
            band = slice(start_of_block + first, start_of_block + last)
            frames[:, band] = fill[band]


def _stretch(start: float, width: float, widest: int, size: int, most: int) -> tuple[int, int]:
    """Turn uniform numbers in [0, 1) into a stretch of 0 to min(widest, most) of ``size``."""
    length = int(width * (min(widest, most) + 1))
    first = int(start * (size - length + 1))
    return first, first + length


def gain_extractor(feature: str) -> FeatureExtractor | None:
    """The feature's extractor if a gain adds a constant to its frames, else None."""
    if feature not in FEATURES.names():
        return None
    extractor: Any = FEATURES.get(feature)()
    return extractor if extractor.gain_offset(1.0) is not None else None
