"""Means of MFCCs over 2 s windows every second: the input of the variational RNN."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.features.base import FEATURES, SAMPLING_RATE, FeatureExtractor
from serplatform.features.clip import Clip, num_frames
from serplatform.features.mfcc import Mfcc, MfccConfig


class MfccWindows(FeatureExtractor):
    """Mean over the MFCC frames that lie wholly within each window.

    Baruah and Banerjee, "Speech Emotion Recognition via Generation using an Attention-based
    Variational Recurrent Neural Network", 2022: windows of 2 s every second; what remains
    after the last whole window is ignored. A clip shorter than one window gives one window
    (none is lost): the mean over the frames that it has, because frames of padding zeros
    would write the clip's duration into the mean.

    Shapes: S samples, T windows, D = n_mfcc.

    Args:
        name: of the preset.
        config: of the frames.
        window: seconds.
        hop: seconds.

    Example:
        >>> windows = mfcc_40_window()
        >>> [len(windows.extract(np.zeros(n, dtype=np.float32))) for n in (8000, 32000, 63999)]
        [1, 1, 2]
    """

    unit: ClassVar[str] = "decibels, orthonormal cosine transform (full scale 1), window mean"

    def __init__(
        self, name: str, config: MfccConfig, *, window: float = 2.0, hop: float = 1.0
    ) -> None:
        self.name = name
        self.frames = Mfcc(name, config)
        self.dim = config.n_mfcc
        self.frame_shift = hop
        self.frame_length = window

    def extract(self, samples: FloatArray) -> FloatArray:
        """(S,) samples to (T, D) window means; see the base class."""
        return self.extract_clip(Clip(samples))

    def extract_clip(self, clip: Clip) -> FloatArray:
        """The same, sharing the MFCC frames with other features of the clip."""
        c = self.frames.config
        window = round(self.frame_length * SAMPLING_RATE)  # samples
        hop = round(self.frame_shift * SAMPLING_RATE)
        frames = self.frames.extract_clip(clip)
        per_window = num_frames(window, win_length=c.win_length, hop_length=c.hop_length)
        count = num_frames(len(clip.samples), win_length=window, hop_length=hop)
        firsts = [-(-start * hop // c.hop_length) for start in range(count)]  # rounded up
        means = [
            frames[first : first + per_window].mean(axis=0, dtype=np.float64) for first in firsts
        ]
        return np.stack(means).astype(np.float32)

    def spec(self) -> dict[str, Any]:
        """Everything that determines the values."""
        return {
            **self.frames.spec(),
            "kind": "mfcc_windows",
            "window_seconds": self.frame_length,
            "hop_seconds": self.frame_shift,
            "short_clip": "one window, the mean over the frames there are",
        }

    def gain_offset(self, gain_db: float) -> FloatArray:
        """A gain moves the first coefficient only; the floor is not taken into account."""
        return self.frames.gain_offset(gain_db)


@FEATURES.register("mfcc_40_window", default=True)
def mfcc_40_window() -> MfccWindows:
    """40 coefficients a window."""
    return MfccWindows("mfcc_40_window", MfccConfig())
