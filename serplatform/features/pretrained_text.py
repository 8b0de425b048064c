"""Contextual word vectors of a frozen text encoder: ``pretrained-text:DIRECTORY_OR_ID@LAYER``.

Its frames are the words of an utterance, as models read them: those of its alignment, else of its
transcript. ``data.word_vectors`` names it; it is no feature of audio.

Shapes: L words, E values of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.encoders.text import TextEncoder, find_text_encoder, open_text_encoder
from serplatform.errors import BadInputError
from serplatform.features.base import FEATURES, WHOLE_UTTERANCE, FeatureExtractor, FeatureFamily
from serplatform.features.names import EncoderFeatureName, parse_encoder_feature
from serplatform.features.pretrained import differing, encoder_of, layer_names

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

    def spec(self) -> dict[str, object]:
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
        return layer_names(parsed, encoder.num_layers)

    def make(self, name: str) -> FeatureExtractor:
        parsed = parse_encoder_feature(name)
        return WordVectorFeature(parsed, open_text_encoder(parsed.encoder))

    def restore(
        self, name: str, spec: Mapping[str, object], folders: Sequence[Path] = ()
    ) -> FeatureExtractor:
        parsed, stored = parse_encoder_feature(name), encoder_of(name, spec)
        encoder = find_text_encoder(parsed.encoder_name, str(stored["sha256"]), folders, stored)
        found = WordVectorFeature(parsed, encoder)
        if found.spec() != spec:
            differ = differing(encoder.spec(), stored)
            raise BadInputError(
                f"{encoder.path}: has the weights of {name}, and other settings than it was "
                f"computed with ({', '.join(differ) or 'how it is stored'}); restore its files"
            )
        return found
