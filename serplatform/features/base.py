"""Feature extractors: audio in, (T, D) frames out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from serplatform.arrays import FloatArray
from serplatform.errors import BadInputError, unknown_name
from serplatform.features.names import at_speed, family_of, split_speed
from serplatform.registry import Registry

if TYPE_CHECKING:
    from serplatform.features.clip import Clip


#: All audio is brought to this rate before any feature is computed, in hertz.
SAMPLING_RATE = 16_000
#: frame shift, in seconds, of what is one vector per utterance: longer than any utterance
WHOLE_UTTERANCE = 86_400.0


class FeatureExtractor(ABC):
    """One feature; a named preset such as ``log_mel_23`` is an instance.

    Attributes:
        dim: D, values per frame.
        frame_shift: seconds from one frame to the next.
        frame_length: seconds a frame covers.
    """

    name: str
    dim: int
    frame_shift: float
    frame_length: float
    #: human-readable unit of a value, e.g. "natural log of mel power"
    unit: ClassVar[str]
    #: how frames are stored; they are float32 wherever they are used. What is stored as float16
    #: gives values that float16 holds exactly, of new audio too
    stored_as: ClassVar[Literal["float32", "float16"]] = "float32"
    #: takes seconds a minute of audio: its time and size are told beforehand, and it may use a GPU
    costly: ClassVar[bool] = False
    #: frame t is computed from the samples that it covers alone, from t·frame_shift on, so that
    #: frames of a stream can be computed as it comes
    local: ClassVar[bool] = False
    #: whether its frames are the words of an utterance, and computed from them
    reads_words: ClassVar[bool] = False

    @abstractmethod
    def extract(self, samples: FloatArray) -> FloatArray:
        """Compute (T, D) float32 frames, finite, T at least 1.

        Args:
            samples: (S,), float32 mono at :data:`SAMPLING_RATE`, full scale 1.
        """

    def extract_clip(self, clip: Clip) -> FloatArray:
        """Compute the feature of a clip; the same values as :meth:`extract` of its samples.

        Features that share work (a power spectrum) with others of the same clip override this.
        """
        return self.extract(clip.samples)

    def extract_words(self, words: Sequence[str]) -> FloatArray:
        """Compute (L, D) float32 vectors of L words, (1, D) zeros without words.

        Instead of :meth:`extract`, where the feature :attr:`reads_words`.
        """
        raise TypeError(f"{self.name} is computed from audio")

    @abstractmethod
    def spec(self) -> dict[str, object]:
        """All parameters that determine the values, for the dataset's fingerprint."""

    def gain_offset(self, gain_db: float) -> FloatArray | None:
        """What a gain of ``gain_db`` decibels adds to a frame: (D,); None if not additive."""
        return None


class ClipFeature(FeatureExtractor):
    """A feature that is computed of clips, whose work others may share."""

    def extract(self, samples: FloatArray) -> FloatArray:
        from serplatform.features.clip import Clip

        return self.extract_clip(Clip(samples))

    @abstractmethod
    def extract_clip(self, clip: Clip) -> FloatArray: ...


class FeatureAtSpeed(ClipFeature):
    """A feature of the clip played faster or slower, for training.

    Ko et al., "Audio Augmentation for Speech Recognition", Interspeech 2015: pitch changes with
    the tempo.
    """

    def __init__(self, inner: FeatureExtractor, speed: float) -> None:
        """Take an extractor, and how many times as fast its clips are played."""
        self.name = at_speed(inner.name, speed)
        self.inner, self.speed = inner, speed
        own = ("dim", "frame_shift", "frame_length", "unit", "stored_as", "costly")
        vars(self).update({name: getattr(inner, name) for name in own})

    def extract_clip(self, clip: Clip) -> FloatArray:
        return self.inner.extract_clip(clip.at_speed(self.speed))

    def spec(self) -> dict[str, object]:
        return {**self.inner.spec(), "speed": self.speed, "resampled_by": "soxr HQ"}


class FeatureFamily(ABC):
    """Features whose parameters stand in their names, ``family:parameters``."""

    @abstractmethod
    def expand(self, name: str) -> list[str]:
        """One name for each feature that ``name`` means; places stay as they were given."""

    @abstractmethod
    def make(self, name: str) -> FeatureExtractor:
        """The extractor of one of the names that :meth:`expand` gives; its own is canonical."""

    @abstractmethod
    def restore(
        self, name: str, spec: Mapping[str, object], folders: Sequence[Path] = ()
    ) -> FeatureExtractor:
        """The extractor of a stored feature, found on this machine by what ``spec`` says.

        Its ``name`` is canonical; ``folders`` are where to look first.

        Raises:
            BadInputError: it is not here; the message says what to do.
        """


class FeatureRegistry(Registry[Callable[[], FeatureExtractor]]):
    """Preset names and the functions that build their extractors."""

    def __init__(self, kind: str, package: str) -> None:
        super().__init__(kind, package)
        self._defaults: set[str] = set()
        self._families: dict[str, FeatureFamily] = {}

    def register(
        self, name: str, source: str = "", *, default: bool = False
    ) -> Callable[[Callable[[], FeatureExtractor]], Callable[[], FeatureExtractor]]:
        """Return a decorator that registers a preset, whose extractor bears the same name.

        ``default``: ``prepare`` computes it unless features are named.
        """
        if default:
            self._defaults.add(name)
        return super().register(name, source)

    def family(self, name: str) -> Callable[[type[FeatureFamily]], type[FeatureFamily]]:
        """Return a decorator that registers a family, made without arguments."""

        def decorate(family: type[FeatureFamily]) -> type[FeatureFamily]:
            self._families[name] = family()
            return family

        return decorate

    def expand(self, name: str) -> list[str]:
        """One name for each feature that a given name means.

        Raises:
            BadInputError: it is neither a preset nor of a family, or the family refuses it.
        """
        plain, speed = split_speed(name)
        if plain != name:
            return [at_speed(each, speed) for each in self.expand(plain)]
        family = self._family_of(name)
        if family is not None:
            return family.expand(name)
        self.get(name)
        return [name]

    def make(self, name: str) -> FeatureExtractor:
        """The extractor of a preset, or of a feature by a name that :meth:`expand` gave."""
        plain, speed = split_speed(name)
        if plain != name:
            return FeatureAtSpeed(self.make(plain), speed)
        family = self._family_of(name)
        return self.get(name)() if family is None else family.make(name)

    def restore(
        self, name: str, spec: Mapping[str, object], folders: Sequence[Path] = ()
    ) -> FeatureExtractor:
        """The extractor of a stored feature; see :meth:`FeatureFamily.restore`."""
        plain, speed = split_speed(name)
        if plain != name:
            inner = {key: spec[key] for key in spec if key not in ("speed", "resampled_by")}
            return FeatureAtSpeed(self.restore(plain, inner, folders), speed)
        family = self._family_of(name)
        return self.get(name)() if family is None else family.restore(name, spec, folders)

    def _family_of(self, name: str) -> FeatureFamily | None:
        kind = family_of(name)
        if kind is None:
            return None
        self._load()
        if kind not in self._families:
            raise BadInputError(unknown_name("family of features", kind, self._families))
        return self._families[kind]

    def defaults(self) -> tuple[str, ...]:
        """The features that a dataset gets unless others are named, sorted."""
        return tuple(name for name in self.names() if name in self._defaults)


FEATURES = FeatureRegistry("feature", "serplatform.features")
