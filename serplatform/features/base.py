"""Feature extractors: audio in, (T, D) frames out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from serplatform.arrays import FloatArray
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

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """All parameters that determine the values, for the dataset's fingerprint."""

    def gain_offset(self, gain_db: float) -> FloatArray | None:
        """What a gain of ``gain_db`` decibels adds to a frame: (D,); None if not additive."""
        return None


class FeatureRegistry(Registry[Callable[[], FeatureExtractor]]):
    """Preset names and the functions that build their extractors."""

    def __init__(self, kind: str, package: str) -> None:
        super().__init__(kind, package)
        self._defaults: set[str] = set()

    def register(
        self, name: str, source: str = "", *, default: bool = False
    ) -> Callable[[Callable[[], FeatureExtractor]], Callable[[], FeatureExtractor]]:
        """Return a decorator that registers a preset, whose extractor bears the same name.

        Args:
            name: of the preset.
            source: see :meth:`.Registry.register`.
            default: whether ``prepare`` computes it unless features are named.
        """
        if default:
            self._defaults.add(name)
        return super().register(name, source)

    def defaults(self) -> tuple[str, ...]:
        """The features that a dataset gets unless others are named, sorted."""
        return tuple(name for name in self.names() if name in self._defaults)


FEATURES = FeatureRegistry("feature", "serplatform.features")
