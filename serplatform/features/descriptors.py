r"""Acoustic descriptors of a voice and their functionals, by formulas of the literature.

``descriptors_lld``: every 10 ms, from windows of 25 ms and, for what depends on the pitch, of
48 ms around the same middle; ``descriptors``: one vector an utterance, for ``svm``, ``lda``,
``logistic`` and ``functionals_mlp``. In spirit the sets of openSMILE (Eyben et al., "The Geneva
Minimalistic Acoustic Parameter Set (GeMAPS) for Voice Research and Affective Computing", IEEE
Transactions on Affective Computing 7(2), 2016; Schuller et al., "The INTERSPEECH 2016
Computational Paralinguistics Challenge"), with no value copied from them; NumPy and SciPy alone.

P(f) is the power at frequency f of the 25 ms window, p(f) = P(f) / ΣP, M_b the mel power of band b
of ``log_mel_40``, V(f) the power of the 48 ms window, dB = 10 log10. Of voiced frames, 0 elsewhere:

=============  =====  =============================================================================
f0             st     pitch in semitones above 27.5 Hz, see :mod:`.voice` (Boersma 1993)
hnr            dB     harmonics to noise, dB(r / (1 - r)) of the autocorrelation r (Boersma 1993)
cpp            dB     cepstral peak prominence: the highest cepstral peak of 2 to 16 ms above the
                      line of regression (Hillenbrand et al., J. Speech Hear. Res. 37, 1994)
jitter         1      change from period to period (:func:`.voice.perturbation`, Praat's "local")
shimmer        1      change of the peak from period to period
h1_h2, h2_h4   dB     first harmonic above the second, second above the fourth; V at its highest
                      near the harmonic (Hanson, J. Acoust. Soc. Am. 101, 1997; Kreiman et al. 2014)
h1_a1 … h1_a3  dB     first harmonic above the highest V in 0.3-1, 1-2.2, 2.2-3.6 kHz, where the
                      first three formants mostly lie (Hanson 1997)
=============  =====  =============================================================================

Of all frames:

===============  =====  ===========================================================================
voicing          1      highest autocorrelation at any period: 1 for a periodic wave
level            dB     dB(ΣP)
loudness         -      Σ M_b^0.3 (Zwicker and Fastl, "Psychoacoustics", 1990: loudness ∝ I^0.3)
sharpness        1      centroid of M_b^0.3 over bands, 0 to 1 (after Zwicker and Fastl)
onset            -      Σ of what M_b^0.3 rose by since the last frame
centroid …       Hz     mean, deviation (spread) and skewness (skew, 1) of f with weights p(f)
                        (Peeters, "A large set of audio features for sound description", 2004)
rolloff_25 …     Hz     below it lies a quarter, half, 75 % and 90 % of the power (Peeters 2004)
flatness         neper  mean of ln P less ln of mean P (Gray and Markel, IEEE ASSP 22, 1974)
entropy          neper  -Σ p ln p (Misra et al., ICASSP 2004)
flux             1      Σ (sqrt p(f) - that of the last frame)² (after Peeters 2004)
slope_0 …        dB/kHz line of regression through dB(P): 0-500, 500-1500, 1000-5500 Hz (GeMAPS)
alpha_ratio      dB     power of 1-5 kHz over that of 50-1000 Hz (GeMAPS)
hammarberg       dB     highest P below 2 kHz over that in 2-5 kHz (Hammarberg et al., Acta
                        Otolaryngologica 90, 1980)
band_250 …       dB     power of 250-650 Hz, 1-4 kHz and 4-8 kHz over ΣP (ComParE)
mfcc_1 … 12      dB     those of ``mfcc_40``, from 40 bands (Davis and Mermelstein 1980)
===============  =====  ===========================================================================

Speech frames, over which the functionals of the latter are taken, are at most 30 dB below the
loudest one. An utterance without a voiced frame has 0 in all functionals of the former.

Shapes: T frames, F frequency bins, N frames of them, D descriptors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import scipy  # its parts are imported when they are used

from serplatform.arrays import DoubleArray, FloatArray, IntArray
from serplatform.features.base import FEATURES, SAMPLING_RATE, WHOLE_UTTERANCE, ClipFeature
from serplatform.features.clip import Clip
from serplatform.features.mel import FLOOR, MelConfig, mel_filters
from serplatform.features.voice import (
    LONGEST,
    N_FFT,
    BoolArray,
    perturbation,
    runs,
    track_pitch,
    voice_spectrum,
)

#: changes when a value changes
VERSION = 1

OF_VOICE = (
    "f0", "hnr", "cpp", "jitter", "shimmer", "h1_h2", "h2_h4", "h1_a1", "h1_a2", "h1_a3",
)  # fmt: skip
OF_SPEECH = (
    "voicing", "level", "loudness", "sharpness", "onset", "centroid", "spread", "skew",
    "rolloff_25", "rolloff_50", "rolloff_75", "rolloff_90", "flatness", "entropy", "flux",
    "slope_0", "slope_500", "slope_1000", "alpha_ratio", "hammarberg", "band_250", "band_1000",
    "band_4000",
    *(f"mfcc_{i}" for i in range(1, 13)),
)  # fmt: skip
#: the functionals of a descriptor, and of its slope over five frames
FUNCTIONALS = (
    "mean", "deviation", "p5", "p20", "p50", "p80", "p95", "range_5_95", "range_20_80", "skewness",
    "kurtosis", "rise", "bend",
)  # fmt: skip
DELTA_FUNCTIONALS = ("deviation", "p5", "p20", "p50", "p80", "p95")
#: of the course of an utterance
TEMPORAL = (
    "duration", "speech_share", "voiced_share", "voiced_segments_per_second", "voiced_length",
    "voiced_length_deviation", "pause_length", "pauses_per_second", "peaks_per_second",
)  # fmt: skip

_MEL = MelConfig(n_mels=40)
_HOP, _CENTRE = _MEL.hop_length, _MEL.win_length // 2
_FREQUENCY = np.arange(_MEL.n_fft // 2 + 1) * SAMPLING_RATE / _MEL.n_fft
_BLOCK = 2048  # frames at a time, to bound the memory
_SPEECH_DB = 30.0  # below the loudest frame
_PERCENTILES = (5, 20, 50, 80, 95)
_FIRST_QUEFRENCY = 32  # samples: 2 ms
_PEAK_DB = 3.0  # by which a peak of the level stands out


class Descriptors(ClipFeature):
    """D = 45 descriptors every 10 ms; those of the voice are 0 where there is none.

    Example:
        >>> time = np.arange(16_000) / 16_000
        >>> wave = sum(np.sin(2 * np.pi * 200 * k * time) / k for k in range(1, 9))
        >>> pitch = descriptors_lld().extract(wave.astype(np.float32))[40, 0]
        >>> round(27.5 * 2 ** (float(pitch) / 12))
        200
    """

    name = "descriptors_lld"
    dim = len(OF_VOICE) + len(OF_SPEECH)
    frame_shift = _HOP / SAMPLING_RATE
    frame_length = _MEL.win_length / SAMPLING_RATE
    unit: ClassVar[str] = "acoustic descriptors, each in its own unit"

    def extract_clip(self, clip: Clip) -> FloatArray:
        """(T, D), computed once a clip; see the base class."""
        return clip.shared(self.name, lambda: _frames(clip))

    def spec(self) -> dict[str, object]:
        return {
            "kind": self.name,
            "version": VERSION,
            "sampling_rate": SAMPLING_RATE,
            "descriptors": [*OF_VOICE, *OF_SPEECH],
        }


class DescriptorFunctionals(ClipFeature):
    """Functionals of the descriptors, over voiced frames or those of speech; one vector.

    For each descriptor :data:`FUNCTIONALS`: ``rise`` and ``bend`` are the coefficients of t and of
    t² in a fit by 1, t and t², t from -1/2 in the first frame that counts to 1/2 in the last. For
    its slope over five frames and for those of the 40 log mel bands :data:`DELTA_FUNCTIONALS`.
    Then :data:`TEMPORAL`, in seconds, shares of 1, or numbers a second from the first to the last
    speech frame: voiced segments, pauses between speech frames, peaks of the smoothed level
    that stand out by 3 dB.
    """

    name = "descriptors"
    dim = Descriptors.dim * len(FUNCTIONALS) + len(TEMPORAL)
    dim += (Descriptors.dim + _MEL.n_mels) * len(DELTA_FUNCTIONALS)
    frame_shift = WHOLE_UTTERANCE
    frame_length = WHOLE_UTTERANCE
    unit: ClassVar[str] = "functionals of acoustic descriptors, each in its own unit"

    def extract_clip(self, clip: Clip) -> FloatArray:
        frames = descriptors_lld().extract_clip(clip).astype(np.float64)
        voice, rest = np.split(frames, [len(OF_VOICE)], axis=1)
        level = rest[:, OF_SPEECH.index("level")]
        speech, voiced = level >= level.max() - _SPEECH_DB, voice[:, 0] > 0.0
        rest_and_mel = np.concatenate([rest, _decibels(_mel_powers(clip))], axis=1)
        values = [
            _functionals(voice[voiced]),
            _functionals(rest[speech]),
            _delta_functionals(voice, voiced),
            _delta_functionals(rest_and_mel, speech),
            _temporal(level, speech, voiced),
        ]
        return np.concatenate(values)[None].astype(np.float32)

    def spec(self) -> dict[str, object]:
        return {
            **descriptors_lld().spec(),
            "kind": self.name,
            "functionals": list(FUNCTIONALS),
            "delta_functionals": list(DELTA_FUNCTIONALS),
            "temporal": list(TEMPORAL),
        }


def _mel_powers(clip: Clip) -> FloatArray:
    power = _power(clip)
    bands: FloatArray = power @ _mel_filters()
    return bands


def _mel_filters() -> FloatArray:
    return mel_filters(n_fft=_MEL.n_fft, n_mels=_MEL.n_mels, fmin=_MEL.fmin, fmax=_MEL.fmax)


def _power(clip: Clip) -> FloatArray:
    return clip.power_spectrum(
        n_fft=_MEL.n_fft, win_length=_MEL.win_length, hop_length=_MEL.hop_length
    )


def _frames(clip: Clip) -> FloatArray:
    """(T, D) descriptors."""
    power = _power(clip)
    long = voice_spectrum(clip.samples, len(power), hop_length=_HOP, centre=_CENTRE)
    pitch = track_pitch(long)
    jitter, shimmer = perturbation(clip.samples, pitch, hop_length=_HOP, centre=_CENTRE)
    f0 = SAMPLING_RATE / pitch.period.astype(np.float64)
    h1, h2, h4 = (_harmonic(long, f0 * k) for k in (1, 2, 4))
    a1, a2, a3 = (
        _decibels(long[:, _bins(low, high)].max(axis=1))
        for low, high in ((300, 1000), (1000, 2200), (2200, 3600))
    )
    harmonic = pitch.harmonicity.clip(1e-5, 1.0 - 1e-5)
    voice = np.stack(
        [
            12.0 * np.log2(f0 / 27.5),
            _decibels(harmonic / (1.0 - harmonic)),
            _by_blocks(_cepstral_peak, long)[:, 0],
            jitter,
            shimmer,
            h1 - h2,
            h2 - h4,
            h1 - a1,
            h1 - a2,
            h1 - a3,
        ],
        axis=1,
    )
    voice[~pitch.voiced] = 0.0
    columns = [voice, pitch.voicing[:, None], _by_blocks(_spectral, power)]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _decibels(power: Any) -> Any:
    return 10.0 * np.log10(np.maximum(power, FLOOR))


def _by_blocks(function: Callable[[DoubleArray], DoubleArray], power: FloatArray) -> DoubleArray:
    """Rows that ``function`` makes of blocks of frames; it also sees the frame before a block."""
    parts = []
    for i in range(0, len(power), _BLOCK):
        before = min(i, 1)
        parts.append(function(power[i - before : i + _BLOCK].astype(np.float64))[before:])
    return np.concatenate(parts)


def _bins(low: float, high: float) -> slice:
    """Bins of the 48 ms window from one frequency to another, in hertz."""
    return slice(round(low * N_FFT / SAMPLING_RATE), round(high * N_FFT / SAMPLING_RATE) + 1)


def _harmonic(power: FloatArray, frequency: DoubleArray) -> DoubleArray:
    """(T,) dB of the highest of the five bins around (T,) frequencies in hertz."""
    middle = np.rint(frequency * N_FFT / SAMPLING_RATE).astype(np.int64)
    near = (middle[:, None] + np.arange(-2, 3)).clip(0, power.shape[1] - 1)
    found: DoubleArray = _decibels(np.take_along_axis(power, near, axis=1).max(axis=1))
    return found


def _cepstral_peak(power: DoubleArray) -> DoubleArray:
    """(N, 1) dB of the highest peak of the cepstrum above its line of regression."""
    spectrum = _decibels(power)
    lowest = int((power > 0).any(axis=0).argmax())
    spectrum[:, :lowest] = spectrum[:, lowest : lowest + 1]  # what was left out has no edge
    cepstrum = _decibels(np.square(scipy.fft.irfft(spectrum, axis=1)[:, _FIRST_QUEFRENCY:LONGEST]))
    line = _line(np.arange(cepstrum.shape[1]), cepstrum)
    peak = cepstrum.argmax(axis=1)
    rows = np.arange(len(cepstrum))
    return (cepstrum - line)[rows, peak][:, None]


def _line(x: DoubleArray | IntArray, rows: DoubleArray) -> DoubleArray:
    """Each row's line of regression through x, at x."""
    centred = x - x.mean()
    slope = rows @ centred / np.square(centred).sum()
    return rows.mean(axis=1)[:, None] + slope[:, None] * centred


