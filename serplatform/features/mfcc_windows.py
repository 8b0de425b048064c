"""Means of MFCCs over windows that overlap by half: the input of the variational RNN.

Baruah and Banerjee, "Speech Emotion Recognition via Generation using an Attention-based
Variational Recurrent Neural Network", Interspeech 2022, "extract 40 MFCCs using the Librosa
library" from windows of 2 s and name no parameter: ``mfcc_40_window`` has the 25 ms frames of the
other papers, ``mfcc_40_window_librosa`` the library's defaults. Names that end in ``_1s`` and
``_500ms`` have shorter windows.

Shapes: S samples, T windows, D coefficients.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import ClassVar

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.features.base import FEATURES, SAMPLING_RATE, ClipFeature
from serplatform.features.clip import Clip, num_frames
from serplatform.features.mfcc import Mfcc, MfccConfig

#: end of a preset's name → seconds of its windows
LENGTHS = {"": 2.0, "_1s": 1.0, "_500ms": 0.5}
_N_FFT, _NUM_BANDS = 2048, 128  # librosa's defaults; it warns of clips that are shorter


class WindowMeans(ClipFeature):
    """Means of coefficients over windows of some seconds, each half overlapped by the next.

    What remains after the last whole window is ignored, as in the paper. A clip shorter than
    one window gives one window (none is lost): the mean over the frames that it has, because
    frames of padding zeros would write the clip's duration into the mean.
    """

    local: ClassVar[bool] = True

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.frame_length, self.frame_shift = seconds, seconds / 2
        self.window = round(seconds * SAMPLING_RATE)  # samples
        self.hop = self.window // 2

    def extract_clip(self, clip: Clip) -> FloatArray:
        """(T, D) window means, sharing frames with other features of the clip."""
        count = num_frames(len(clip.samples), win_length=self.window, hop_length=self.hop)
        return np.stack(self.means(clip, count)).astype(np.float32)

    @abstractmethod
    def means(self, clip: Clip, count: int) -> list[FloatArray]:
        """(D,) mean over the frames of each of ``count`` windows."""

    def spec(self) -> dict[str, object]:
        """What determines the windows."""
        return {
            "window_seconds": self.frame_length,
            "hop_seconds": self.frame_shift,
            "short_clip": "one window, the mean over the frames there are",
        }


class MfccWindows(WindowMeans):
    """Mean over the MFCC frames that lie wholly within each window."""

    unit: ClassVar[str] = "decibels, orthonormal cosine transform (full scale 1), window mean"

    def __init__(self, name: str, seconds: float, config: MfccConfig) -> None:
        super().__init__(name, seconds)
        self.frames = Mfcc(name, config)
        self.dim = config.n_mfcc

    def means(self, clip: Clip, count: int) -> list[FloatArray]:
        c = self.frames.config
        frames = self.frames.extract_clip(clip)
        per_window = num_frames(self.window, win_length=c.win_length, hop_length=c.hop_length)
        firsts = [-(-start * self.hop // c.hop_length) for start in range(count)]  # rounded up
        return [
            frames[first : first + per_window].mean(axis=0, dtype=np.float64) for first in firsts
        ]

    def spec(self) -> dict[str, object]:
        return {**self.frames.spec(), "kind": "mfcc_windows", **super().spec()}

    def gain_offset(self, gain_db: float) -> FloatArray:
        return self.frames.gain_offset(gain_db)


class LibrosaMfccWindows(WindowMeans):
    """``librosa.feature.mfcc`` of each window with all its defaults, mean over its frames.

    The defaults are 2048-point transforms every 512 samples, 128 bands, and levels cut at 80 dB
    below the window's loudest, which keeps digital silence from filling the mean. At 16 kHz, as
    everything here, where librosa would load at 22.05 kHz.
    """

    unit: ClassVar[str] = "decibels within 80 of the loudest, orthonormal cosine transform, mean"

    dim = 40

    def means(self, clip: Clip, count: int) -> list[FloatArray]:
        import librosa

        samples = np.pad(clip.samples, (0, max(0, _N_FFT - len(clip.samples))))
        return [
            librosa.feature.mfcc(
                y=samples[start : start + self.window], sr=SAMPLING_RATE, n_mfcc=self.dim
            ).mean(axis=1, dtype=np.float64)
            for start in range(0, count * self.hop, self.hop)
        ]

    def spec(self) -> dict[str, object]:
        return {
            "kind": "mfcc_windows_librosa",
            "sampling_rate": SAMPLING_RATE,
            "n_mfcc": self.dim,
            "n_mels": _NUM_BANDS,
            "n_fft": _N_FFT,
            "hop_length": 512,
            "window": "hann",
            "center": True,
            "top_db": 80.0,
            **super().spec(),
        }

    def gain_offset(self, gain_db: float) -> FloatArray:
        """A gain moves the first coefficient only; the floor is not taken into account."""
        offset = np.zeros(self.dim, dtype=np.float32)
        offset[0] = gain_db * np.sqrt(_NUM_BANDS)
        return offset


def _own(name: str, seconds: float) -> MfccWindows:
    """40 coefficients per window, of 25 ms frames."""
    return MfccWindows(name, seconds, MfccConfig())


for _end, _seconds in LENGTHS.items():
    for _name, _make in (("mfcc_40_window", _own), ("mfcc_40_window_librosa", LibrosaMfccWindows)):
        FEATURES.register(f"{_name}{_end}", default=_name + _end == "mfcc_40_window")(
            functools.partial(_make, f"{_name}{_end}", _seconds)
        )
