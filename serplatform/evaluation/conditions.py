"""Recordings as worse microphones, rooms and lines would give them; every draw is seeded.

Shapes: S samples, float32 mono at 16 kHz, full scale 1.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.corpora.audio import TARGET_RATE
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.recordings import read_recording
from serplatform.errors import BadInputError, unknown_name
from serplatform.seeding import derive_seed

SNRS = (20, 10, 5, 0)  # dB, over the whole clip
RT60S = (0.3, 0.6, 1.0)  # seconds in which reverberation falls by 60 dB
GAIN_DB = 12.0
_TALKERS = 6  # of babble
_BAND = (300.0, 3400.0)  # Hz
_TELEPHONE_RATE = 8000
_TINY = 1e-12

#: (S,) samples, a generator of the row's own, and the row to (S,) samples
_Apply = Callable[[FloatArray, np.random.Generator, int], FloatArray]


@dataclasses.dataclass(frozen=True)
class Condition:
    """One change of the audio; ``group`` is what ``--conditions`` names."""

    group: str
    name: str
    apply: _Apply


def with_noise(samples: FloatArray, noise: FloatArray, snr: float) -> FloatArray:
    """Add (S,) noise so that the powers of clip and noise are ``snr`` dB apart.

    Example:
        >>> clip, noise = np.ones(4, np.float32), np.full(4, 3.0, np.float32)
        >>> [round(float(x), 3) for x in with_noise(clip, noise, 20.0)]
        [1.1, 1.1, 1.1, 1.1]
    """
    power, other = float(np.mean(samples**2)), float(np.mean(noise**2))
    scale = np.sqrt(power / max(other, _TINY) / 10.0 ** (snr / 10.0))
    return np.asarray(samples + scale * noise, dtype=np.float32)


def through_codec(samples: FloatArray, kind: str, subtype: str, rate: int) -> FloatArray:
    """Write and read (S,) samples in a format of libsndfile at ``rate`` Hz."""
    import soundfile
    import soxr

    sent = samples if rate == TARGET_RATE else soxr.resample(samples, TARGET_RATE, rate)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(sent, -1.0, 1.0), rate, format=kind, subtype=subtype)
    buffer.seek(0)
    heard = soundfile.read(buffer, dtype="float32")[0]
    if rate != TARGET_RATE:
        heard = soxr.resample(heard, rate, TARGET_RATE)
    return _of_length(heard, len(samples))


def reverberated(samples: FloatArray, rng: np.random.Generator, rt60: float) -> FloatArray:
    """Convolve with an impulse and a tail of noise of equal energy that decays by 60 dB in ``rt60``
    seconds (Polack's model of diffuse reverberation); the power stays."""
    from scipy.signal import fftconvolve

    time = np.arange(round(rt60 * TARGET_RATE)) / TARGET_RATE
    tail = rng.standard_normal(len(time)) * 10.0 ** (-3.0 * time / rt60)
    tail[0] = 0.0
    response = tail / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    wet = fftconvolve(samples, response)[: len(samples)]
    level = np.sqrt(np.mean(samples**2) / max(float(np.mean(wet**2)), _TINY))
    return np.asarray(level * wet, dtype=np.float32)


def telephone(samples: FloatArray) -> FloatArray:
    """(S,) samples between 300 and 3400 Hz (Butterworth, 4th order, no delay)."""
    from scipy.signal import butter, sosfiltfilt

    filters = butter(4, _BAND, "bandpass", fs=TARGET_RATE, output="sos")
    return np.asarray(sosfiltfilt(filters, samples), dtype=np.float32)


def _of_length(samples: FloatArray, length: int) -> FloatArray:
    """Cut, or fill with silence."""
    return np.pad(samples[:length], (0, max(0, length - len(samples)))).astype(np.float32)


def conditions(
    dataset: Dataset, speakers: Sequence[str], groups: Sequence[str] = ()
) -> list[Condition]:
    """Conditions of some groups; none named: all.

    Args:
        dataset: babble is made of its recordings.
        speakers: of each of its rows; a speaker is never in the babble behind the own voice.
        groups: of ``noise, band, codec, gain, reverb``.

    Raises:
        BadInputError: a group is unknown, or babble has no other speaker.
    """
    import soundfile

    def babble(samples: FloatArray, rng: np.random.Generator, row: int) -> FloatArray:
        others = [i for i, name in enumerate(speakers) if name != speakers[row]]
        total = np.zeros(len(samples), dtype=np.float64)
        for one in rng.choice(others, size=_TALKERS).tolist():
            voice = read_recording(dataset, one)
            voice = np.roll(np.resize(voice, len(samples)), int(rng.integers(len(samples))))
            total += voice / np.sqrt(max(float(np.mean(voice**2)), _TINY))
        return total.astype(np.float32)

    def white(samples: FloatArray, rng: np.random.Generator, row: int) -> FloatArray:
        return rng.standard_normal(len(samples)).astype(np.float32)

    def noisy(noise: _Apply, snr: int) -> _Apply:
        return lambda s, rng, row: with_noise(s, noise(s, rng, row), snr)

    def coded(kind: str, subtype: str, rate: int) -> _Apply:
        return lambda s, rng, row: through_codec(s, kind, subtype, rate)

    def gain(decibels: float, *, clipped: bool) -> _Apply:
        factor = np.float32(10.0 ** (decibels / 20.0))
        return lambda s, rng, row: np.clip(factor * s, -1.0, 1.0) if clipped else factor * s

    def room(rt60: float) -> _Apply:
        return lambda s, rng, row: reverberated(s, rng, rt60)

    found = [
        *(Condition("noise", f"white noise, {snr} dB", noisy(white, snr)) for snr in SNRS),
        *(Condition("noise", f"babble, {snr} dB", noisy(babble, snr)) for snr in SNRS),
        Condition("band", "telephone band", lambda s, rng, row: telephone(s)),
        *(
            Condition("codec", name, coded(kind, subtype, rate))
            for name, kind, subtype, rate in (
                ("MP3", "MP3", "MPEG_LAYER_III", TARGET_RATE),
                ("Opus", "OGG", "OPUS", TARGET_RATE),
                ("GSM 06.10, 8 kHz", "WAV", "GSM610", _TELEPHONE_RATE),
                ("µ-law, 8 kHz", "WAV", "ULAW", _TELEPHONE_RATE),
            )
            if kind in soundfile.available_formats()
            and subtype in soundfile.available_subtypes(kind)
        ),
        Condition("gain", f"+{GAIN_DB:g} dB", gain(GAIN_DB, clipped=False)),
        Condition("gain", f"−{GAIN_DB:g} dB", gain(-GAIN_DB, clipped=False)),
        Condition("gain", f"+{GAIN_DB:g} dB, clipped", gain(GAIN_DB, clipped=True)),
        *(Condition("reverb", f"reverberation, {rt60:g} s", room(rt60)) for rt60 in RT60S),
    ]
    known = list(dict.fromkeys(one.group for one in found))
    if faults := [unknown_name("condition", name, known) for name in groups if name not in known]:
        raise BadInputError("--conditions names unknown ones:", faults)
    chosen = [one for one in found if one.group in (groups or known)]
    if any(one.group == "noise" for one in chosen) and len(set(speakers)) < 2:
        raise BadInputError(
            "babble is made of other speakers of the data, which has one speaker only; leave noise "
            "out of --conditions"
        )
    return chosen


def changed(
    condition: Condition, dataset: Dataset, seed: int
) -> Callable[[FloatArray, int], FloatArray]:
    """The change as a function of samples and row; an utterance gets the same draw whichever rows
    are measured."""

    def change(samples: FloatArray, row: int) -> FloatArray:
        key = derive_seed(seed, "condition", condition.name, dataset.utterance_ids[row])
        return condition.apply(samples, np.random.default_rng(key), row)

    return change
