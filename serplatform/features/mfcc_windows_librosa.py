"""Means of librosa's default MFCCs over 2 s windows every second."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.features.base import FEATURES, SAMPLING_RATE, FeatureExtractor
from serplatform.features.clip import Clip, num_frames

_N_FFT = 2048  # librosa's default; it warns of clips that are shorter


class LibrosaMfccWindows(FeatureExtractor):
    """``librosa.feature.mfcc`` of each window with all its defaults, mean over its frames.

    Baruah and Banerjee, Interspeech 2022, "extract 40 MFCCs using the Librosa library" from each
    window and name no parameter. Read as the library's defaults: 2048-point transforms every
    512 samples, 128 bands, and levels cut at 80 dB below the window's loudest, which keeps
    digital silence from filling the mean; ``mfcc_40_window`` has the 25 ms frames of the other
    papers in their place. At 16 kHz, as everything here, where librosa would load at 22.05 kHz.

    Windows are those of ``mfcc_40_window``: what remains after the last whole one is ignored,
    and a clip shorter than one window gives one.

    Shapes: S samples, T windows, D coefficients.

    Args:
        name: of the preset.
        n_mfcc: D.
        window: seconds.
        hop: seconds.

    Example:
        >>> windows = mfcc_40_window_librosa()
        >>> [len(windows.extract(np.zeros(n, dtype=np.float32))) for n in (8000, 32000, 63999)]
        [1, 1, 2]
    """

    unit: ClassVar[str] = "decibels within 80 of the loudest, orthonormal cosine transform, mean"

    def __init__(
        self, name: str, *, n_mfcc: int = 40, window: float = 2.0, hop: float = 1.0
    ) -> None:
        self.name = name
        self.dim = n_mfcc
        self.frame_shift = hop
        self.frame_length = window

    def extract(self, samples: FloatArray) -> FloatArray:
        """(S,) samples to (T, D) window means; see the base class."""
        return self.extract_clip(Clip(samples))

    def extract_clip(self, clip: Clip) -> FloatArray:
        """See the base class."""
        import librosa

        window = round(self.frame_length * SAMPLING_RATE)  # samples
        hop = round(self.frame_shift * SAMPLING_RATE)
        samples = np.pad(clip.samples, (0, max(0, _N_FFT - len(clip.samples))))
        count = num_frames(len(samples), win_length=window, hop_length=hop)
        means = [
            librosa.feature.mfcc(
                y=samples[start : start + window], sr=SAMPLING_RATE, n_mfcc=self.dim
            ).mean(axis=1, dtype=np.float64)
            for start in range(0, count * hop, hop)
        ]
        return np.stack(means).astype(np.float32)

    def spec(self) -> dict[str, Any]:
        """Everything that determines the values."""
        return {
            "kind": "mfcc_windows_librosa",
            "sampling_rate": SAMPLING_RATE,
            "n_mfcc": self.dim,
            "n_mels": 128,
            "n_fft": _N_FFT,
            "hop_length": 512,
            "window": "hann",
            "center": True,
            "top_db": 80.0,
            "window_seconds": self.frame_length,
            "hop_seconds": self.frame_shift,
            "short_clip": "one window, the mean over the frames there are",
        }

    def gain_offset(self, gain_db: float) -> FloatArray:
        """A gain moves the first coefficient only; the floor is not taken into account."""
        offset = np.zeros(self.dim, dtype=np.float32)
        offset[0] = gain_db * np.sqrt(128)
        return offset


@FEATURES.register("mfcc_40_window_librosa")
def mfcc_40_window_librosa() -> LibrosaMfccWindows:
    """40 coefficients a window."""
    return LibrosaMfccWindows("mfcc_40_window_librosa")
