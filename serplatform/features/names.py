"""Names of features: presets such as ``log_mel_23``, and families such as ``pretrained:…``.

A family's feature has its parameters in its name: ``pretrained:DIRECTORY_OR_ID@LAYERS``, with
``:pooled`` for statistics of the whole utterance alone. It is stored under its canonical name, in
which the encoder is called by the last part of its place.

``NAME~0.9`` is the feature ``NAME`` of the clip played at 0.9 times its speed.
"""

from __future__ import annotations

import dataclasses
import re

from serplatform.encoders.names import encoder_name
from serplatform.errors import BadInputError

#: stands for all layers of an encoder
ALL = "all"
POOLED = ":pooled"
#: slowest and fastest playing
SPEEDS = (0.5, 2.0)

_FAMILY = re.compile(r"[a-z][a-z0-9_-]*:(?!//)")
_ENCODED = re.compile(
    r"(?P<family>[a-z][a-z0-9_-]*):(?P<encoder>.+)@(?P<layers>all|\d+(?:,\d+)*)(?P<pooled>:pooled)?"
)
_PLAYED = re.compile(r"(?P<name>.+)~(?P<speed>\d+(?:\.\d+)?)")


@dataclasses.dataclass(frozen=True)
class EncoderFeatureName:
    """The parts of a feature name of a family of encoders.

    Attributes:
        family: ``pretrained``, ``pretrained-text``.
        encoder: directory, file or id as given; or the encoder's name.
        layers: numbers of layers; None: all.
        pooled: statistics of the whole utterance alone.
    """

    family: str
    encoder: str
    layers: tuple[int, ...] | None
    pooled: bool

    @property
    def encoder_name(self) -> str:
        """What the encoder is called; see :func:`.encoder_name`."""
        return encoder_name(self.encoder)

    def of_layer(self, layer: int) -> EncoderFeatureName:
        """The feature of one layer."""
        return dataclasses.replace(self, layers=(layer,))

    @property
    def canonical(self) -> str:
        """The name by which the feature is stored."""
        return str(dataclasses.replace(self, encoder=self.encoder_name))

    def __str__(self) -> str:
        layers = ALL if self.layers is None else ",".join(map(str, self.layers))
        return f"{self.family}:{self.encoder}@{layers}{POOLED if self.pooled else ''}"


def family_of(name: str) -> str | None:
    """The family that a name is of; None for the name of a preset.

    Example:
        >>> family_of("pretrained:/models/whisper-base@3"), family_of("log_mel_23")
        ('pretrained', None)
    """
    return name.partition(":")[0] if _FAMILY.match(name) else None


def parse_encoder_feature(name: str) -> EncoderFeatureName:
    """Take the name of a family's feature apart.

    Raises:
        BadInputError: it has no layer, or no encoder that has a name.

    Example:
        >>> parse_encoder_feature("pretrained:/models/whisper-base@2,3:pooled").layers
        (2, 3)
        >>> parse_encoder_feature("pretrained:/models/whisper-base@3").canonical
        'pretrained:whisper-base@3'
    """
    match = _ENCODED.fullmatch(name.strip())
    if match is None:
        raise BadInputError(
            f"feature '{name}': must be FAMILY:DIRECTORY_OR_ID@LAYERS, as in "
            "pretrained:models/whisper-base@3, …@2,3 or …@all, with :pooled behind it for "
            "statistics of the whole utterance alone"
        )
    layers = None
    if match["layers"] != ALL:
        layers = tuple(dict.fromkeys(int(number) for number in match["layers"].split(",")))
    found = EncoderFeatureName(match["family"], match["encoder"], layers, bool(match["pooled"]))
    if not found.encoder_name.strip("."):
        raise BadInputError(
            f"feature '{name}': write the encoder's directory by its name, which names the feature"
        )
    return found


def split_speed(name: str) -> tuple[str, float]:
    """A feature's name without its speed, and the speed, 1 where it has none.

    Example:
        >>> split_speed("pretrained:whisper-base@3~0.9"), split_speed("log_mel_23")
        (('pretrained:whisper-base@3', 0.9), ('log_mel_23', 1.0))
    """
    match = _PLAYED.fullmatch(name.strip())
    return (name, 1.0) if match is None else (match["name"], float(match["speed"]))


def at_speed(name: str, speed: float) -> str:
    """The name of a feature of the clip played at another speed.

    Raises:
        BadInputError: the speed is that of the clip, or far from it.

    Example:
        >>> at_speed("log_mel_23", 0.90)
        'log_mel_23~0.9'
    """
    low, high = SPEEDS
    if not low <= speed <= high or f"{speed:g}" == "1" or speed != float(f"{speed:g}"):
        raise BadInputError(
            f"{name} at speed {speed}: a speed is a number from {low:g} to {high:g} other than 1, "
            "as in 0.9"
        )
    return f"{name}~{speed:g}"


def canonical(name: str) -> str:
    """The name by which a feature is stored.

    Example:
        >>> canonical("pretrained:/models/whisper-base@3:pooled"), canonical("log_mel_23~0.90")
        ('pretrained:whisper-base@3:pooled', 'log_mel_23~0.9')
    """
    plain, speed = split_speed(name)
    if plain != name:
        return at_speed(canonical(plain), speed)
    return name if family_of(name) is None else parse_encoder_feature(name).canonical


def with_directory(name: str) -> str:
    """How ``prepare`` is asked for a stored feature: where its encoder lies is left to fill in.

    Example:
        >>> with_directory("pretrained:whisper-base@3"), with_directory("log_mel_23")
        ('pretrained:DIRECTORY/whisper-base@3', 'log_mel_23')
    """
    return name if family_of(name) is None else name.replace(":", ":DIRECTORY/", 1)


def file_stem(name: str) -> str:
    """What the files of a stored feature begin with.

    Example:
        >>> file_stem("pretrained:whisper-base@3:pooled"), file_stem("log_mel_23")
        ('pretrained-whisper-base-3-pooled', 'log_mel_23')
    """
    return re.sub(r"[^\w.-]", "-", name)


def split_features(text: str, separator: str = ",") -> list[str]:
    """The names in a list; what stands within an encoder's place or layers divides no name.

    Names that are empty are kept.

    Example:
        >>> split_features("log_mel_23, pretrained:m/w@2,3,mfcc_40")
        ['log_mel_23', 'pretrained:m/w@2,3', 'mfcc_40']
        >>> split_features("pretrained:m/a,b@1,2:pooled,pretrained-text:t@2,mfcc_40")
        ['pretrained:m/a,b@1,2:pooled', 'pretrained-text:t@2', 'mfcc_40']
        >>> split_features("log_mel_23+pretrained:m/a+b@1", "+")
        ['log_mel_23', 'pretrained:m/a+b@1']
    """
    end, family = re.escape(separator), "[a-z][a-z0-9_-]*:"
    layers = r"@(?:all|\d+(?:\s*,\s*\d+)*)(?::pooled)?(?:~[\d.]+)?"
    encoded = rf"\s*{family}(?:(?!{end}\s*{family}).)+?{layers}\s*"
    return [part.strip() for part in re.findall(rf"({encoded}|[^{end}]*){end}", text + separator)]
