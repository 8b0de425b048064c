"""Z-scores of frames: over the training rows, within a speaker, or within an utterance.

Speaker normalization takes all rows of a speaker, or new audio's, without looking at a label.

Shapes: N utterances, T frames, D values a frame. Values are in the feature's own units.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.artifacts.model import Preprocessing
from serplatform.inputs.clips import Clips, Moments, Step
from serplatform.inputs.config import DataConfig

#: A speaker's or utterance's standard deviation is never taken below this share of the training
#: frames' in the same dimension: a constant stretch must not blow up.
STD_FLOOR = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Normalization(Step):
    """Subtract a mean, divide by a standard deviation.

    Attributes:
        kind: whose: ``train``, ``speaker``, ``utterance`` or ``none``.
        mean: (D,) of the training frames.
        std: (D,) of the training frames, 1 where they are constant.
        floor: (D,) least standard deviation of a speaker or an utterance.
    """

    kind: str
    mean: DoubleArray
    std: DoubleArray
    floor: DoubleArray

    @classmethod
    def fit(cls, config: DataConfig, clips: Clips, train_rows: IntArray) -> Normalization:
        pooled = clips.moments().pool(train_rows)
        mean, std = pooled.mean[0], pooled.std[0]
        constant = std <= 1e-6 * np.maximum(np.abs(mean), 1e-6)  # up to rounding
        std = np.where(constant, 1.0, std)
        return cls(config.normalization, mean, std, STD_FLOOR * std)

    @classmethod
    def load(cls, stored: Preprocessing) -> Normalization:
        values = (np.array(stored[key]) for key in ("mean", "deviation", "deviation_floor"))
        return cls(stored["normalization"], *values)

    def describe(self) -> dict[str, object]:
        return {
            "normalization": self.kind,
            "mean": self.mean.tolist(),
            "deviation": self.std.tolist(),
            "deviation_floor": self.floor.tolist(),
        }

    def apply(self, clips: Clips) -> Clips:
        if self.kind == "none":
            return clips
        mean, std, groups = self.mean[None], self.std[None], None
        if self.kind != "train":
            moments, group = self._moments(clips)
            mean, std, groups = moments.mean, np.maximum(moments.std, self.floor), group.tolist()
        shift, scale = list(mean.astype(np.float32)), list((1.0 / std).astype(np.float32))

        def standardize(frames: FloatArray, row: int, key: int | None) -> FloatArray:
            number = 0 if groups is None else groups[row]  # which mean the row takes
            values = frames - shift[number]
            values *= scale[number]
            return values

        return clips.changed(standardize, self)

    def _moments(self, clips: Clips) -> tuple[Moments, IntArray]:
        """Moments of each speaker or utterance, and (N,) which of them each row takes."""
        group = np.zeros(len(clips.first), dtype=np.int64)
        if self.kind == "utterance":
            return clips.moments(), np.arange(len(group))
        source = clips.source
        for number, rows in enumerate(source.speakers):
            group[rows] = number
        known = source.known_speaker.get(clips.identity)
        return clips.speaker_moments() if known is None else known, group

    @property
    def notes(self) -> tuple[str, ...]:
        if self.kind != "speaker":
            return ()
        return (
            "Speaker normalization: frames are standardized within each speaker, test speakers "
            "included, over their own unlabelled utterances.",
        )
