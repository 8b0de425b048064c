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

Time derivatives (``data.deltas``) are taken of the frames whose speed and gain have changed; a
masked band is masked with its derivatives.

Shapes: T frames, D feature dimension.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.errors import BadInputError
from serplatform.features.base import FEATURES, FeatureExtractor
from serplatform.inputs.clips import Clips
from serplatform.inputs.config import DataConfig
from serplatform.inputs.normalization import Normalization

#: separates the random stream of the noise from that of the other changes
_NOISE_STREAM = 1


@dataclasses.dataclass(frozen=True)
class Change:
    """What is done to one utterance: relative speed, decibels, and masks.

    A mask is two uniform numbers in [0, 1), for start and width.
    """

    speed: float = 1.0
    gain_db: float = 0.0
    time_masks: tuple[tuple[float, float], ...] = ()
    frequency_masks: tuple[tuple[float, float], ...] = ()


@functools.lru_cache(maxsize=1)  # the same for both ends of the pipeline
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


def change_speed(frames: FloatArray, speed: float) -> FloatArray:
    """Interpolate (T, D) frames linearly to round(T / speed), at least 1, ends kept in place."""
    count = max(1, round(len(frames) / speed))
    if count == len(frames):
        return frames
    position = np.linspace(0.0, len(frames) - 1.0, count)
    left = position.astype(np.int64)
    right = np.minimum(left + 1, len(frames) - 1)
    share = (position - left).astype(np.float32)[:, None]
    return frames[left] * (1.0 - share) + frames[right] * share


class Augmentation:
    """The random changes of one configuration, at both ends of the pipeline.

    What is masked becomes the training frames' mean, and noise is measured in their standard
    deviations, both those of the pipeline's normalization.

    Raises:
        BadInputError: a gain does not add a constant to the feature.
    """

    def __init__(self, config: DataConfig, normalization: Normalization) -> None:
        self._config = config
        self._blocks = 1 + config.deltas
        self._extractor = gain_extractor(config) if config.gain_db else None
        mean, std = normalization.mean, normalization.std
        if normalization.kind != "none":
            mean, std = np.zeros_like(mean), np.ones_like(std)
        self._fill = mean.astype(np.float32)
        self._noise = (config.noise * std).astype(np.float32)

    def extracted(self, clips: Clips) -> Clips:
        """Frames as extracted, with another speed and gain."""
        if not (self._config.speed or self._extractor):
            return clips

        def change(frames: FloatArray, row: int, key: int | None) -> FloatArray:
            if key is None:
                return frames
            drawn = draw(self._config, key, row)
            frames = change_speed(frames, drawn.speed)
            offset = None if self._extractor is None else self._extractor.gain_offset(drawn.gain_db)
            return frames if offset is None else frames + offset

        changed = clips.changed(change, None)
        return dataclasses.replace(
            changed, identity=clips.identity, stretches=self._config.speed > 0
        )

    def normalized(self, clips: Clips) -> Clips:
        """Frames as a model gets them, with noise and masks."""
        config = self._config
        if not (config.noise or config.time_masks or config.frequency_masks):
            return clips

        def change(frames: FloatArray, row: int, key: int | None) -> FloatArray:
            if key is None:
                return frames
            frames = frames.copy()
            if config.noise:  # from a stream of its own: other changes are the same without it
                rng = np.random.default_rng((key, row, _NOISE_STREAM))
                frames += self._noise * rng.standard_normal(frames.shape, dtype=np.float32)
            self._mask(frames, draw(config, key, row))
            return frames

        return dataclasses.replace(clips.changed(change, None), identity=clips.identity)

    def _mask(self, frames: FloatArray, drawn: Change) -> None:
        """Set the masked stretches and bands of (T, D) frames, in place."""
        config, fill, num_frames = self._config, self._fill, len(frames)
        dim = frames.shape[1] // self._blocks
        for start, width in drawn.time_masks:
            first, last = _stretch(
                start, width, config.time_mask_frames, num_frames, num_frames // 4
            )
            frames[first:last] = fill
        for start, width in drawn.frequency_masks:
            first, last = _stretch(start, width, config.frequency_mask_bins, dim, dim // 2)
            for block in range(0, frames.shape[1], dim):  # values, and each derivative
                band = slice(block + first, block + last)
                frames[:, band] = fill[band]


def gain_extractor(config: DataConfig) -> FeatureExtractor:
    """The feature's extractor, which knows what a gain adds to its frames.

    Raises:
        BadInputError: a gain does not add a constant.
    """
    if config.feature in FEATURES.names():
        extractor: FeatureExtractor = FEATURES.get(config.feature)()
        if extractor.gain_offset(1.0) is not None:
            return extractor
    raise BadInputError(
        f"data.gain_db = {config.gain_db}: a gain does not add a constant to the feature "
        f"'{config.feature}'; set data.gain_db = 0"
    )


def _stretch(start: float, width: float, widest: int, size: int, most: int) -> tuple[int, int]:
    """Turn uniform numbers in [0, 1) into a stretch of 0 to min(widest, most) of ``size``."""
    length = int(width * (min(widest, most) + 1))
    first = int(start * (size - length + 1))
    return first, first + length
