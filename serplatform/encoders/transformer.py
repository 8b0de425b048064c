"""Encoders whose network is a module of the package ``transformers``."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from serplatform.arrays import FloatArray
from serplatform.encoders.base import SAMPLING_RATE, Encoder
from serplatform.encoders.checkpoint import (
    Checkpoint,
    chosen,
    device,
    exact_inference,
    need_package,
)
from serplatform.encoders.places import content_sha256
from serplatform.errors import BadInputError


class TransformerEncoder(Encoder):
    """A checkpoint of one of the architectures; its weights load when the first clip is encoded.

    Attributes:
        kinds: ``model_type`` of the configurations that the class reads.
        parts: what the names of the encoder's tensors begin with.
        prefixes: what may stand before, depending on the model that was saved; best first.
        blocks: what the name of a transformer block begins with, before its number.
        architecture: settings of ``config.json`` that determine the values. The network is built
            from them alone.
        preprocessing: settings of the input.
    """

    kinds: ClassVar[tuple[str, ...]]
    parts: ClassVar[tuple[str, ...]]
    prefixes: tuple[str, ...]
    blocks: ClassVar[str]
    architecture: ClassVar[tuple[str, ...]]
    preprocessing: dict[str, Any]

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self.checkpoint = checkpoint
        self.name = name
        self.kind = checkpoint.model_type
        self.path = checkpoint.path
        self.files = checkpoint.files
        need_package("transformers", checkpoint.path)
        rate = checkpoint.preprocessor.get("sampling_rate", SAMPLING_RATE)
        if rate != SAMPLING_RATE:
            raise BadInputError(
                f"{checkpoint.path}: its preprocessor asks for audio at {rate} Hz, and audio is "
                f"brought to {SAMPLING_RATE} Hz here; use a model for {SAMPLING_RATE} Hz"
            )
        self.prefix = checkpoint.find_prefix(self.prefixes, self.blocks)
        self.num_parameters = checkpoint.check_tensors(
            self.prefix, self.parts, self.blocks, self.num_layers
        )
        self.sha256 = content_sha256(checkpoint.path, checkpoint.weights)

    @abstractmethod
    def _build(self) -> Any:
        """The network, without weights."""

    def check_weights(self) -> None:
        self.checkpoint.match(self._build, self.prefix)

    @functools.cached_property
    def module(self) -> Any:
        """The network with its weights, ready to encode."""
        return self.checkpoint.load(self._build, self.prefix).to(device())

    def copy(self) -> Any:
        """A network of its own with the same weights, for whoever changes it."""
        return self.checkpoint.load(self._build, self.prefix)

    def blocks_of(self, module: Any) -> Any:
        """The transformer blocks of :attr:`module` or a copy of it."""
        return module.get_submodule(self.blocks.rstrip("."))

    @abstractmethod
    def states(self, module: Any, samples: FloatArray, last: int) -> list[Any]:
        """Layers 0 to ``last`` of :attr:`module` or a copy of it, with gradients where it has any.

        ``samples`` are (B, S) of one length, between ``shortest`` and ``piece``, each row prepared.
        Returns a (B, T, D) tensor for each layer, on the network's device.
        """

    def _encode(self, samples: FloatArray, layers: Sequence[int]) -> dict[int, FloatArray]:
        with exact_inference():
            states = self.states(self.module, samples[None], max(layers))
            return {k: np.asarray(states[k][0].cpu().numpy(), dtype=np.float32) for k in layers}

    def _settings(self) -> dict[str, object]:
        return {
            "architecture": chosen(self.checkpoint.config, self.architecture),
            "preprocessing": self.preprocessing,
        }
