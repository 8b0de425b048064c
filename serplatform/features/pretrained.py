"""Hidden states of a frozen pretrained encoder: ``pretrained:DIRECTORY_OR_ID@LAYERS[:pooled]``.

Shapes: S samples, T frames, D values of a hidden state.
"""

from __future__ import annotations

import dataclasses
import os
import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.encoders.base import Encoder
from serplatform.encoders.open import find_encoder, open_encoder
from serplatform.errors import BadInputError
from serplatform.features.base import (
    FEATURES,
    WHOLE_UTTERANCE,
    ClipFeature,
    FeatureExtractor,
    FeatureFamily,
)
from serplatform.features.clip import Clip
from serplatform.features.names import EncoderFeatureName, parse_encoder_feature

#: largest value that float16 holds; larger ones become it
LARGEST = float(np.finfo(np.float16).max)


class PretrainedFeature(ClipFeature):
    """A layer of an encoder.

    The layers of a clip are computed in one pass: those of all extractors that there are of an
    encoder at that time.
    """

    costly: ClassVar[bool] = True
    #: extractors that are in use, whose layers are computed together
    _living: ClassVar[weakref.WeakSet[PretrainedFeature]] = weakref.WeakSet()

    def __init__(self, name: EncoderFeatureName, encoder: Encoder) -> None:
        """Take the layer that ``name`` has, which is one; ``name`` is made canonical."""
        layers = name.layers or ()
        if len(layers) != 1:
            raise BadInputError(f"feature '{name}': one extractor is of one layer; name one")
        encoder.check_layers(layers)
        self.name = name.canonical
        self.encoder = encoder
        self.layer = layers[0]
        self._living.add(self)

    def extract_clip(self, clip: Clip) -> FloatArray:
        return self._values(clip.shared(self._key(self.layer), lambda: self._encode(clip)))

    def _key(self, layer: int) -> tuple[object, ...]:
        return ("hidden states", self.encoder, layer)

    def _encode(self, clip: Clip) -> FloatArray:
        layers = {other.layer for other in self._living if other.encoder is self.encoder}
        states = self.encoder.hidden_states(clip.samples, sorted(layers))
        own = states.pop(self.layer)
        for layer in states:
            clip.shared(self._key(layer), lambda layer=layer: states[layer])  # type: ignore[misc]
        return own

    @abstractmethod
    def _values(self, frames: FloatArray) -> FloatArray:
        """What is stored of the (T, D) hidden states."""

    def spec(self) -> dict[str, object]:
        return {
            "kind": "pretrained",
            "encoder": self.encoder.spec(),
            "layer": self.layer,
            "pooled": isinstance(self, PretrainedStatistics),
            "stored_as": self.stored_as,
        }


class PretrainedFrames(PretrainedFeature):
    """(T, D): each hidden state, rounded to what float16 holds, in new audio as in a dataset."""

    unit: ClassVar[str] = "hidden state of an encoder"
    stored_as: ClassVar[Literal["float32", "float16"]] = "float16"

    def __init__(self, name: EncoderFeatureName, encoder: Encoder) -> None:
        super().__init__(name, encoder)
        self.dim = encoder.dim
        self.frame_shift = encoder.frame_shift
        self.frame_length = encoder.frame_length

    def _values(self, frames: FloatArray) -> FloatArray:
        return np.clip(frames, -LARGEST, LARGEST).astype(np.float16).astype(np.float32)


class PretrainedStatistics(PretrainedFeature):
    """(1, 2D): mean, then population standard deviation, over frames that are not rounded."""

    unit: ClassVar[str] = "mean and standard deviation of an encoder's hidden states"
    frame_shift = WHOLE_UTTERANCE
    frame_length = WHOLE_UTTERANCE

    def __init__(self, name: EncoderFeatureName, encoder: Encoder) -> None:
        super().__init__(name, encoder)
        self.dim = 2 * encoder.dim

    def _values(self, frames: FloatArray) -> FloatArray:
        exact = frames.astype(np.float64)
        found = np.concatenate([exact.mean(axis=0), exact.std(axis=0)])
        return found[np.newaxis].astype(np.float32)


def layer_names(parsed: EncoderFeatureName, num_layers: int) -> list[str]:
    """A name for each layer; a place on this machine is absolute, for workers in other folders."""
    place = Path(os.path.expanduser(parsed.encoder))
    if place.exists():
        parsed = dataclasses.replace(parsed, encoder=os.path.abspath(place))
    layers = range(num_layers + 1) if parsed.layers is None else parsed.layers
    return [str(parsed.of_layer(layer)) for layer in layers]


def encoder_of(name: str, spec: Mapping[str, object]) -> Mapping[str, object]:
    """What a feature's specification says of its encoder; a BadInputError where not its weights."""
    stored = spec.get("encoder")
    if not isinstance(stored, Mapping) or "sha256" not in stored:
        raise BadInputError(
            f"feature '{name}': the dataset or bundle does not say which weights it is from; "
            "make it again with 'serplatform prepare'"
        )
    return stored


def differing(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Keys that do not have the same value in both, sorted."""
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))


@FEATURES.family("pretrained")
class PretrainedFamily(FeatureFamily):
    """Features of encoders that lie on this machine."""

    def expand(self, name: str) -> list[str]:
        parsed = parse_encoder_feature(name)
        encoder = open_encoder(parsed.encoder)
        encoder.check_layers(parsed.layers or ())
        encoder.check_weights()
        return layer_names(parsed, encoder.num_layers)

    def make(self, name: str) -> FeatureExtractor:
        parsed = parse_encoder_feature(name)
        return _extractor(parsed, open_encoder(parsed.encoder))

    def restore(
        self, name: str, spec: Mapping[str, object], folders: Sequence[Path] = ()
    ) -> FeatureExtractor:
        parsed, stored = parse_encoder_feature(name), encoder_of(name, spec)
        encoder = find_encoder(parsed.encoder_name, str(stored["sha256"]), folders, stored)
        extractor = _extractor(parsed, encoder)
        found = extractor.spec()
        if found != spec:
            differ = sorted(
                {*differing(found, spec)} - {"encoder"} | {*differing(encoder.spec(), stored)}
            )
            raise BadInputError(
                f"{encoder.path}: has the weights of {name}, and other settings than it was "
                f"computed with ({', '.join(differ)}); restore its config.json and "
                "preprocessor_config.json"
            )
        return extractor


def _extractor(name: EncoderFeatureName, encoder: Encoder) -> FeatureExtractor:
    return (PretrainedStatistics if name.pooled else PretrainedFrames)(name, encoder)