def _slope(spectrum: DoubleArray, low: float, high: float) -> DoubleArray:
    """(N,) dB per kHz of the line of regression from one frequency to another, in hertz."""
    at = (low <= _FREQUENCY) & (high >= _FREQUENCY)
    khz = _FREQUENCY[at] / 1000 - _FREQUENCY[at].mean() / 1000
    found: DoubleArray = spectrum[:, at] @ khz / np.square(khz).sum()
    return found


def _spectral(power: DoubleArray) -> DoubleArray:
    """(N, 34) the descriptors of all frames after ``voicing``."""
    total = np.maximum(power.sum(axis=1), FLOOR)
    share = power / total[:, None]
    spectrum = _decibels(power)
    mel = power @ _mel_filters()
    specific = np.maximum(mel, 0.0) ** 0.3
    loudness = specific.sum(axis=1)
    place = np.linspace(0.0, 1.0, _MEL.n_mels)
    rise = np.diff(specific, axis=0, prepend=specific[:1]).clip(min=0.0).sum(axis=1)
    centroid = share @ _FREQUENCY
    away = _FREQUENCY - centroid[:, None]
    spread = np.sqrt((share * away**2).sum(axis=1))
    skew = (share * away**3).sum(axis=1) / np.maximum(spread, 1.0) ** 3
    reached = np.cumsum(share, axis=1)
    rolloff = [_FREQUENCY[(reached < part).sum(axis=1).clip(max=len(_FREQUENCY) - 1)]
               for part in (0.25, 0.5, 0.75, 0.9)]  # fmt: skip
    flatness = np.log(np.maximum(power, FLOOR)).mean(axis=1)
    flatness -= np.log(np.maximum(power.mean(axis=1), FLOOR))
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(axis=1)
    root = np.sqrt(share)
    flux = np.square(np.diff(root, axis=0, prepend=root[:1])).sum(axis=1)

    def band(low: float, high: float) -> DoubleArray:
        inside = (low <= _FREQUENCY) & (high > _FREQUENCY)
        found: DoubleArray = power[:, inside].sum(axis=1)
        return found

    low = (_FREQUENCY < 2000), (_FREQUENCY >= 2000) & (_FREQUENCY < 5000)
    hammarberg = spectrum[:, low[0]].max(axis=1) - spectrum[:, low[1]].max(axis=1)
    level = _decibels(total)
    columns = [
        level,
        loudness,
        specific @ place / np.maximum(loudness, 1e-12),
        rise,
        centroid,
        spread,
        skew,
        *rolloff,
        flatness,
        entropy,
        flux,
        *(_slope(spectrum, *ends) for ends in ((0, 500), (500, 1500), (1000, 5500))),
        _decibels(band(1000, 5000)) - _decibels(band(50, 1000)),
        hammarberg,
        *(_decibels(band(*ends)) - level for ends in ((250, 650), (1000, 4000), (4000, 8001))),
    ]
    mfcc = scipy.fft.dct(_decibels(mel), type=2, norm="ortho", axis=1)[:, 1:13]
    return np.concatenate([np.stack(columns, axis=1), mfcc], axis=1)


