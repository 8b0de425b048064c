"""What a page needs to show one utterance: spectrogram, audio, words, phones, attention curves.

Everything is JSON: a spectrogram is a base64 text of one byte a cell, audio is FLAC at 16 kHz
(which every browser plays, without a loss and without the delay that MP3 adds).

Shapes: S samples, T frames, M mel bands.
"""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from serplatform.alignment.phone_classes import phone_class
from serplatform.alignment.tidy import is_special
from serplatform.arrays import FloatArray
from serplatform.artifacts.explanations import (
    CurveRecord,
    PredictionRecord,
    ShownRecord,
    SoundRecord,
    SpectrogramRecord,
    TrackRecord,
)
from serplatform.corpora.audio import TARGET_RATE, AudioError
from serplatform.datasets.dataset import Dataset
from serplatform.datasets.recordings import read_recording, recording_path
from serplatform.explanations.attention import LEAST_AGREEMENT
from serplatform.explanations.probe_request import SHOWN_SECONDS, ProbeRequest
from serplatform.features.log_mel import LogMel
from serplatform.features.mel import MelConfig, mel_filters

#: range of the spectrogram below its loudest cell
RANGE_DB = 70.0
_BANDS = 64
_TICKS = (250, 500, 1000, 2000, 4000)
_DECIBELS = 10.0 / np.log(10.0)  # of a natural logarithm of power


def read_samples(dataset: Dataset, row: int) -> FloatArray | str:
    """The samples of a row, or why its recording cannot be read."""
    try:
        return read_recording(dataset, row, SHOWN_SECONDS)
    except AudioError as error:
        return f"{recording_path(dataset, row).name}: {error}"


def encode_audio(samples: FloatArray) -> SoundRecord:
    """Samples as FLAC (16 bits, 16 kHz) in base64; those beyond full scale are clipped."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.clip(samples, -1.0, 1.0), TARGET_RATE, format="FLAC", subtype="PCM_16"
    )
    return {
        "mime": "audio/flac",
        "base64": base64.b64encode(buffer.getvalue()).decode("ascii"),
        "seconds": round(len(samples) / TARGET_RATE, 4),
    }


def spectrogram(dataset: Dataset, row: int, samples: FloatArray | None) -> SpectrogramRecord | None:
    """A mel spectrogram of a row, from its audio or a stored feature; None without either.

    ``values`` is base64 of (M, T) bytes, the lowest band first, 0 to 255 over the range
    ``low_db``..``high_db``; ``start`` and ``shift`` of the frames' centres are in seconds.
    """
    config = MelConfig(n_mels=_BANDS)
    if samples is not None:
        extractor = LogMel("picture", config)
        values = extractor.extract(samples)
        shift, length = extractor.frame_shift, extractor.frame_length
    else:
        infos = map(dataset.feature_info, dataset.feature_names)
        stored = [info for info in infos if info.spec.get("kind") == "log_mel"]
        if not stored:
            return None
        info = max(stored, key=lambda found: found.dim)
        names = {field.name for field in dataclasses.fields(config)}
        given: Any = {name: value for name, value in info.spec.items() if name in names}
        config = MelConfig(**given)
        shift, length = info.frame_shift, info.frame_length
        values = dataset.frames(info.name, row)[: int(SHOWN_SECONDS / shift)]
    decibels = values.astype(np.float64) * _DECIBELS
    high = float(decibels.max())
    low = max(float(decibels.min()), high - RANGE_DB)
    scaled = np.clip((decibels - low) / max(high - low, 1e-9), 0.0, 1.0)
    cells = np.round(scaled.T * 255).astype(np.uint8)  # (M, T)
    return {
        "values": base64.b64encode(np.ascontiguousarray(cells).tobytes()).decode("ascii"),
        "bands": int(cells.shape[0]),
        "frames": int(cells.shape[1]),
        "start": round(length / 2, 6),
        "shift": shift,
        "low_db": round(low, 2),
        "high_db": round(high, 2),
        "ticks": _ticks(config),
    }


def _ticks(config: MelConfig) -> list[list[float]]:
    """Pairs of hertz and the band, between two where need be, that has it in its middle."""
    filters = mel_filters(
        n_fft=config.n_fft, n_mels=config.n_mels, fmin=config.fmin, fmax=config.fmax
    )  # (bins, M)
    hertz = np.arange(filters.shape[0]) * TARGET_RATE / config.n_fft
    middles = (filters * hertz[:, None]).sum(axis=0) / np.maximum(filters.sum(axis=0), 1e-12)
    bands = np.arange(len(middles))
    return [
        [tick, round(float(np.interp(tick, middles, bands)), 3)]
        for tick in _TICKS
        if middles[0] <= tick <= middles[-1]
    ]


def shown_words(request: ProbeRequest, row: int) -> list[list[Any]]:
    """Label, start and end of each word that is shown."""
    seconds = request.shown_seconds(row)
    return [
        [s.label, round(s.start, 4), round(min(s.end, seconds), 4)]
        for s in request.words.get(row, [])
        if s.start < seconds and not is_special(s.label)
    ]


def shown_phones(request: ProbeRequest, row: int) -> list[list[Any]]:
    """Label, start, end and class of each phone that is shown, silence left out."""
    seconds = request.shown_seconds(row)
    return [
        [s.label, round(s.start, 4), round(min(s.end, seconds), 4), kind]
        for s in request.phones.get(row, [])
        if s.start < seconds and (kind := phone_class(s.label, request.notation)) != "silence"
    ]


def example_utterance(
    request: ProbeRequest,
    row: int,
    *,
    predictions: Sequence[PredictionRecord],
    curves: Sequence[CurveRecord],
    tracks: Sequence[TrackRecord],
    with_audio: bool,
) -> ShownRecord:
    """Everything the page shows of one of ``request.examples``, for ``utterances.json``."""
    dataset, agreement = request.dataset, request.agreement.get(row)
    table = dataset.utterances
    seconds = request.shown_seconds(row)
    samples = read_samples(dataset, row)
    audio = None if isinstance(samples, str) else samples
    return {
        "utterance_id": dataset.utterance_ids[row],
        "speaker_id": dataset.speaker_ids[row],
        "text": table.column("text")[row].as_py(),
        "truth": request.truth(row),
        "fold": request.examples[row],
        "duration": round(float(table.column("duration")[row].as_py()), 4),
        "shown": round(seconds, 4),
        "predictions": list(predictions),
        "words": shown_words(request, row),
        "phones": shown_phones(request, row),
        "misaligned": agreement is not None and agreement < LEAST_AGREEMENT,
        "curves": list(curves),
        "tracks": list(tracks),
        "spectrogram": spectrogram(dataset, row, audio),
        "audio": encode_audio(audio) if with_audio and audio is not None else None,
        "audio_fault": samples if isinstance(samples, str) else None,
    }
