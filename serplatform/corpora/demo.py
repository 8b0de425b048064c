"""The built-in demo corpus: espeak-ng speaks short sentences in several voices and moods."""

from __future__ import annotations

import _ctypes
import ctypes
import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serplatform.corpora.audio import TARGET_RATE
from serplatform.corpora.base import CORPORA, Corpus, Manifest, Span, Utterance
from serplatform.errors import BadInputError, SerplatformError
from serplatform.seeding import derive_seed

#: voice variants of espeak-ng, of men and women in turn
_VOICES = ("m3", "f2", "m1", "f4", "m7", "f1", "m5", "f3")
_SUBJECTS = ("dogs", "kids", "birds", "boats", "trains", "horses", "guests", "nurses")
_VERBS = ("waited", "passed", "rested", "gathered", "stopped")
_PLACES = ("by the door", "near the lake", "on the hill", "at the gate", "in the rain", "down town")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mood:
    """How a voice changes; pitch and its range in espeak-ng's points, rate in words a minute."""

    pitch: float
    pitch_range: float
    rate: float
    loudness_db: float


_MOODS = {
    "neutral": Mood(pitch=0.0, pitch_range=0.0, rate=0.0, loudness_db=0.0),
    "happy": Mood(pitch=14.0, pitch_range=26.0, rate=14.0, loudness_db=1.5),
    "sad": Mood(pitch=-9.0, pitch_range=-22.0, rate=-34.0, loudness_db=-4.0),
    "angry": Mood(pitch=2.0, pitch_range=8.0, rate=30.0, loudness_db=5.0),
}
#: standard deviation of an utterance around its mood, so that the moods overlap
_SPREAD = Mood(pitch=6.0, pitch_range=12.0, rate=12.0, loudness_db=2.0)
#: standard deviation of a speaker around its voice
_SPEAKER_SPREAD = Mood(pitch=6.0, pitch_range=6.0, rate=8.0, loudness_db=2.0)
_RATE = 190.0  # words a minute
_GAIN_DB = -8.0  # leaves room for loud moods
_NOISE_DB = -65.0  # of the background, dBFS

# of espeak-ng's C interface, speak_lib.h; the library travels in the package espeakng-loader
_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: call back with samples, play nothing
_PHONEME_EVENTS = 0x0001
_DONT_EXIT = 0x8000  # return an error instead of ending the process
_END, _WORD, _PHONEME = 0, 1, 7  # espeak_EVENT_TYPE
_PARAMETERS = (1, 3, 4)  # espeak_PARAMETER: rate, pitch, range
_UTF8, _CHARACTERS = 1, 1
_SILENCE = "_"  # first character of the names of pauses