def _functionals(values: DoubleArray) -> DoubleArray:
    """:data:`FUNCTIONALS` of each of the columns of (N, D); zeros where N is 0."""
    if not len(values):
        return np.zeros(values.shape[1] * len(FUNCTIONALS))
    percentiles = np.percentile(values, _PERCENTILES, axis=0)
    mean, std = values.mean(axis=0), values.std(axis=0)
    standard = (values - mean) / np.maximum(std, 1e-9)
    time = np.linspace(-0.5, 0.5, len(values))
    basis = np.stack([np.ones(len(values)), time, time**2], axis=1)
    _, rise, bend = np.linalg.lstsq(basis, values, rcond=None)[0]
    rows = [
        mean,
        std,
        *percentiles,
        percentiles[4] - percentiles[0],
        percentiles[3] - percentiles[1],
        (standard**3).mean(axis=0),
        (standard**4).mean(axis=0),
        rise,
        bend,
    ]
    return np.concatenate(rows)


def _delta_functionals(values: DoubleArray, counts: BoolArray) -> DoubleArray:
    """:data:`DELTA_FUNCTIONALS` of the slopes of (T, D) over five frames that all count."""
    padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
    num_frames = len(values)
    slope = np.zeros_like(values)
    for n in (-2, -1, 1, 2):
        slope += n / 10.0 * padded[2 + n : 2 + n + num_frames]
    inside = np.pad(counts, 2)
    whole = np.all([inside[i : i + num_frames] for i in range(5)], axis=0)
    if not whole.any():
        return np.zeros(values.shape[1] * len(DELTA_FUNCTIONALS))
    found = slope[whole]
    return np.concatenate([found.std(axis=0), *np.percentile(found, _PERCENTILES, axis=0)])


