"""Speak with espeak-ng through its C interface: samples, word times and phone times.

The library travels in the ``espeakng-loader`` package. It keeps state from one utterance to
the next (phases, random numbers), so that the same text sounds a little different each time;
it is therefore loaded anew for each utterance, which takes two milliseconds and makes an
utterance depend on its own settings only. One process speaks one utterance at a time.
"""

from __future__ import annotations

import _ctypes
import ctypes
import dataclasses
import itertools
import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serplatform.corpora.base import Span
from serplatform.errors import SerplatformError

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: call back with samples, play nothing
_PHONEME_EVENTS = 0x0001
_DONT_EXIT = 0x8000  # return an error instead of ending the process
_END, _WORD, _PHONEME = 0, 1, 7  # espeak_EVENT_TYPE
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_UTF8, _CHARACTERS = 1, 1
_SILENCE = "_"  # first character of the names of pauses


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """``espeak_EVENT`` of ``speak_lib.h``."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Mark(NamedTuple):
    """An event: its type, the place of its word in the text (from 1), its first sample."""

    kind: int
    position: int
    sample: int
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speech:
    """What was spoken.

    Attributes:
        samples: (S,), int16.
        sampling_rate: in hertz.
        spans: words and phones, in seconds.
    """

    samples: npt.NDArray[np.int16]
    sampling_rate: int
    spans: tuple[Span, ...]


def speak(
    text: str, *, voice: str, rate: int, pitch: int, pitch_range: int, seed: int = 1
) -> Speech:
    """Speak one sentence.

    Args:
        text: in the voice's language.
        voice: espeak-ng's name, e.g. ``en-us+f2``.
        rate: words per minute, 80 to 450.
        pitch: 0 to 99, 50 is the voice's own.
        pitch_range: 0 (monotone) to 99, 50 is the voice's own.
        seed: of the library's random numbers.

    Raises:
        SerplatformError: the library fails or does not know the voice.
    """
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    chunks: list[npt.NDArray[np.int16]] = []
    events: list[_Mark] = []

    def receive(samples: ctypes._Pointer, count: int, event: ctypes._Pointer) -> int:  # type: ignore[type-arg]
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for e in itertools.takewhile(
            lambda e: e.type != _END, map(event.__getitem__, itertools.count())
        ):
            name = e.id.string if e.type == _PHONEME else b""
            events.append(_Mark(e.type, e.text_position, e.sample, name.decode(errors="replace")))
        return 0

    callback = _CALLBACK(receive)
    try:
        sampling_rate = library.espeak_Initialize(
            _SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _DONT_EXIT | _PHONEME_EVENTS
        )
        if sampling_rate <= 0:
            raise SerplatformError("espeak-ng does not start; install espeakng-loader again")
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SerplatformError(f"espeak-ng has no voice '{voice}'")
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
            library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        status = library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded) + 1), 0, _CHARACTERS, 0, _UTF8, None, None
        )
        if status != 0 or library.espeak_Synchronize() != 0 or not chunks:
            raise SerplatformError(f"espeak-ng could not speak {text!r} with voice '{voice}'")
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)
    samples = np.concatenate(chunks)
    spans = _spans(text, events, len(samples), sampling_rate)
    return Speech(samples=samples, sampling_rate=sampling_rate, spans=spans)


def _spans(text: str, marks: list[_Mark], num_samples: int, sampling_rate: int) -> tuple[Span, ...]:
    """Turn events, which mark beginnings, into spans; pauses belong to no word."""
    phones = [mark for mark in marks if mark.kind == _PHONEME]
    words = [mark for mark in marks if mark.kind == _WORD]
    pauses = [mark.sample for mark in phones if mark.name.startswith(_SILENCE)]

    def end_of(marks: list[_Mark], index: int) -> int:
        following = marks[index + 1].sample if index + 1 < len(marks) else num_samples
        return min([following, *(pause for pause in pauses if pause > marks[index].sample)])

    def span(tier: str, label: str, first: float, last: float) -> Span:
        return Span(tier, label, first / sampling_rate, last / sampling_rate)

    spans = []
    for index, mark in enumerate(words):
        until = words[index + 1].position - 1 if index + 1 < len(words) else len(text)
        spoken = re.findall(r"[^\s.,;:!?]+", text[mark.position - 1 : until])
        # espeak-ng speaks some pairs ("on the") as one word: divide its time by their letters
        step = (end_of(words, index) - mark.sample) / max(1, sum(map(len, spoken)))
        begin = float(mark.sample)
        for word in spoken:
            spans.append(span("word", word, begin, begin + step * len(word)))
            begin += step * len(word)
    for index, mark in enumerate(phones):
        if not mark.name.startswith(_SILENCE):
            spans.append(span("phone", mark.name, mark.sample, end_of(phones, index)))
    return tuple(s for s in spans if s.end > s.start)
