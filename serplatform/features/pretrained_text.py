"""Contextual word vectors of a frozen text encoder: ``pretrained-text:DIRECTORY_OR_ID@LAYER``.

Its frames are the words of an utterance, as models read them: those of its alignment, else of its
transcript. ``data.word_vectors`` names it; it is no feature of audio.

Shapes: L words, E values of a vector.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.encoders.text import TextEncoder, find_text_encoder, open_text_encoder
from serplatform.errors import BadInputError
from serplatform.features.base import FEATURES, WHOLE_UTTERANCE, FeatureExtractor, FeatureFamily
from serplatform.features.names import EncoderFeatureName, parse_encoder_feature

FAMILY = "pretrained-text"


class WordVectorFeature(FeatureExtractor):
    """A layer of a text encoder, rounded to what float16 holds."""

    unit: ClassVar[str] = "hidden state of a text encoder, mean over a word's pieces"
    stored_as: ClassVar[Literal["float32", "float16"]] = "float16"
    reads_words: ClassVar[bool] = True
    frame_shift = WHOLE_UTTERANCE
    frame_length = WHOLE_UTTERANCE

    def __init__(self, name: EncoderFeatureName, encoder: TextEncoder) -> None:
        layers = name.layers or ()
        if len(layers) != 1 or name.pooled:
            raise BadInputError(
                f"feature '{name}': word vectors are of one layer and not pooled; write "
                f"{FAMILY}:{name.encoder}@{encoder.num_layers}"
            )
        self.layer = layers[0]
        encoder.check_layer(self.layer)
        self.name, self.encoder, self.dim = name.canonical, encoder, encoder.dim

    def extract(self, samples: FloatArray) -> FloatArray:
        raise TypeError(f"{self.name} is computed from words")

    def extract_words(self, words: Sequence[str]) -> FloatArray:
        if not words:
            return np.zeros((1, self.dim), dtype=np.float32)
        largest = np.finfo(np.float16).max
        vectors = np.clip(self.encoder.word_vectors(words, self.layer), -largest, largest)
        if not np.isfinite(vectors).all():
            raise BadInputError(
                f"{self.encoder.path}: layer {self.layer} gives values that are not finite; use "
                "another layer, or get the weights again"
            )
        return vectors.astype(np.float16).astype(np.float32)

    def spec(self) -> dict[str, Any]:
        return {
            "kind": FAMILY,
            "encoder": self.encoder.spec(),
            "layer": self.layer,
            "stored_as": self.stored_as,
        }


@FEATURES.family(FAMILY)
class PretrainedTextFamily(FeatureFamily):
    """Word vectors of text encoders that lie on this machine."""

    def expand(self, name: str) -> list[str]:
        parsed = parse_encoder_feature(name)
        encoder = open_text_encoder(parsed.encoder)
        layers = range(encoder.num_layers + 1) if parsed.layers is None else parsed.layers
        place = Path(os.path.expanduser(parsed.encoder))
        if place.exists():  # also where a worker runs in another directory
            parsed = dataclasses.replace(parsed, encoder=os.path.abspath(place))
        return [str(parsed.of_layer(layer)) for layer in layers]

    def make(self, name: str) -> FeatureExtractor:
        parsed = parse_encoder_feature(name)
        return WordVectorFeature(parsed, open_text_encoder(parsed.encoder))

    def restore(
        self, name: str, spec: Mapping[str, Any], folders: Sequence[Path] = ()
    ) -> FeatureExtractor:
        parsed, stored = parse_encoder_feature(name), spec["encoder"]
        encoder = find_text_encoder(parsed.encoder_name, stored["sha256"], folders, stored)
        found = WordVectorFeature(parsed, encoder)
        if found.spec() != spec:
            ours = encoder.spec()
            differ = sorted(k for k in {*ours, *stored} if ours.get(k) != stored.get(k))
            raise BadInputError(
                f"{encoder.path}: has the weights of {name}, and other settings than it was "
                f"computed with ({', '.join(differ) or 'how it is stored'}); restore its files"
            )
        return found