def _temporal(level: DoubleArray, speech: BoolArray, voiced: BoolArray) -> DoubleArray:
    """:data:`TEMPORAL`."""
    shift = _HOP / SAMPLING_RATE
    at = np.flatnonzero(speech)
    first, last = int(at[0]), int(at[-1]) + 1
    seconds = (last - first) * shift
    lengths = np.array([b - a for a, b in runs(voiced[first:last])], float) * shift
    pauses = np.array([b - a for a, b in runs(~speech[first:last])], float) * shift
    smooth = scipy.signal.savgol_filter(level, 11, 2) if len(level) >= 11 else level
    peaks, _ = scipy.signal.find_peaks(smooth[first:last], prominence=_PEAK_DB)
    return np.array(
        [
            len(level) * shift,
            speech.mean(),
            voiced[first:last].mean(),
            len(lengths) / seconds,
            lengths.mean() if len(lengths) else 0.0,
            lengths.std() if len(lengths) else 0.0,
            pauses.mean() if len(pauses) else 0.0,
            len(pauses) / seconds,
            len(peaks) / seconds,
        ]
    )


@FEATURES.register("descriptors_lld")
def descriptors_lld() -> Descriptors:
    """Make the extractor of the descriptors of frames."""
    return Descriptors()


@FEATURES.register("descriptors", default=True)
def descriptors() -> DescriptorFunctionals:
    """Make the extractor of their functionals."""
    return DescriptorFunctionals()