@CORPORA.register("demo")
class Demo(Corpus):
    """Synthetic speech; results on it say that the software works, and nothing on emotion.

    Each emotion shifts pitch, pitch range, rate and loudness; speakers and utterances deviate
    from that by independent Gaussians, so that the classes overlap. Each sentence is spoken in
    each emotion: the words carry no information. Word and phone times come with the speech.
    Beyond eight speakers, voices recur with another pitch and rate.
    """

    title = "Demo"
    language = "en"
    licence = "none needed (made on your machine by espeak-ng)"
    size = "any (288 clips by default)"
    obtain = "built in: serplatform prepare demo --out DIR"
    default_protocol = "speaker-kfold:4"
    classes = tuple(_MOODS)
    needs_source = False

    def __init__(self, *, utterances: int = 288, speakers: int = 8, seed: int = 0) -> None:
        errors = [
            f"--{name} {value}: must be a whole number of at least {least}"
            for name, value, least in (
                ("speakers", speakers, 1),
                ("utterances", utterances, 1),
                ("seed", seed, 0),
            )
            if not isinstance(value, int) or value < least
        ]
        if errors:
            raise BadInputError("the demo corpus cannot be made:", errors)
        self.utterances = utterances
        self.speakers = speakers
        self.seed = seed

    def scan(self, source: Path) -> Manifest:
        """List what will be spoken; ``source`` is the dataset, whose ``audio/`` takes the clips."""
        moods = tuple(_MOODS)
        sentences = _sentences(self.seed)
        listed = []
        for number in range(self.utterances):
            take, place = divmod(number, len(moods) * self.speakers)
            speaker, mood = divmod(place, len(moods))
            speaker_id = f"speaker_{speaker:02d}"
            utterance_id = f"demo_{number:06d}_{speaker_id}_{moods[mood]}"
            listed.append(
                Utterance(
                    utterance_id=utterance_id,
                    path=source / "audio" / speaker_id / f"{utterance_id}.flac",
                    speaker_id=speaker_id,
                    emotion=moods[mood],
                    gender=("male", "female")[speaker % 2],
                    text=sentences[take % len(sentences)],
                    language="en",
                )
            )
        note = "synthetic speech (espeak-ng): its results say nothing about real emotion"
        return Manifest(utterances=tuple(listed), notes=(note,), synthetic=True)

    def root(self, source: Path) -> Path:
        """Paths are relative to the dataset."""
        return source

    def render(self, utterance: Utterance) -> Utterance:
        """Speak the utterance into its file: 16 kHz, 16 bit, FLAC."""
        import soundfile
        import soxr

        speaker = int(utterance.speaker_id.rsplit("_", 1)[1])
        mood = _MOODS[utterance.emotion]
        own = np.random.default_rng(derive_seed(self.seed, "utterance", utterance.utterance_id))
        voice = np.random.default_rng(derive_seed(self.seed, "speaker", speaker))
        base = voice.standard_normal(4)
        draw = own.standard_normal(4)

        def value(field: str, position: int, centre: float, low: float, high: float) -> float:
            changed = (
                centre
                + getattr(mood, field)
                + getattr(_SPEAKER_SPREAD, field) * base[position]
                + getattr(_SPREAD, field) * draw[position]
            )
            return float(np.clip(changed, low, high))

        spoken, rate, spans = speak(
            utterance.text or "",
            voice=f"en-us+{_VOICES[speaker % len(_VOICES)]}",
            rate=round(value("rate", 2, _RATE, 90, 320)),
            pitch=round(value("pitch", 0, 45.0, 0, 99)),
            pitch_range=round(value("pitch_range", 1, 45.0, 0, 99)),
            seed=1 + derive_seed(self.seed, "espeak", utterance.utterance_id) % 2**15,
        )
        gain = 10.0 ** (value("loudness_db", 3, _GAIN_DB, -30.0, 6.0) / 20.0)
        samples = spoken.astype(np.float32) / np.float32(32768.0)
        samples = soxr.resample(samples, rate, TARGET_RATE) * np.float32(gain)
        noise = own.standard_normal(len(samples), dtype=np.float32)
        samples += np.float32(10.0 ** (_NOISE_DB / 20.0)) * noise
        utterance.path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(
            utterance.path, np.clip(samples, -1.0, 32767 / 32768), TARGET_RATE, subtype="PCM_16"
        )
        return dataclasses.replace(utterance, spans=spans)

    def suits_default(self, utterances: Sequence[Utterance]) -> bool:
        """Where there are four speakers for its four folds."""
        return len({u.speaker_id for u in utterances}) >= 4


def _sentences(seed: int) -> list[str]:
    """All sentences of the grammar, shuffled; each has four or five words."""
    sentences = [
        f"{subject} {verb} {place}" for subject in _SUBJECTS for verb in _VERBS for place in _PLACES
    ]
    order = np.random.default_rng(derive_seed(seed, "sentences")).permutation(len(sentences))
    return [sentences[index] for index in order]


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


def speak(
    text: str, *, voice: str, rate: int, pitch: int, pitch_range: int, seed: int = 1
) -> tuple[npt.NDArray[np.int16], int, tuple[Span, ...]]:
    """Speak one sentence with espeak-ng, in a voice such as ``en-us+f2``.

    The library keeps state from one utterance to the next. It is loaded anew for each, which takes
    two milliseconds, so that an utterance depends on its own settings only: ``rate`` is in words
    per minute, 80 to 450; pitch and range 0 (monotone) to 99, where 50 is the voice's own.

    Returns:
        (S,) samples; their rate in hertz; words and phones, in seconds.
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
        for parameter, value in zip(_PARAMETERS, (rate, pitch, pitch_range), strict=True):
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
    return samples, sampling_rate, _spans(text, events, len(samples), sampling_rate)


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
