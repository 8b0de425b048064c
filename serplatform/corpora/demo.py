"""The built-in demo corpus: espeak-ng speaks short sentences in several voices and moods."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serplatform.corpora.audio import TARGET_RATE
from serplatform.corpora.base import CORPORA, Corpus, Manifest, Utterance
from serplatform.corpora.espeak import speak
from serplatform.errors import BadInputError
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


@CORPORA.register("demo")
class Demo(Corpus):
    """Synthetic speech; results on it say that the software works, and nothing on emotion.

    Each emotion shifts pitch, pitch range, rate and loudness; speakers and utterances deviate
    from that by independent Gaussians, so that the classes overlap. Each sentence is spoken in
    each emotion: the words carry no information. Word and phone times come with the speech.

    Args:
        utterances: how many.
        speakers: how many; beyond eight, voices recur with another pitch and rate.
        seed: of all deviations.

    Raises:
        BadInputError: a number is too small.
    """

    name = "demo"
    title = "Demo"
    language = "en"
    licence = "none needed (made on your machine by espeak-ng)"
    size = "any (288 clips by default)"
    obtain = "built in: serplatform prepare demo --out DIR"
    default_protocol = "speaker-kfold:4"
    classes = tuple(_MOODS)
    needs_source = False

    def __init__(self, *, utterances: int = 288, speakers: int = 8, seed: int = 0) -> None:
        errors = []
        if speakers < 1:
            errors.append(f"--speakers {speakers}: at least 1")
        if utterances < 1:
            errors.append(f"--utterances {utterances}: at least 1")
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

        speech = speak(
            utterance.text or "",
            voice=f"en-us+{_VOICES[speaker % len(_VOICES)]}",
            rate=round(value("rate", 2, _RATE, 90, 320)),
            pitch=round(value("pitch", 0, 45.0, 0, 99)),
            pitch_range=round(value("pitch_range", 1, 45.0, 0, 99)),
            seed=1 + derive_seed(self.seed, "espeak", utterance.utterance_id) % 2**15,
        )
        gain = 10.0 ** (value("loudness_db", 3, _GAIN_DB, -30.0, 6.0) / 20.0)
        samples = speech.samples.astype(np.float32) / np.float32(32768.0)
        samples = soxr.resample(samples, speech.sampling_rate, TARGET_RATE) * np.float32(gain)
        noise = own.standard_normal(len(samples), dtype=np.float32)
        samples += np.float32(10.0 ** (_NOISE_DB / 20.0)) * noise
        utterance.path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(
            utterance.path, np.clip(samples, -1.0, 32767 / 32768), TARGET_RATE, subtype="PCM_16"
        )
        return dataclasses.replace(utterance, spans=speech.spans)

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
